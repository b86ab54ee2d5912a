"""V-SHARP: spherical mean values with a radius that shrinks towards the edge."""

from __future__ import annotations

from typing import Literal

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._smv import edge_weights
from chimap.background._unreliable import from_around
from chimap.errors import InputError
from chimap.numerics.box import Box, whole_voxels
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.harmonic import fit_harmonic
from chimap.numerics.noise import median_noise, repaired
from chimap.numerics.smv import depth_mm, reach_mm, smallest_sphere, sphere_weights, symmetric_spectrum
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent

PAD_MM = 20.0
EDGE_MM = 4.0
LARGEST_FIT_MM = 4.8
"""Background next to bone is no cubic over larger balls: at 2 mm fitting leaves more than means over small spheres do."""
# Depth up to which a ball is used, its radius (both as shares of EDGE_MM), and the degree of the polynomial in it.
RINGS = ((0.26, 0.625, 2), (0.55, 1.0, 3), (1.0, 1.25, 3), (np.inf, 1.5, 3))


@method("background", reference=("10.1002/mrm.23000", "10.1016/j.neuroimage.2010.10.070"))
def vsharp(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    radius_mm: float = 18.0,
    step: float = 0.12,
    threshold: float = 0.13,
    unreliable: float = 25.0,
    edge: Literal["auto", "fit", "shrink"] = "auto",
    progress: Progress = silent,
) -> LocalField:
    r"""V-SHARP, sophisticated harmonic artefact reduction with a variable sphere radius.

    The field of sources outside the mask is harmonic inside, so it equals its mean over any sphere that lies
    inside, and :math:`f - S_r f` holds the local field alone. Every voxel uses the largest radius :math:`r`
    that fits; what the subtraction took from the local field is put back by deconvolution with the largest
    kernel, :math:`(1 - S_R)^{-1}`, cut off where :math:`1 - S_R` is below `threshold`.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where the total field is known.
    acq : Acquisition
        Voxel size in mm, and the direction of B0 for `unreliable` voxels.
    noise : (x, y, z) float32, optional
        Standard deviation of the total field in ppm; gives the standard deviation of the local field, and the
        voxels that are `unreliable`.
    radius_mm : float
        Largest radius in mm. Larger keeps more of the slow variations of susceptibility, which region means need
        (12 mm loses up to a fifth of the substantia nigra's), and lets through slightly more background.
    step : float
        Step between radii, as a share of the radius (0.05 to 0.5), but at least half of the smallest voxel side.
    threshold : float
        Smallest value of :math:`1 - S_R` that is still divided by. It acts as a high-pass: with small radii take less
        (0.05 for 12 mm), with large ones more, or left-over background is amplified.
    unreliable : float
        Voxels whose noise exceeds this many times the median are replaced by the harmonic function that fits
        around them before spheres average over them; in the result, their field is that of the sources there that best
        explain the field around. 0: never.
    edge : str
        fit: within some 6 mm of the edge harmonic polynomials, fitted in balls of 2.5 to 6 mm that stick out of the mask, take
        the place of means over ever smaller spheres; keeps more of the local field, and the outermost
        voxels. shrink: spheres down to the six neighbours, as published; loses the outermost voxels. auto: fit for voxels up to some 1.3 mm, shrink for
        larger ones, whose balls would have to be too large.

    Returns
    -------
    LocalField
        Local field in ppm and the mask where it is valid. With `edge` fit: the given mask without the noisiest voxels (a
        third of `unreliable`) within 2 mm of its edge; with shrink: without voxels that have one of their
        six neighbours outside.

    Notes
    -----
    The largest part of the error is the local field's own harmonic part, which no method of this family can tell
    from background; expect the map to be flattened within a few millimetres of the edge. Background that varies within
    those few millimetres, next to air, is left over in the outermost voxels.

    In a ball inside the mask the least-squares harmonic polynomial is the mean at the ball's centre, so fitting
    continues V-SHARP where the mean over part of a sphere would be wrong.

    Wu, Li, Guidon and Liu 2012, doi:10.1002/mrm.23000; the deconvolution is that of SHARP, Schweser et al. 2011,
    doi:10.1016/j.neuroimage.2010.10.070.
    """
    voxel = acq.voxel_size_mm
    if radius_mm < min(voxel) or not 0 < threshold < 1 or not 0 < step < 1:
        raise InputError(
            f"V-SHARP needs a radius of at least one voxel ({min(voxel):g} mm), and a step and a threshold between "
            f"0 and 1; got radius {radius_mm:g} mm, step {step:g}, threshold {threshold:g}"
        )
    if edge not in ("auto", "fit", "shrink"):
        raise InputError(f"V-SHARP's edge is auto, fit or shrink; got {edge!r}")
    # A ball needs enough voxels on each axis for a cubic.
    ball_mm = max(EDGE_MM, 3.5 * float(np.prod(voxel)) ** (1 / 3), 2 * max(voxel))
    if edge == "auto":
        edge = "fit" if ball_mm <= LARGEST_FIT_MM else "shrink"
    radii = _radii(radius_mm, 1.2 * ball_mm if edge == "fit" else min(voxel), step) or [radius_mm]
    kernels = [sphere_weights(r, voxel) for r in radii]
    if edge == "shrink":
        kernels.append(smallest_sphere(voxel))
    # A sphere that lies inside the mask lies inside its bounding box, so the means need no space around it; the
    # deconvolution, which reaches farther, gets some.
    box = Box.around(mask, [whole_voxels(PAD_MM, v) for v in voxel])
    depth = box.crop(depth_mm(mask, voxel))
    field = box.crop(repaired(total_field, noise, mask, unreliable, voxel))
    field_spectrum = rfftn(field)
    variance = variance_spectrum = mean_variance = None
    if noise is not None:
        variance = box.crop(noise * noise)
        variance_spectrum = rfftn(variance)

    local = np.zeros(box.shape, np.float32)
    done = np.zeros(box.shape, bool)
    largest = None
    steps = len(kernels) + 1 + (edge == "fit")
    for n, kernel in enumerate(kernels):
        here = (depth > reach_mm(kernel, voxel) * (1 + 1e-6)) & ~done
        if here.any() or (edge == "fit" and largest is None):
            spectrum = symmetric_spectrum(kernel, box.shape)
            if largest is None:
                largest = 1 - spectrum
            if variance is not None and variance_spectrum is not None:
                # The mean of N voxels has the variance sum(w^2 v), and w^2 is nearly w / N. How v averages
                # over spheres changes slowly with their size, so not every size is worth a transform.
                if mean_variance is None or n % 4 == 0 or n == len(kernels) - 1:
                    mean_variance = irfftn(variance_spectrum * spectrum, box.shape)
                    np.maximum(mean_variance, 0, out=mean_variance)
                np.add(variance, np.float32((kernel**2).sum()) * mean_variance, out=variance, where=here)
            spectrum = field_spectrum * spectrum
            np.subtract(field, irfftn(spectrum, box.shape), out=local, where=here)
            done |= here
        progress(n + 1, steps)
    if edge == "fit":
        weight = edge_weights(noise, mask, box)
        # Right at the edge the polynomial extrapolates, and noise with it.
        limit = np.inf if noise is None or unreliable <= 0 else unreliable / 3 * median_noise(noise, mask)
        usable = depth > 0
        if variance is not None and np.isfinite(limit):
            usable &= (depth > ball_mm / 2) | (variance <= limit * limit)
        for share, size, degree in RINGS:
            size = max(size * ball_mm, 2.2 * max(voxel))
            here = usable & ~done & (depth <= share * ball_mm)
            if here.any():
                background, known = fit_harmonic(field, weight, here, voxel, size, degree=degree)
                np.subtract(field, background, out=local, where=known)
                done |= known
        progress(steps - 1, steps)
    if not done.any() or largest is None:
        raise InputError(
            "no voxel of the mask has all its neighbours inside, so nothing is left for V-SHARP",
            fix="Give a mask of the whole object",
        )
    inverse = np.where(largest > threshold, 1 / np.maximum(largest, threshold), 0).astype(np.float32)
    spectrum = rfftn(local)
    spectrum *= inverse
    local = irfftn(spectrum, box.shape)
    local *= done
    valid = box.restore(done)
    field = from_around(box.restore(local), noise, valid, unreliable, voxel, acq.b0_dir)
    progress(steps, steps, radii=len(kernels), converged=True)
    return LocalField(
        field_ppm=field,
        noise_ppm=None if variance is None else box.restore(np.sqrt(variance) * done),
        mask=valid,
    )


def _radii(largest: float, voxel: float, step: float) -> list[float]:
    """Radii from the largest down to just above one voxel."""
    radii = []
    r = largest
    while r > 1.25 * voxel:
        radii.append(r)
        r -= max(0.5 * voxel, step * r)
    return radii
