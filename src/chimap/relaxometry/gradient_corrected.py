"""R2* without the signal loss that macroscopic field gradients cause across a voxel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.registry import method
from chimap.relaxometry._common import SINGLE_ECHO, check
from chimap.relaxometry._decay import fit_decay
from chimap.results import Relaxation
from chimap.types import Mask, Progress, Volume, silent


@method("r2star", reference=("10.1002/mrm.23306", "10.1002/mrm.24607"))
def gradient_corrected(
    magnitude: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    field: Volume | None = None,
    axes: str = "xyz",
    smooth_mm: float = 2.0,
    sigma: float | None = None,
    max_r2star: float = 1000.0,
    progress: Progress = silent,
) -> Relaxation:
    """Nonlinear fit with the dephasing by macroscopic field gradients in the model: R2* near sinuses and ear canals.

    The model of `nonlinear` times sinc(TE G_a) for each voxel axis a, where G_a is the change of the smooth total
    field across one voxel in Hz and sinc(x) = sin(pi x) / (pi x): the signal of a voxel with a rectangular profile
    and a field that is linear inside it.

    Parameters
    ----------
    magnitude : (x, y, z, echo) float32
        Magnitude in any unit.
    mask : (x, y, z) bool
        Where R2* is wanted.
    acq : Acquisition
        Echo times (two or more), field strength and voxel size.
    field : (x, y, z) float32, optional
        Total field in ppm, unwrapped, background included. It must be given.
    axes : str
        Voxel axes along which a voxel dephases. A slice-selective axis has the profile assumed here; an axis that is
        Fourier encoded without a filter keeps its signal up to half a turn across the voxel and loses it
        abruptly beyond, so that correcting along it takes off too much. For 2-D scans give the slice axis alone,
        for example z.
    smooth_mm : float
        Standard deviation in mm of the smoothing of the gradient, which makes it macroscopic.
    sigma : float or None
        Noise as in `nonlinear`.
    max_r2star : float
        Upper limit of R2* in 1/s; the lower limit is 0.
    progress : callable, optional
        Called after the estimate of the noise and at the end, with `sigma`.

    Returns
    -------
    Relaxation
        R2* in 1/s within 0..`max_r2star`, T2* = 1 / R2* in s but at most 1 s, and the signal at TE = 0; all 0
        outside the mask and where the first echo has no signal.

    Raises
    ------
    InputError
        Without the field, with fewer than two echoes, or with a parameter out of its range.

    References
    ----------
    Hernando et al., Magn Reson Med 2012, doi 10.1002/mrm.23306; noise floor as Feng et al., Magn Reson Med 2013,
    doi 10.1002/mrm.24607.
    """
    check(acq, 2, max_r2star, "gradient_corrected", SINGLE_ECHO)
    if field is None:
        raise InputError(
            "gradient_corrected needs the total field, from which it takes the gradients",
            fix="Give field= in ppm (estimate_field makes it), or use the method nonlinear",
        )
    if not axes or not set(axes) <= set("xyz"):
        raise InputError(f"axes is {axes!r}", fix="Give some of x, y and z, for example xyz or z")
    if not 0 <= smooth_mm < np.inf:
        raise InputError(f"smooth_mm is {smooth_mm}", fix="Give 0 mm or more")
    along = [a for a, name in enumerate("xyz") if name in axes]
    turns = field_gradients(field, magnitude, mask, acq, along, smooth_mm)
    turns *= np.float32(acq.hz_per_ppm)
    return fit_decay(magnitude, mask, acq, turns, sigma, max_r2star, progress)


def field_gradients(
    field_ppm: Volume, magnitude: Volume, mask: Mask, acq: Acquisition, axes: list[int], smooth_mm: float
) -> np.ndarray:
    """Smooth change of the field in ppm from voxel to voxel along each of `axes`: (axis, x, y, z) float32.

    Differences between neighbours in the mask, so that the edge needs no values beyond it, averaged with a Gaussian
    and the squared signal of the darker neighbour as weight. Differences of more than half a turn at the first echo are
    steps of 2 pi, or have no signal left to correct, and are left out.
    """
    box = Box.around(mask, 0, fast=False)
    inside, f = mask[box.inner], field_ppm[box.inner]
    signal = magnitude[..., 0][box.inner]
    signal = signal / np.float32(max(float(signal[inside].mean()), 1e-30))
    highest = np.float32(0.5 / (acq.hz_per_ppm * acq.te_s[0]))
    sigma = [smooth_mm / h for h in acq.voxel_size_mm]
    out = np.zeros((len(axes), *mask.shape), np.float32)
    for n, axis in enumerate(axes):
        low = (slice(None),) * axis + (slice(None, -1),)
        high = (slice(None),) * axis + (slice(1, None),)
        d = f[high] - f[low]
        # The little that is added lets dark regions have the gradient of their neighbourhood.
        w = np.minimum(signal[high], signal[low]) ** 2 + np.float32(1e-4)
        w *= inside[high] & inside[low] & (np.abs(d) < highest)
        d *= w
        total, weight = np.zeros_like(f), np.zeros_like(f)
        for half in (low, high):
            total[half] += d
            weight[half] += w
        total, weight = (ndimage.gaussian_filter(v, sigma, mode="constant") for v in (total, weight))
        out[n][box.inner] = np.where(inside, total / np.maximum(weight, np.float32(1e-12)), np.float32(0))
    return out
