"""Does the phase grow or shrink with the field? Scanners disagree; the air around the head decides it.

Air is paramagnetic against tissue by 9.4 ppm, and the head's outline is in the magnitude. The field that
the outline predicts has the sign of physics; the measured total field has the sign of the scanner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.masking import morphology
from chimap.numerics.dipole import forward_field
from chimap.types import Mask, Volume

AIR_PPM = 9.4
"""Susceptibility of air relative to tissue in ppm (Schenck 1996, doi:10.1118/1.597854)."""

_DECISIVE = 0.2
_DARK = 0.25
_BONE_MM = 5.0
_FINE_MM = 1.5
_SPACING_MM = 3.0


@dataclass(frozen=True)
class Sign:
    """The sign by which the field has to be multiplied, and how sure that is.

    `correlation` is that of the measured with the predicted field, in [-1, 1]; `decided` is false where
    it is too small to tell, and then `sign` is +1.
    """

    sign: int
    correlation: float
    decided: bool

    def __str__(self) -> str:
        r = f"correlation with the field of the head's outline {self.correlation:+.2f}"
        if not self.decided:
            return f"phase sign could not be told from the data ({r}); taken as positive"
        if self.sign < 0:
            return f"phase falls where the field is higher ({r}); the field was multiplied by -1"
        return f"phase grows with the field ({r})"


def detect_sign(field_ppm: Volume, magnitude: Volume, mask: Mask, acq: Acquisition) -> Sign:
    """Sign convention of the phase that a total field came from.

    Parameters
    ----------
    field_ppm : (x, y, z) float32
        Total field in ppm, valid inside `mask`.
    magnitude : (x, y, z) float32
        Combined magnitude: its dark voxels are air or bone.
    mask : (x, y, z) bool
        Where the field is known.
    acq : Acquisition
        Voxel size and direction of B0.

    Returns
    -------
    Sign
        Undecided where the scan shows no air (a crop of the brain, a masked magnitude) or too little of it.

    Notes
    -----
    Air is what is dark and thicker than bone. Both fields are reduced to about 3 mm, freed from an order-2 polynomial (shim, and the parts of the
    head outside the image), and correlated with the magnitude as weights.
    """
    fine = _steps(acq.voxel_size_mm, _FINE_MM)
    voxel = tuple(v * s for v, s in zip(acq.voxel_size_mm, fine, strict=True))
    coarse = _steps(voxel, _SPACING_MM)
    signal = _block_mean(magnitude, fine)
    weight = _block_mean(mask.astype(np.float32), fine)
    field = _block_mean(np.where(mask, field_ppm, np.float32(0)), fine)
    if not (weight > 0.5).any():
        return Sign(1, 0.0, False)
    dark = signal < _DARK * np.median(signal[weight > 0.5])
    # Bone is as dark as air, but thin: what a ball does not fit into is taken as tissue.
    margin = int(_BONE_MM / min(voxel)) + 2
    air = morphology.open_(np.pad(dark, margin, mode="edge"), _BONE_MM, voxel)[(slice(margin, -margin),) * 3]
    if air.mean() < 0.02:
        return Sign(1, 0.0, False)
    tissue = np.float32(1) - _block_mean(air.astype(np.float32), coarse)
    signal, weight, field = (_block_mean(v, coarse) for v in (signal, weight, field))
    inside = weight > 0.5
    if inside.sum() < 100:
        return Sign(1, 0.0, False)
    grid = acq.with_(voxel_size_mm=tuple(v * s for v, s in zip(voxel, coarse, strict=True)))
    predicted = forward_field(tissue * np.float32(-AIR_PPM), grid)
    measured = field / np.maximum(weight, np.float32(1e-6))
    correlation = _correlation(measured, predicted, inside, signal)
    decided = bool(np.isfinite(correlation) and abs(correlation) >= _DECISIVE)
    return Sign(
        -1 if decided and correlation < 0 else 1, round(float(np.nan_to_num(correlation)), 3), decided
    )


def _steps(voxel_size_mm: tuple[float, ...], wanted_mm: float) -> list[int]:
    return [max(1, round(wanted_mm / v)) for v in voxel_size_mm]


def _block_mean(volume: Volume, step: list[int]) -> Volume:
    n = [s // f for s, f in zip(volume.shape, step, strict=True)]
    cut = volume[tuple(slice(0, k * f) for k, f in zip(n, step, strict=True))]
    shape = [v for k, f in zip(n, step, strict=True) for v in (k, f)]
    return np.ascontiguousarray(cut.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32))


def _correlation(measured: np.ndarray, predicted: np.ndarray, mask: Mask, magnitude: np.ndarray) -> float:
    """Weighted correlation inside `mask` after an order-2 polynomial is taken from both."""
    at = np.nonzero(mask)
    x, y, z = ((c - c.mean()) / (np.ptp(c) + 1.0) for c in (a.astype(float) for a in at))
    basis = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
    root = np.sqrt(magnitude[at].astype(float) / (magnitude[at].mean() + 1e-12))[:, None]
    both = np.stack([measured[at], predicted[at]], axis=1).astype(float)
    # Veins, wraps and the voxels next to air would rule a plain correlation.
    low, high = np.percentile(both, [2, 98], axis=0)
    both = np.clip(both, low, high) * root
    basis = basis * root
    rest = both - basis @ np.linalg.lstsq(basis, both, rcond=None)[0]
    norm = np.sqrt((rest**2).sum(axis=0))
    if not (norm > 0).all():
        return 0.0
    return float(rest[:, 0] @ rest[:, 1] / (norm[0] * norm[1]))
