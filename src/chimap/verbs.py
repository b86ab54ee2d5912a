"""The public verbs: one function a stage, with the method chosen by name. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimap import registry, tuning
from chimap.acquisition import Acquisition
from chimap.results import Field, LocalField, Relaxation, Separation
from chimap.types import Mask, Volume


def brain_mask(
    magnitude: Any, acq: Acquisition, *, phase: Any = None, method: str | None = None, **params: Any
) -> Mask:
    """Mask of the brain from the magnitude, (x, y, z) or (x, y, z, echo). Returns bool (x, y, z)."""
    m = registry.get("mask", method)
    return m(magnitude, acq, **m.takes(phase=phase), **params)


def unwrap(
    phase: Any,
    mask: Any,
    acq: Acquisition,
    *,
    magnitude: Any = None,
    method: str | None = None,
    **params: Any,
) -> Volume:
    """Phase in rad without 2 pi steps, of the shape of `phase` ((x, y, z) or (x, y, z, echo))."""
    m = registry.get("unwrap", method)
    out = m(phase, mask, acq, **m.takes(magnitude=magnitude), **params)
    return out[..., 0] if np.ndim(phase) == 3 else out


def estimate_field(
    phase: Any,
    mask: Any,
    acq: Acquisition,
    *,
    magnitude: Any = None,
    method: str | None = None,
    **params: Any,
) -> Field:
    """Total field in ppm with its standard deviation, from wrapped phase in rad."""
    m = registry.get("field", method)
    return m(phase, mask, acq, **m.takes(magnitude=magnitude), **params)


def remove_background(
    field_ppm: Any,
    mask: Any,
    acq: Acquisition,
    *,
    magnitude: Any = None,
    noise: Any = None,
    method: str | None = None,
    **params: Any,
) -> LocalField:
    """Local field in ppm and the mask where it is valid, from the total field in ppm.

    Methods that start from the phase (``chimap.methods("background")[name].of``) take that as their first argument, in
    rad, (x, y, z, echo).
    """
    m = registry.get("background", method)
    return m(field_ppm, mask, acq, **m.takes(magnitude=magnitude, noise=noise), **params)


def invert(
    field_ppm: Any,
    mask: Any,
    acq: Acquisition,
    *,
    magnitude: Any = None,
    noise: Any = None,
    r2star: Any = None,
    method: str | None = None,
    **params: Any,
) -> Volume:
    """Susceptibility in ppm from the local field in ppm, 0 outside the mask.

    Single-step methods take the total field or the phase of all echoes instead: what
    ``chimap.methods("inversion")[name].of`` says. One number may be chosen by a rule: ``lam="auto:lcurve"``, or
    ``"auto"`` for the recommended rule; `chimap.tuning.tune` also tells what it found.
    """
    m = registry.get("inversion", method)
    arrays = {"magnitude": magnitude, "noise": noise, "r2star": r2star}
    params, _ = tuning.resolve(m, params, field_ppm, mask, acq, arrays)
    return m(field_ppm, mask, acq, **m.takes(**arrays), **params)


def separate_sources(
    field_ppm: Any,
    mask: Any,
    acq: Acquisition,
    *,
    r2prime: Any = None,
    r2star: Any = None,
    magnitude: Any = None,
    noise: Any = None,
    method: str | None = None,
    **params: Any,
) -> Separation:
    """Paramagnetic and diamagnetic susceptibility in ppm from the local field in ppm and R2' (or R2*) in 1/s.

    Method `decompose` takes the susceptibility of each echo in ppm, (x, y, z, echo), in place of the field, and the magnitude of
    all echoes. A single map, (x, y, z), then stands for all of them.
    """
    m = registry.get("separation", method)
    if m.ndim == 4 and np.ndim(field_ppm) == 3:
        field_ppm = np.repeat(np.asarray(field_ppm)[..., np.newaxis], acq.echoes, axis=3)
    arrays = {"r2prime": r2prime, "r2star": r2star, "magnitude": magnitude, "noise": noise}
    return m(field_ppm, mask, acq, **m.takes(**arrays), **params)


def map_r2star(
    magnitude: Any,
    mask: Any,
    acq: Acquisition,
    *,
    field: Any = None,
    method: str | None = None,
    **params: Any,
) -> Relaxation:
    """R2* in 1/s and T2* in s from the magnitude of several echoes; `field`: total field in ppm, for methods that use it."""
    m = registry.get("r2star", method)
    return m(magnitude, mask, acq, **m.takes(field=field), **params)
