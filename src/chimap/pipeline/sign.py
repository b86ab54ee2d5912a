"""Does the phase grow or shrink with the field? Scanners disagree; two witnesses in the data tell.

Air is paramagnetic against tissue by 9.4 ppm, and the head's outline is in the magnitude. The field that
the outline predicts has the sign of physics; the measured total field has the sign of the scanner. Where that
is not clear (thick bone at the sinuses), veins and iron-rich nuclei decide: nothing in a brain is as diamagnetic
as they are paramagnetic, apart from rare calcifications.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.masking import morphology
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.numerics.fft import irfftn, rfftn
from chimap.types import Mask, Volume

AIR_PPM = 9.4
"""Susceptibility of air relative to tissue in ppm (Schenck 1996, doi:10.1118/1.597854)."""

_DECISIVE = 0.2
_ASYMMETRIC = 0.15
_LEAST_BRAIN_MM3 = 1e5
_DARK = 0.25
_BONE_MM = 5.0
_FINE_MM = 1.5
_SPACING_MM = 3.0


@dataclass(frozen=True)
class Sign:
    """The sign by which the field has to be multiplied, and what it rests on.

    `correlation` is that of the measured field with the predicted one, in [-1, 1]; `asymmetry` that of the tails
    of a quick susceptibility map, in [-1, 1] (0 where it was not needed). `decided` is false where both are too small
    to tell, and then `sign` is +1.
    """

    sign: int
    correlation: float
    decided: bool
    asymmetry: float = 0.0

    def __str__(self) -> str:
        r = f"correlation with the field of the head's outline {self.correlation:+.2f}"
        if self.asymmetry:
            r += f", veins and nuclei {self.asymmetry:+.2f}"
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
        Undecided where the scan shows neither air nor enough of a brain (a crop, a phantom).

    Notes
    -----
    Air is what is dark and thicker than bone. Both fields are reduced to about 3 mm, freed from an order-2
    polynomial (shim, and the parts of the head outside the image), and correlated with the magnitude as
    weights. Below a correlation of 0.2 the tails of the susceptibility deep in the brain decide, from a
    smoothed-off background and a thresholded division in k-space.
    """
    fine = _steps(acq.voxel_size_mm, _FINE_MM)
    grid = _coarser(acq, fine)
    signal = _block_mean(magnitude, fine)
    weight = _block_mean(mask.astype(np.float32), fine)
    field = _block_mean(np.where(mask, field_ppm, np.float32(0)), fine) / np.maximum(weight, np.float32(0.1))
    brain = weight > 0.5
    if not brain.any():
        return Sign(1, 0.0, False)
    correlation = _outline(field, signal, brain, grid)
    if abs(correlation) >= _DECISIVE:
        return Sign(1 if correlation > 0 else -1, correlation, True)
    asymmetry = _tails(field, brain, grid)
    decided = abs(asymmetry) >= _ASYMMETRIC
    return Sign(-1 if decided and asymmetry < 0 else 1, correlation, decided, asymmetry)


def _outline(field: np.ndarray, signal: Volume, brain: Mask, acq: Acquisition) -> float:
    """Correlation of the field with the one that the air in the magnitude predicts; 0 without air."""
    voxel = acq.voxel_size_mm
    dark = signal < _DARK * np.median(signal[brain])
    # Bone is as dark as air, but thin: what a ball does not fit into is taken as tissue.
    margin = int(_BONE_MM / min(voxel)) + 2
    air = morphology.open_(np.pad(dark, margin, mode="edge"), _BONE_MM, voxel)[(slice(margin, -margin),) * 3]
    if air.mean() < 0.02:
        return 0.0
    coarse = _steps(voxel, _SPACING_MM)
    tissue = np.float32(1) - _block_mean(air.astype(np.float32), coarse)
    weight = _block_mean(brain.astype(np.float32), coarse)
    inside = weight > 0.5
    if inside.sum() < 100:
        return 0.0
    measured = _block_mean(np.where(brain, field, 0), coarse) / np.maximum(weight, np.float32(0.1))
    predicted = forward_field(tissue * np.float32(-AIR_PPM), _coarser(acq, coarse))
    r = _correlation(measured, predicted, inside, _block_mean(signal, coarse))
    return round(float(np.nan_to_num(r)), 3)


def _tails(field: np.ndarray, brain: Mask, acq: Acquisition) -> float:
    """Asymmetry of the tails of a quick susceptibility map deep in the brain; 0 if there is too little of it."""
    voxel = acq.voxel_size_mm
    # The field near the sinuses and at the surface is the least certain, and its errors reach far.
    inner = morphology.erode(brain, 20.0, voxel, border=True)
    if inner.sum() * float(np.prod(voxel)) < _LEAST_BRAIN_MM3:
        return 0.0
    sigma = [6.0 / v for v in voxel]
    inside = np.where(brain, field, 0).astype(np.float32)
    near = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
    smooth = ndimage.gaussian_filter(inside, sigma) / np.maximum(near, np.float32(1e-3))
    local = np.where(morphology.erode(brain, 10.0, voxel), inside - smooth, np.float32(0))
    kernel = dipole_kernel(local.shape, voxel, acq.b0_dir)
    # Thresholded division in k-space: exact enough for the sign.
    inverse = np.where(np.abs(kernel) > 0.2, 1 / np.where(kernel == 0, 1, kernel), np.sign(kernel) / 0.2)
    chi = irfftn(rfftn(local) * inverse.astype(np.float32), local.shape)[inner]
    low, middle, high = np.percentile(chi, [0.2, 50, 99.8])
    return round(float((high + low - 2 * middle) / (high - low)), 3) if high > low else 0.0


def _coarser(acq: Acquisition, steps: list[int]) -> Acquisition:
    return acq.with_(voxel_size_mm=tuple(v * s for v, s in zip(acq.voxel_size_mm, steps, strict=True)))


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
