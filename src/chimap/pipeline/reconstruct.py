"""The whole reconstruction on arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from chimap import registry, tuning
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.masking.quality import refine
from chimap.numerics.echoes import root_sum_of_squares
from chimap.pipeline import presets, sources
from chimap.pipeline.sign import detect_sign
from chimap.results import Susceptibility
from chimap.types import Progress, silent


def reconstruct(
    phase: Any,
    mask: Any,
    acq: Acquisition,
    *,
    magnitude: Any = None,
    preset: str = presets.DEFAULT,
    methods: Mapping[str, str] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    region: Any = None,
    phase_sign: Literal["auto", "+", "-"] = "auto",
    progress: Progress | None = None,
) -> Susceptibility:
    """Susceptibility from wrapped phase: total field, background removal, dipole inversion, reference.

    Parameters
    ----------
    phase : (x, y, z) or (x, y, z, echo)
        Wrapped phase in rad.
    mask : (x, y, z) or None
        The object, used as it is; None: the brain is extracted from `magnitude`.
    acq : Acquisition
        Echo times, field strength and direction, voxel size.
    magnitude : as `phase`, optional
        Weighs echoes and voxels, and tells the sign of the phase.
    preset : str
        ``consensus``, ``fast`` or ``best``.
    methods : mapping, optional
        Stage to method (``{"inversion": "tkd"}``), overrules the preset.
    parameters : mapping, optional
        Stage to parameters (``{"inversion": {"threshold": 0.15}}``), overrules the preset.
    region : (x, y, z), optional
        Mask of the reference region; the whole valid mask without it.
    phase_sign : {"auto", "+", "-"}
        Whether phase grows with the field; by default it is detected from the air around the head, if
        there is a magnitude.
    progress : callable, optional
        Told of each stage that is done.

    Returns
    -------
    Susceptibility
        `chi_ppm` (x, y, z) in ppm relative to the reference, `mask` where it is valid, `reference` the mean
        and SD of the region before it was subtracted, and the sign of the phase.

    Raises
    ------
    InputError
        If arrays do not fit each other, or hold NaN inside the mask.
    """
    report = progress or silent
    settings = parameters or {}

    def choose(stage: str) -> presets.Choice:
        return presets.choose(
            stage, preset=preset, method=(methods or {}).get(stage), parameters=dict(settings.get(stage, {}))
        )

    stages = {s: choose(s) for s in ("mask", "field", "background", "inversion", "reference")}
    if mask is None:
        if magnitude is None:
            raise InputError("neither a mask nor a magnitude is given", fix="Give one of them")
        c = stages["mask"]
        mask = c.method(magnitude, acq, **c.method.takes(phase=phase), **c.parameters)
        rim = presets.load(preset).get("refine")
        if rim is not None:
            mask = refine(mask, phase, magnitude, acq, **rim)
    mask = registry.as_mask(mask, np.shape(phase)[:3])
    report(1, 5, stage="mask")
    combined = None
    if magnitude is not None:
        echoes = registry.as_volume(magnitude, "magnitude", 4)
        combined = root_sum_of_squares(echoes)

    c = stages["field"]
    total = c.method(phase, mask, acq, **c.method.takes(magnitude=magnitude), **c.parameters)
    sign = {"+": 1, "-": -1}.get(phase_sign, 1)
    if phase_sign == "auto" and combined is not None:
        sign = detect_sign(total.field_ppm, np.nan_to_num(combined), mask, acq).sign
    field_ppm = signed(total.field_ppm, sign)
    report(2, 5, stage="field")

    arrays = {"magnitude": combined, "noise": total.noise_ppm}
    valid = mask
    c = stages["inversion"]
    r = choose("r2star")
    if magnitude is not None and "r2star" in c.method.inputs and sources.r2star_refused(r, acq) is None:
        fit = r.method(magnitude, mask, acq, **r.method.takes(field=field_ppm), **r.parameters)
        arrays["r2star"] = fit.r2star
    if c.method.of is None:
        b = stages["background"]
        if b.method.of == "phase":
            local = b.method(
                signed(phase, sign), mask, acq, **b.method.takes(magnitude=magnitude), **b.parameters
            )
        else:
            local = b.method(field_ppm, mask, acq, **b.method.takes(**arrays), **b.parameters)
        field_ppm, valid, arrays["noise"] = local.field_ppm, local.mask, local.noise_ppm
        report(3, 5, stage="background")
    if c.method.of == "phase":
        chi = c.method(signed(phase, sign), mask, acq, **c.method.takes(magnitude=magnitude), **c.parameters)
    else:
        settled, _ = tuning.resolve(c.method, c.parameters, field_ppm, valid, acq, arrays)
        chi = c.method(field_ppm, valid, acq, **c.method.takes(**arrays), **settled)
    report(4, 5, stage="inversion")

    c = stages["reference"]
    result = c.method(chi, valid, acq, **c.method.takes(region=region), **c.parameters)
    report(5, 5, stage="reference")
    return replace(result, reference={**result.reference, "phase_sign": sign})


def signed(phase: Any, sign: int) -> np.ndarray:
    """Phase that grows with the field."""
    return np.asarray(phase) if sign > 0 else np.negative(phase)
