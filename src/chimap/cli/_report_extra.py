"""What the report shows beyond the results as they lie on the disk: echoes, residual, protocol, hashes of the files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chimap.io import scan as io_scan
from chimap.masking.reliability import REASONS
from chimap.pipeline import plan as r
from chimap.pipeline.plan import Result
from chimap.pipeline.protocol import Measured, protocol_rows
from chimap.report import MapItem, ReportData
from chimap.report.echoes import Echoes, echoes_of
from chimap.report.misfit import inversion_residual, residual_caption


@dataclass(frozen=True)
class Raw:
    """What is kept of the scan itself: its echoes in one slice, the last echo's phase, whether there was a magnitude."""

    echoes: Echoes
    phase: MapItem
    magnitude: bool


def raw_of(result: Result) -> Raw:
    """Read the scan once more; call it before the maps are in memory."""
    scan = io_scan.load(result.scan)
    brain = result.done["mask"][r.BRAIN.suffix].get()
    field = result.done["field"]
    sign = field.record.get("phase_sign", {}).get("sign", 1)
    total = field[r.TOTAL.suffix]
    echoes = echoes_of(scan.phase, scan.magnitude, total.get(), brain, result.acq, result.affine, sign=sign)
    total.drop()
    return Raw(echoes, _last_phase(scan.phase, brain, result), scan.magnitude is not None)


def with_extra(data: ReportData, result: Result, raw: Raw) -> ReportData:
    """A report's data with the echoes, the last echo's phase, the residual of the inversion, protocol and outputs."""
    maps = {m.key: m for m in data.maps}
    brain = data.brain
    assert brain is not None
    return replace(
        data,
        maps=list(_in_order(maps, raw.phase, _residual(maps, result))),
        echoes=raw.echoes,
        outputs=outputs(result),
        protocol=protocol(result, raw.magnitude, brain),
    )


def _in_order(maps: dict[str, MapItem], phase: MapItem, residual: MapItem | None) -> Iterable[MapItem]:
    """The phase after the magnitude, the residual before the referenced map; labels over the magnitude."""
    if "magnitude" not in maps:
        yield phase
    for key, item in maps.items():
        if key == "chi" and residual is not None:
            yield residual
        if key == "excluded":
            under = maps["magnitude"].volume if "magnitude" in maps else None
            item = replace(item, under=under, labels=REASONS)
        yield item
        if key == "magnitude":
            yield phase


def _last_phase(phase: np.ndarray, brain: np.ndarray, result: Result) -> MapItem:
    te_ms = 1000 * result.acq.te_s[-1]
    return MapItem(
        key="phase",
        title=f"Phase at {te_ms:.3g} ms",
        unit="rad",
        volume=np.where(brain, phase[..., -1], np.float32(0)),
        stage="input",
        window=(-np.pi, np.pi),
        caption="Last echo as measured, within half a turn: the jumps are wraps, which the next stages undo.",
        outline_mask=brain,
    )


def _residual(maps: dict[str, MapItem], result: Result) -> MapItem | None:
    """Local field minus that of the map; None where no local field was made."""
    local, chi = maps.get("local"), maps.get("chi-unreferenced")
    if local is None or chi is None or local.outline_mask is None:
        return None
    valid = local.outline_mask
    volume = inversion_residual(local.volume, chi.volume, valid, result.acq)
    artifact = result.done["background"].get(r.LOCAL_NOISE.suffix)
    noise = None if artifact is None else artifact.get()
    caption = residual_caption(volume, valid, noise)
    if artifact is not None:
        artifact.drop()
    return MapItem(
        key="residual",
        title="Unexplained local field",
        unit="ppm",
        volume=volume,
        stage="inversion",
        window=(-0.02, 0.02),
        colormap="RdBu_r",
        caption=caption,
        outline_mask=valid,
    )


def protocol(result: Result, magnitude: bool, brain: np.ndarray) -> list[dict[str, str]]:
    """The measurement against the consensus."""
    x, y, z = brain.shape
    # A mask that was given may be of a part of the brain on purpose.
    mask = brain if result.scan.mask is None else None
    scan = Measured(result.acq, (x, y, z), result.scan.metadata, result.findings, magnitude, mask)
    return protocol_rows(scan)


def outputs(result: Result) -> list[dict[str, Any]]:
    """Files of the stages with their hashes, in the order of the stages."""
    return [
        {"file": artifact.path.name, "sha256": artifact.sha256}
        for done in result.done.values()
        for artifact in done.artifacts.values()
    ]
