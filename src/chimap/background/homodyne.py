"""Homodyne filtering: complex division by a low-pass image."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._echoes import combined, magnitudes
from chimap.background._smooth import check_size, gaussian_spectrum
from chimap.numerics.box import Box, whole_voxels
from chimap.numerics.fft import irfftn, rfftn
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", of="phase", reference=("10.1109/42.79473", "10.1002/mrm.20198"))
def homodyne(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    size_mm: float = 12.0,
    progress: Progress = silent,
) -> LocalField:
    r"""Homodyne filter: the phase of each echo's image divided by its own low-pass image.

    .. math:: \varphi_{local} = \arg \left( S \; \overline{h * S} \right), \qquad S = m e^{i \varphi}

    No unwrapping is needed as long as the phase left is within :math:`\pm\pi`. Echoes are combined to a field by
    their signal, :math:`f = \sum m^2 k_n \varphi_n / \sum m^2 k_n^2` with :math:`k_n = 2 \pi \gamma B_0 TE_n`.

    **Biased by construction**, as every high-pass filter: what is slow is lost, whether it is background or tissue.
    Where the background turns within the filter's width the low-pass image fades, and wraps and rims
    remain: near the sinuses, and more at late echoes. Use it to look at veins; susceptibility values from it are
    not quantitative.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where to filter; signal outside does not enter.
    acq : Acquisition
        Echo times, field strength and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit. Without it all voxels and echoes have the same.
    size_mm : float
        Full width at half maximum in mm of the Gaussian that makes the low-pass image.

    Returns
    -------
    LocalField
        Local field in ppm over the whole mask; its noise is unknown.

    Raises
    ------
    InputError
        If the filter is smaller than two voxels.

    Notes
    -----
    Noll, Nishimura and Macovski 1991, doi:10.1109/42.79473; as a filter of phase images, Haacke et al. 2004,
    doi:10.1002/mrm.20198.
    """
    voxel = acq.voxel_size_mm
    check_size(size_mm, voxel)
    box = Box.around(mask, [whole_voxels(size_mm, v) + 1 for v in voxel])
    spectrum = gaussian_spectrum(size_mm, box.shape, voxel)
    inside = box.crop(mask)
    signal = magnitudes(magnitude, mask, acq.echoes)

    def filtered(echo: int) -> Volume:
        angle = box.crop(phase[..., echo])
        size = box.crop(signal(echo))
        real = np.cos(angle) * size
        imaginary = np.sin(angle) * size
        low_real = irfftn(rfftn(real) * spectrum, box.shape)
        low_imaginary = irfftn(rfftn(imaginary) * spectrum, box.shape)
        # arg(S conj(L)) from the real and imaginary part of the product.
        return np.arctan2(
            imaginary * low_real - real * low_imaginary, real * low_real + imaginary * low_imaginary
        )

    field = combined(filtered, lambda echo: box.crop(signal(echo)), acq, progress)
    field *= inside
    return LocalField(field_ppm=box.restore(field), noise_ppm=None, mask=mask.copy())
