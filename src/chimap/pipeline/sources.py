"""What background removal and inversion start from: the stage before, the total field, or the phase itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.pipeline.plan import BRAIN, COMBINED, LOCAL, LOCAL_NOISE, NOISE, R2STAR, TOTAL, VALID, Options
from chimap.pipeline.presets import Choice
from chimap.registry import Method
from chimap.types import Mask, Volume

if TYPE_CHECKING:
    from chimap.pipeline.runner import Runner


@dataclass(frozen=True)
class Start:
    """The arguments of a method: its data, the mask, and the optional arrays that it can use."""

    data: Volume
    mask: Mask
    arrays: dict[str, Any]


def check_choice(options: Options) -> None:
    """Refuse a background method that was asked for but would not run."""
    inversion = options.choice("inversion").method
    if inversion.of is not None and "background" in options.methods:
        raise InputError(
            f"inversion method {inversion.name} starts from the {inversion.of} and removes the background itself, "
            f"so background method {options.methods['background']} would not run",
            fix="Leave the background method away, or choose another inversion",
        )


def phase_needed(options: Options) -> bool:
    """Whether the phase is used again after the total field."""
    inversion = options.choice("inversion").method
    background = options.choice("background").method
    return inversion.of == "phase" or (inversion.of is None and background.of == "phase")


def start_of(run: Runner, method: Method) -> Start:
    """The arguments that a background or inversion method runs with."""
    magnitude = run.combined() if "magnitude" in method.inputs else None
    r2star = run.done["r2star"].get(R2STAR.suffix) if "r2star" in run.done else None
    arrays = {
        "magnitude": magnitude,
        "r2star": r2star.get() if r2star and "r2star" in method.inputs else None,
    }
    if method.of == "phase":
        data = run.echoes()
        sign = run.done["field"].record["phase_sign"].get("sign", 1)
        # Methods count phase as growing with the field.
        phase = data.phase if sign > 0 else -data.phase
        return Start(phase, run.brain(), method.takes(**{**arrays, "magnitude": data.magnitude}))
    before = run.done["background" if from_local(method) else "field"]
    noise = before.get((LOCAL_NOISE if from_local(method) else NOISE).suffix)
    arrays["noise"] = noise.get() if noise else None
    if from_local(method):
        return Start(before[LOCAL.suffix].get(), before[VALID.suffix].get(), method.takes(**arrays))
    return Start(before[TOTAL.suffix].get(), run.brain(), method.takes(**arrays))


def local_noise(run: Runner, method: Method) -> dict[str, Any]:
    """The local field's standard deviation, which rules for parameters use with every method."""
    noise = run.done["background"].get(LOCAL_NOISE.suffix) if from_local(method) else None
    return {"noise": noise.get()} if noise else {}


def needs_of(run: Runner, method: Method) -> dict[str, Any]:
    """What the result of a background or inversion method depends on."""
    if method.of == "phase":
        sign = run.done["field"].record["phase_sign"].get("sign", 1)
        needs = {"scan": run.done["read"].record["key"], "sign": sign, "mask": run.sha("mask", BRAIN)}
    elif from_local(method):
        needs = {
            "field": run.sha("background", LOCAL),
            "mask": run.sha("background", VALID),
            "noise": run.sha("background", LOCAL_NOISE),
        }
    else:
        needs = {
            "field": run.sha("field", TOTAL),
            "noise": run.sha("field", NOISE),
            "mask": run.sha("mask", BRAIN),
        }
    if "magnitude" in method.inputs:
        needs["magnitude"] = run.sha("read", COMBINED)
    if "r2star" in method.inputs and "r2star" in run.done:
        needs["r2star"] = run.sha("r2star", R2STAR)
    return needs


def from_local(method: Method) -> bool:
    """Whether a method starts from the local field: an inversion of the usual kind."""
    return method.stage.name == "inversion" and method.of is None


def r2star_refused(choice: Choice, acq: Acquisition) -> InputError | None:
    """Why R2* cannot be mapped from so few echoes, in the method's own words; None if it can be."""
    if acq.echoes > 2:
        return None
    voxel = np.ones((1, 1, 1, acq.echoes), np.float32)
    known = choice.method.takes(field=voxel[..., 0])
    try:
        choice.method(voxel, voxel[..., 0] > 0, acq, **known, **choice.parameters)
    except InputError as e:
        return e
    return None
