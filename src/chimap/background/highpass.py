"""High-pass filtering of the field: the oldest way, kept for comparison."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._smooth import check_size, gaussian_spectrum
from chimap.errors import InputError
from chimap.numerics.box import Box, whole_voxels
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import median_noise
from chimap.numerics.smv import sphere_weights, symmetric_spectrum
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent

Filter = Literal["gaussian", "mean"]


@method("background", reference="10.1002/mrm.20198")
def highpass(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    size_mm: float = 16.0,
    filter: Filter = "gaussian",
    progress: Progress = silent,
) -> LocalField:
    r"""High-pass filter: the field less its weighted mean over the surroundings within the mask.

    .. math:: f_{local} = f - \frac{h * (w f)}{h * w}

    with a Gaussian or the mean over a sphere as :math:`h`, and weights :math:`w`, 0 outside the mask.

    **Biased by construction.** What is slow is lost, whether it is background or tissue: structures larger than
    the filter (deep nuclei, and white against grey matter as a whole) come out too weak, with dark and bright rims
    around them, and steep background near the sinuses stays. Susceptibility values from it are not quantitative:
    a sphere of the filter's size loses roughly half of its field. Use it to look at veins, or as a baseline.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where the total field is known.
    acq : Acquisition
        Voxel size in mm.
    noise : (x, y, z) float32, optional
        Standard deviation of the total field in ppm; weights are one over its square plus that of its median.
    size_mm : float
        Full width at half maximum of the Gaussian, or diameter of the sphere, in mm.
    filter : str
        gaussian or mean (over a sphere).

    Returns
    -------
    LocalField
        Local field in ppm over the whole mask; its noise is that of the total field.

    Raises
    ------
    InputError
        If the filter is smaller than two voxels or unknown.

    Notes
    -----
    High-pass filtered phase is what susceptibility-weighted imaging uses: Haacke et al. 2004, doi:10.1002/mrm.20198.
    """
    voxel = acq.voxel_size_mm
    check_size(size_mm, voxel)
    if filter not in get_args(Filter):
        raise InputError(f"filter is {filter!r}", fix=f"Give {' or '.join(get_args(Filter))}")
    reach = size_mm if filter == "gaussian" else size_mm / 2
    box = Box.around(mask, [whole_voxels(reach, v) + 1 for v in voxel])
    if filter == "gaussian":
        spectrum = gaussian_spectrum(size_mm, box.shape, voxel)
    else:
        spectrum = symmetric_spectrum(sphere_weights(size_mm / 2, voxel), box.shape)
    inside = box.crop(mask)
    weight = inside.astype(np.float32)
    if noise is not None:
        floor = median_noise(noise, mask) or 1.0
        np.divide(np.float32(floor**2), box.crop(noise) ** 2 + np.float32(floor**2), out=weight, where=inside)
    field = box.crop(total_field)
    top = irfftn(rfftn(field * weight) * spectrum, box.shape)
    progress(1, 2)
    bottom = irfftn(rfftn(weight) * spectrum, box.shape)
    # A mean over next to nothing (one lone voxel far out in a Gaussian's tail) would be rounding error.
    np.maximum(bottom, np.float32(1e-4) * weight, out=bottom)
    np.divide(top, bottom, out=top, where=inside)
    field -= top
    field *= inside
    progress(2, 2, converged=True)
    return LocalField(
        field_ppm=box.restore(field), noise_ppm=None if noise is None else noise.copy(), mask=mask.copy()
    )
