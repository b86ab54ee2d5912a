"""Joint estimate of the sources on both sides of the mask's edge: chimap's own background removal."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._joint import Fit, Prior, even_box, robust_sd, smoothing
from chimap.background.lbv import lbv
from chimap.errors import InputError
from chimap.numerics.box import whole_voxels
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import convolve
from chimap.numerics.noise import unknown_voxels
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent

OUTLIER = 3.0
"""Residuals beyond so many standard deviations are pulled in (Huber)."""

COARSE_ITERATIONS = 120

DETAIL_PPM = 0.015
"""Standard deviation of the local field's details that the sources leave, to weigh against the field's noise."""

VOID_PPM = 0.3
"""Standard deviation of susceptibility to expect where the signal is lost: calcifications, bleeds, large veins."""

LOST = 25.0
"""A voxel's signal is lost if its noise is so many times the median."""


@method("background", reference=("10.1002/nbm.1670", "10.1002/mrm.26331", "10.1002/nbm.3064"))
def joint(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    tissue_ppm: float = 0.03,
    rim_ppm: float = 0.06,
    source_ppm: float = 1.2,
    gap_mm: float = 4.0,
    smooth_mm: float = 1.0,
    floor_ppm: float = 0.002,
    pad_mm: float = 36.0,
    tolerance: float = 0.05,
    iterations: int = 90,
    lbv_share: float = 0.5,
    progress: Progress = silent,
) -> LocalField:
    r"""Joint fit of sources inside and outside, each with what is known of it beforehand.

    The total field is :math:`f = c + D\chi` with one map of susceptibility :math:`\chi` for tissue and surroundings
    together. Part of the tissue's field is harmonic inside the mask, and there the field alone cannot tell it from
    background; PDF and the SHARP family count all of it as background, which is where most of their error comes from.
    What is known before the measurement can tell: tissue is weak, bone and air are strong but do not touch the brain,
    and neighbouring voxels are alike. With :math:`\chi = B (s x)`, B a Gaussian of `smooth_mm` plus an uncorrelated
    part, s the standard deviation to be expected at each voxel, x white,

    .. math:: \min_{x, c} \sum_{mask} \frac{(f - c - D B s x)^2}{\sigma^2 + floor^2} + \sum x^2

    is the most probable map, and the local field is :math:`f - c` minus the field of its part outside the mask. Details
    that :math:`\chi` inside does not explain stay in the local field.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where the total field is known.
    acq : Acquisition
        Voxel size in mm and direction of B0.
    noise : (x, y, z) float32, optional
        Standard deviation :math:`\sigma` of the total field in ppm. Weights the voxels; where it is so large that the
        signal is lost, strong sources are expected (calcifications, bleeds) and the field comes from the fit alone.
    tissue_ppm : float
        Standard deviation of the susceptibility inside the mask, in ppm, over `smooth_mm`.
    rim_ppm : float
        The same right outside the mask (cortex, fluid, meninges, veins).
    source_ppm : float
        The same far outside (bone, air). More removes more background and more of what is slow in the local field.
    gap_mm : float
        Distance from the mask at which sources are about as strong as `source_ppm`, in mm.
    smooth_mm : float
        Standard deviation of the Gaussian by which neighbouring voxels are alike, in mm.
    floor_ppm : float
        Error of the field beside its noise (voxels' edges, motion), in ppm.
    pad_mm : float
        Space for sources around the mask's bounding box, in mm, on each axis (both sides together).
    tolerance : float
        Stop when an iteration changes the field by less than this many standard deviations (root mean square over
        the mask).
    iterations : int
        Most iterations at full resolution; each costs two transform pairs. Those before, at half resolution, cost
        together about as much as 20.
    lbv_share : float
        Share of the result of `lbv` in that of a measured field (one with `noise`), 0 (none) to 1. The two err in
        different places, this fit in the slow fields of nuclei and large structures, `lbv` next to the edge.

    Returns
    -------
    LocalField
        Local field in ppm, over the whole mask, with mean 0; its noise is that of the total field.

    Raises
    ------
    InputError
        If a parameter is not positive, or `lbv_share` not from 0 to 1.

    Notes
    -----
    A linear method but for outliers: Gaussian priors, conjugate gradients preconditioned by the prior, first guess
    from half the resolution. Standard deviations refer to a fixed volume, so the result does not hang on the voxel
    size. The prior inside is that of brain tissue: large bleeds keep their field (it is not background), but strong
    sources right outside the mask, such as a sinus full of blood or air that the mask leaves no gap to, leak into the
    outermost millimetres.

    For a measured field the mean of this and `lbv` is better than either (on simulated heads: susceptibility of the deep nuclei
    within 9 % of the truth instead of 18 %).

    Sources outside as in PDF (Liu et al. 2011, doi:10.1002/nbm.1670), both sides in one fit and the prior as
    preconditioner as in total field inversion (Liu et al. 2017, doi:10.1002/mrm.26331); LBV: Zhou et al. 2014, doi:10.1002/nbm.3064.
    """
    positive = {
        "tissue_ppm": tissue_ppm,
        "rim_ppm": rim_ppm,
        "source_ppm": source_ppm,
        "gap_mm": gap_mm,
        "smooth_mm": smooth_mm,
        "floor_ppm": floor_ppm,
    }
    for name, value in positive.items():
        if not value > 0:
            raise InputError(f"{name} is {value}", fix="Give more than 0")
    if not (pad_mm >= 0 and tolerance >= 0 and iterations >= 1):
        raise InputError(
            f"pad_mm is {pad_mm}, tolerance {tolerance} and iterations {iterations}",
            fix="Give 0 or more, and at least one iteration",
        )
    if not 0 <= lbv_share <= 1:
        raise InputError(f"lbv_share is {lbv_share}", fix="Give 0 to 1")
    voxel = acq.voxel_size_mm
    box = even_box(mask, [max(2, whole_voxels(pad_mm, v)) for v in voxel])
    inside = box.crop(mask)
    prior = Prior.of(inside, box, voxel, acq.b0_dir, tissue_ppm, rim_ppm, source_ppm, gap_mm, smooth_mm)
    variance = np.zeros(box.shape, np.float32) if noise is None else box.crop(noise) ** 2
    variance += np.float32(floor_ppm**2)
    lost = unknown_voxels(noise, mask, LOST)
    if lost is not None:
        prior.sd[box.crop(lost)] *= np.float32(VOID_PPM / tissue_ppm)
    fit = Fit.start(box.crop(total_field), inside / variance, prior)
    if noise is not None:
        # What no source explains even roughly is no field.
        first = fit.coarse(voxel, acq.b0_dir, smooth_mm, COARSE_ITERATIONS // 3)
        left = fit.residual - fit.field_of(first)
        limit = OUTLIER * np.sqrt(robust_sd(left[inside]) ** 2 + variance)
        fit.weight *= np.minimum(1, limit / np.maximum(np.abs(left), limit)) ** 2
        del first, left, limit
    del variance
    fit.begin(fit.coarse(voxel, acq.b0_dir, smooth_mm, COARSE_ITERATIONS))
    fit.run(iterations, tolerance, progress)
    local, chi = fit.residual, fit.x
    chi *= prior.sd
    del prior, fit
    chi = convolve(chi, smoothing(box.shape, voxel, smooth_mm))
    if noise is not None:  # what no source explains is partly detail and partly noise
        share = box.crop(noise) ** 2
        share *= np.float32(DETAIL_PPM**-2)
        share += np.float32(1)
        local /= share
        del share
    chi *= inside
    local += convolve(chi, dipole_kernel(box.shape, voxel, acq.b0_dir))
    del chi
    local -= np.float32(local[inside].mean(dtype=np.float64))
    local *= inside
    field = box.restore(local)
    if noise is None:
        return LocalField(field_ppm=field, noise_ppm=None, mask=mask.copy())
    if lbv_share > 0:
        blend(field, lbv(total_field, mask, acq, noise=noise), lost, lbv_share)
    return LocalField(field_ppm=field, noise_ppm=noise.copy(), mask=mask.copy())


def blend(field: Volume, other: LocalField, lost: Mask | None, share: float) -> None:
    """Mix `other` into `field` in place where it is valid and the signal is not lost, both with mean 0 there."""
    at = other.mask if lost is None else other.mask & ~lost
    if not at.any():
        return
    values = other.field_ppm[at]
    values -= np.float32(values.mean(dtype=np.float64)) - np.float32(field[at].mean(dtype=np.float64))
    field[at] += np.float32(share) * (values - field[at])
