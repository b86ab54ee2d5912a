"""How far the field of each voxel can be used, which voxels are lost, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.masking import _intensity, morphology
from chimap.masking.quality import phase_quality
from chimap.registry import as_mask, as_volume, inside
from chimap.results import Field
from chimap.types import Mask, Volume

REASONS = {
    1: "low signal",
    2: "noisy field",
    3: "misfit of the echoes",
    4: "incoherent phase",
    5: "outside the user's mask",
}
"""What the labels in `Reliability.reasons` stand for."""

_LOW_SIGNAL, _NOISY, _MISFIT, _INCOHERENT, _USER = REASONS
_LOST_BELOW = 0.05
_SENSITIVITY_MM = 25.0


@dataclass(frozen=True)
class Reliability:
    """The use that can be made of a field, all (x, y, z).

    Attributes
    ----------
    weight : float32
        0 (lost, or outside the field's mask) to 1.
    lost : bool
        Voxels of the field's mask that are not to be used.
    reasons : uint8
        Why a voxel is lost, as in `REASONS`; 0 elsewhere.
    mask : bool
        The field's mask without the lost voxels at its rim. Holes stay part of it, with their weight of 0, since
        methods that take weights do better with them than with a hole.
    """

    weight: Volume
    lost: Mask
    reasons: np.ndarray
    mask: Mask

    @property
    def counts(self) -> dict[str, int]:
        """Number of lost voxels by reason."""
        found = np.bincount(self.reasons.ravel(), minlength=len(REASONS) + 1)
        return {name: int(found[label]) for label, name in REASONS.items()}


def reliability(
    field: Field,
    acq: Acquisition,
    magnitude: Any = None,
    phase: Any = None,
    *,
    user_mask: Any = None,
    signal: tuple[float, float] = (0.15, 0.45),
    noise_rad: tuple[float, float] = (1.0, 0.25),
    misfit_rad: tuple[float, float] = (1.0, 0.25),
    coherence: tuple[float, float] = (0.05, 0.45),
) -> Reliability:
    """Weight of each voxel of a field from its signal, noise, misfit and phase, and the voxels that are lost.

    Each criterion gives a score that rises linearly from 0 at its first limit to 1 at its second. The weight is
    their product; a voxel of weight below 0.05 is lost, for the reason of its lowest score. A criterion whose
    data are missing is left out. The weight leaves out what is wrong; the field's noise, as inverse variance,
    still has to weigh what is right.

    Parameters
    ----------
    field : Field
        Field with its mask, and where known its standard deviation and misfit.
    acq : Acquisition
        Echo times, field strength, voxel size.
    magnitude : (x, y, z) or (x, y, z, echo), optional
        Magnitude in any unit, for `signal` and as weight of the echoes in `coherence`.
    phase : (x, y, z, echo), optional
        Wrapped phase in rad, for `coherence`.
    user_mask : (x, y, z) bool, optional
        What the user wants of the object; the rest of the field's mask is lost for that reason.
    signal : 2 float
        Root mean square of the echoes over the smooth level of the object around (a Gaussian of 25 mm).
    noise_rad : 2 float
        Standard deviation of the field as phase in rad at the first echo.
    misfit_rad : 2 float
        Root mean square misfit of the echoes to the fitted field in rad.
    coherence : 2 float
        `phase_quality`, 0 (noise) to 1 (smooth).

    Returns
    -------
    Reliability

    Raises
    ------
    InputError
        If shapes differ, values inside the mask are not finite, or both limits of a criterion are the same.
    """
    mask = field.mask
    scores: dict[int, Volume] = {}

    def score(reason: int, value: Volume, limits: tuple[float, float], name: str) -> None:
        zero, one = limits
        if zero == one or not np.isfinite([zero, one]).all():
            raise InputError(f"the limits of {name} are {zero} and {one}", fix="Give two different numbers")
        scores[reason] = np.clip((value - np.float32(zero)) / np.float32(one - zero), 0, 1)

    if magnitude is not None:
        magnitude = _checked(magnitude, "magnitude", mask)
        volume = _intensity.combined(magnitude)
        level = _intensity.sensitivity(volume, mask, _SENSITIVITY_MM, acq.voxel_size_mm)
        relative: Volume = np.divide(volume, np.maximum(level, np.float32(1e-30)), dtype=np.float32)
        score(_LOW_SIGNAL, relative, signal, "signal")
    if field.noise_ppm is not None:
        score(_NOISY, field.noise_ppm * np.float32(acq.rad_per_ppm()), noise_rad, "noise_rad")
    if field.residual is not None:
        score(_MISFIT, field.residual, misfit_rad, "misfit_rad")
    if phase is not None:
        phase = _checked(phase, "phase", mask)
        weights = magnitude if magnitude is not None and magnitude.shape == phase.shape else None
        score(_INCOHERENT, phase_quality(phase, weights, acq), coherence, "coherence")

    weight = mask.astype(np.float32)
    worst: Volume = np.full(mask.shape, np.inf, np.float32)
    reasons = np.zeros(mask.shape, np.uint8)
    for reason, s in scores.items():
        weight *= s
        reasons[s < worst] = reason
        np.minimum(worst, s, out=worst)
    lost = mask & (weight < _LOST_BELOW)
    kept = mask
    if user_mask is not None:
        kept = mask & as_mask(user_mask, mask.shape)
        reasons[~kept] = _USER
        lost |= mask & ~kept
    reasons[~lost] = 0
    weight[lost] = 0
    return Reliability(weight, lost, reasons, kept & morphology.fill_holes(mask & ~lost))


def _checked(array: Any, name: str, mask: Mask) -> Volume:
    """A 4-D array of float32 on the grid of the mask; what is not finite is an error inside the mask, 0 outside.

    What lies around the mask stays: the phase of its rim is judged by it.
    """
    volume = as_volume(array, name, 4)
    if volume.shape[:3] != mask.shape:
        raise InputError(f"{name} has shape {volume.shape[:3]} but the field {mask.shape}")
    bad = int(np.count_nonzero(mask & ~np.isfinite(volume).all(3)))
    if bad:
        raise InputError(
            f"{name} has {bad} voxels inside the mask that are NaN or infinite",
            fix="Leave those voxels out of the mask, or repair the data",
        )
    return inside(volume, None, name)
