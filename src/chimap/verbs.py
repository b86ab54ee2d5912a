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
    """Mask of the brain from the magnitude.

    Parameters
    ----------
    magnitude : (x, y, z) or (x, y, z, echo)
        In any unit.
    acq : Acquisition
        Echo times, field strength and direction, voxel size.
    phase : (x, y, z, echo), optional
        In rad, for methods that judge its quality.
    method : str, optional
        Name of the method; None: the default of the stage. `chimap.methods("mask")` lists them.
    **params
        Parameters of the method.

    Returns
    -------
    (x, y, z) bool
    """
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
    """Phase without 2 pi steps.

    Parameters
    ----------
    phase : (x, y, z) or (x, y, z, echo)
        Wrapped, in rad.
    mask : (x, y, z) bool
        Brain, or the object.
    acq : Acquisition
        Echo times, field strength and direction, voxel size.
    magnitude : array of the shape of `phase`, optional
        In any unit, as weight.
    method : str, optional
        Name of the method; None: the default of the stage. `chimap.methods("unwrap")` lists them.
    **params
        Parameters of the method.

    Returns
    -------
    float32 of the shape of `phase`
        In rad, 0 outside the mask.
    """
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
    """Total field with its standard deviation, from wrapped phase.

    Parameters
    ----------
    phase : (x, y, z, echo)
        Wrapped, in rad.
    mask : (x, y, z) bool
        Brain, or the object.
    acq : Acquisition
        Echo times, field strength and direction, voxel size.
    magnitude : (x, y, z, echo), optional
        In any unit, as weight.
    method : str, optional
        Name of the method; None: the default of the stage. `chimap.methods("field")` lists them.
    **params
        Parameters of the method.

    Returns
    -------
    Field
        Field and standard deviation in ppm.
    """
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
    """Local field and the mask where it is valid, from the total field.

    Parameters
    ----------
    field_ppm : (x, y, z)
        Total field in ppm. Methods that start from the phase (``chimap.methods("background")[name].of``) take that instead, in
        rad, (x, y, z, echo).
    mask : (x, y, z) bool
        Brain, or the object.
    acq : Acquisition
        Echo times, field strength and direction, voxel size.
    magnitude, noise : (x, y, z), optional
        Magnitude in any unit and standard deviation of the field in ppm, for methods that use them.
    method : str, optional
        Name of the method; None: the default of the stage. `chimap.methods("background")` lists them.
    **params
        Parameters of the method.

    Returns
    -------
    LocalField
        Field and standard deviation in ppm, and the mask where they are valid.
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
    """Susceptibility from the local field.

    One number may be chosen by a rule: ``lam="auto:lcurve"``, or ``"auto"`` for the recommended rule; `chimap.tuning.tune` also tells
    what it found.

    Parameters
    ----------
    field_ppm : (x, y, z)
        Local field in ppm. Single-step methods take the total field or the phase of all echoes instead: what
        ``chimap.methods("inversion")[name].of`` says.
    mask : (x, y, z) bool
        Brain, or the object.
    acq : Acquisition
        Echo times, field strength and direction, voxel size.
    magnitude, noise, r2star : (x, y, z), optional
        Magnitude in any unit, standard deviation of the field in ppm and R2* in 1/s, for methods that use them.
    method : str, optional
        Name of the method; None: the default of the stage. `chimap.methods("inversion")` lists them.
    **params
        Parameters of the method.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, not referenced, 0 outside the mask.
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
    """Paramagnetic and diamagnetic susceptibility from the local field and R2' (or R2*).

    Parameters
    ----------
    field_ppm : (x, y, z)
        Local field in ppm. Method `decompose` takes the susceptibility of each echo in ppm instead, (x, y, z, echo); a single map,
        (x, y, z), then stands for all of them.
    mask : (x, y, z) bool
        Brain, or the object.
    acq : Acquisition
        Echo times, field strength and direction, voxel size.
    r2prime, r2star : (x, y, z), optional
        R2' or R2* in 1/s; which one a method needs, its own page says.
    magnitude : (x, y, z) or (x, y, z, echo), optional
        In any unit; of all echoes for `decompose`.
    noise : (x, y, z), optional
        Standard deviation of the field in ppm.
    method : str, optional
        Name of the method; None: the default of the stage. `chimap.methods("separation")` lists them.
    **params
        Parameters of the method.

    Returns
    -------
    Separation
        Both parts in ppm.
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
    """R2* and T2* from the magnitude of several echoes.

    Parameters
    ----------
    magnitude : (x, y, z, echo)
        In any unit.
    mask : (x, y, z) bool
        Brain, or the object.
    acq : Acquisition
        Echo times, field strength and direction, voxel size.
    field : (x, y, z), optional
        Total field in ppm, for methods that use it.
    method : str, optional
        Name of the method; None: the default of the stage. `chimap.methods("r2star")` lists them.
    **params
        Parameters of the method.

    Returns
    -------
    Relaxation
        R2* in 1/s and T2* in s.
    """
    m = registry.get("r2star", method)
    return m(magnitude, mask, acq, **m.takes(field=field), **params)
