"""Quality numbers of a scan and its maps: measured once, written as JSON beside the map, taken up again when nothing changed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chimap import __version__
from chimap.io.nifti import write_json
from chimap.phase.bipolar import correct_bipolar, detect_bipolar
from chimap.pipeline import quality_echoes as echoes
from chimap.pipeline import quality_maps as maps
from chimap.pipeline.measure import Measure, append_log, plain, release_memory
from chimap.pipeline.plan import EXCLUDED, LOCAL_NOISE, NOISE, R2STAR, RAW_CHI, TOTAL
from chimap.pipeline.quality_terms import TERMS, Numbers, Quality, warnings_of
from chimap.pipeline.store import code_sha256, key_of

if TYPE_CHECKING:
    from chimap.pipeline.runner import Runner

SUFFIX = "_quality"


def measure_in_run(run: Runner) -> Quality:
    """The quality of a scan whose map is made: from the disk where nothing changed, else measured now.

    Reads the echoes once more, since ghosts and noise are in what the stages have taken away.
    """
    known = {
        output.suffix: artifact
        for stage, output in (
            ("field", TOTAL),
            ("field", NOISE),
            ("field", EXCLUDED),
            ("r2star", R2STAR),
            ("background", LOCAL_NOISE),
            ("inversion", RAW_CHI),
        )
        if stage in run.done and (artifact := run.done[stage].get(output.suffix)) is not None
    }
    key = key_of(
        stage="quality",
        scan=run.done["read"].record["key"],
        mask=run.done["mask"].record["key"],
        valid=run.valid.sha256,
        sign=_sign(run),
        inputs={name: a.sha256 for name, a in known.items()},
        acquisition=run.done["read"].record["acquisition"],
        version=__version__,
        code=code_sha256(
            *(f"chimap.pipeline.{m}" for m in ("quality", "quality_echoes", "quality_maps", "quality_terms", "cubes")),
            "chimap.phase.bipolar",
        ),
    )  # fmt: skip
    found = None if run.options.force else _found(run, key)
    if found is not None:
        run.taken_over("quality", "numbers")
        return found
    release_memory()
    with run.console.stage("quality"):
        with Measure() as measure:
            numbers = _numbers(run, {name: a.get() for name, a in known.items()})
        log = measure.record("quality", "numbers")
        quality = Quality(numbers, tuple(warnings_of(numbers)))
        write_json(
            run.store.path(SUFFIX, ".json"),
            plain(
                {
                    "Description": "Quality numbers of the scan and its maps; null: not measured, for want of an input",
                    **numbers,
                    "Warnings": quality.warnings,
                    "Definitions": {name: term.record() for name, term in TERMS.items()},
                    "Sources": [i["file"] for i in run.inputs],
                    "Chimap": {"stage": "quality", "key": key, "version": __version__, **log},
                }
            ),
        )
    append_log(run.log_json, {"scan": run.store.name, **log, "facts": plain(numbers)})
    for artifact in known.values():
        artifact.drop()
    return quality


def _sign(run: Runner) -> int:
    told: Mapping[str, Any] = run.done["field"].record.get("phase_sign") or {}
    return int(told.get("sign") or 1)


def _found(run: Runner, key: str) -> Quality | None:
    """The numbers of an earlier run under the same key."""
    try:
        values = json.loads(run.store.path(SUFFIX, ".json").read_text("utf-8"))
        if values["Chimap"]["key"] != key:
            return None
        return Quality({name: values[name] for name in TERMS}, tuple(values["Warnings"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _numbers(run: Runner, at: Mapping[str, np.ndarray]) -> Numbers:
    """All numbers, in the order of the terms."""
    brain, valid, acq = run.brain(), run.valid.get(), run.acq
    out: Numbers = {
        "phase_jumps": maps.jumps(at[TOTAL.suffix], brain, acq, at.get(NOISE.suffix)),
        "mask_lost_percent": maps.lost_percent(valid, brain),
        "chi_noise_ppb": 1000 * echoes.noise_sd(at[RAW_CHI.suffix], valid),
        "streak_index": maps.streak_index(at[RAW_CHI.suffix], valid, acq),
    }
    if EXCLUDED.suffix in at:
        out["field_lost_percent"] = maps.lost_percent(at[EXCLUDED.suffix] == 0, brain)
    if LOCAL_NOISE.suffix in at:
        out["local_field_noise_ppb"] = 1000 * float(np.median(at[LOCAL_NOISE.suffix][valid]))
    out |= _of_echoes(run, at[TOTAL.suffix], at.get(R2STAR.suffix), brain)
    return {name: _rounded(out.get(name)) for name in TERMS}


def _of_echoes(run: Runner, total: np.ndarray, r2star: np.ndarray | None, brain: np.ndarray) -> Numbers:
    # Zeros may have taken the place of the air in what was loaded.
    run.forget_data()
    data = run.data()
    acq, sd = run.acq, 0.0
    out: Numbers = {}
    phase, magnitude = data.phase, data.magnitude
    volumes = [] if magnitude is None else [magnitude[..., e] for e in range(acq.echoes)]
    voxels = echoes.spread(brain)
    if volumes:
        sd = echoes.noise_sd(volumes[0], brain)
        decay = None if r2star is None else echoes.Decay.of(volumes, r2star, brain, acq)
        if decay is not None:
            sd = min(sd, echoes.decay_noise_sd(volumes, decay, brain))
        out["snr_first_echo"] = echoes.snr(volumes[0], brain, sd)
        out["snr_last_echo"] = echoes.snr(volumes[-1], brain, sd)
        out["ghost_percent"] = echoes.ghost_percent(volumes[0])
        strength = np.stack([v[voxels] for v in volumes])
        if decay is not None and r2star is not None and acq.echoes > 2:
            shift = echoes.echo_shift_mm(volumes, decay, brain, acq)
            out["echo_shift_mm"] = shift
            out["echo_shift_voxels"] = None if shift is None else shift / min(acq.voxel_size_mm)
            out |= echoes.decay_fit(strength, r2star[voxels], acq, sd)
    else:
        strength = np.ones((acq.echoes, voxels[0].size), np.float32)
    if acq.echoes > 2:
        bipolar = detect_bipolar(phase, magnitude, brain, acq)
        out["odd_even_phase_rad"] = bipolar.amplitude_rad
        if bipolar.found:
            phase = correct_bipolar(phase, brain, acq, magnitude=magnitude)
        turned = np.stack([phase[..., e][voxels] for e in range(acq.echoes)])
        out |= echoes.phase_fit(turned, strength, _sign(run) * total[voxels], acq, sd)
    run.forget_data()
    return out


def _rounded(value: float | int | None) -> float | int | None:
    """Four digits; None for what is no number."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else None
