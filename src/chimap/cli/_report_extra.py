"""What the report shows beyond the results as they lie on the disk: echoes, residual, protocol, hashes of the files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from chimap.io import scan as io_scan
from chimap.masking.reliability import REASONS
from chimap.pipeline import plan as r
from chimap.pipeline.plan import Result
from chimap.pipeline.protocol import Measured, protocol_rows
from chimap.report import MapItem, ReportData
from chimap.report.echoes import echoes_of
from chimap.report.misfit import inversion_residual, residual_caption


def with_extra(data: ReportData, result: Result) -> ReportData:
    """A report's data with the echoes, the last echo's phase, the residual of the inversion, protocol and outputs."""
    maps = {m.key: m for m in data.maps}
    brain = data.brain
    assert brain is not None
    scan = io_scan.load(result.scan)
    echoes = None
    if "total" in maps:
        sign = result.done["field"].record.get("phase_sign", {}).get("sign", 1)
        echoes = echoes_of(
            scan.phase, scan.magnitude, maps["total"].volume, brain, result.acq, result.affine, sign=sign
        )
    phase = _last_phase(scan.phase, brain, result)
    magnitude = scan.magnitude is not None
    del scan
    return replace(
        data,
        maps=list(_in_order(maps, phase, _residual(maps, result))),
        echoes=echoes,
        outputs=outputs(result),
        protocol=protocol(result, magnitude, brain),
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
