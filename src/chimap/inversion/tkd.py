"""Truncated k-space division, the quick look."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._grid import working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.registry import method
from chimap.types import Mask, Volume


@method("inversion", reference=("10.1002/mrm.22135", "10.1002/mrm.24405"))
def tkd(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    threshold: float = 0.15,
    correction: bool = True,
) -> Volume:
    r"""Truncated k-space division (TKD).

    The spectrum of the field is divided by the dipole kernel :math:`D`, where :math:`|D|` is below `threshold` by
    :math:`\mathrm{sign}(D)\,` `threshold` instead.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        B0 direction and voxel size.
    threshold : float
        Between 0.05 (sharp, streaks and noise) and 0.3 (smooth, underestimated).
    correction : bool
        Divide by the mean of the effective point spread function, which undoes most of the underestimation that
        the truncation causes.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask.

    Notes
    -----
    Fast, linear and without any noise model; streaks around veins and at the mask's edge are its mark.

    Shmueli et al. 2009, doi:10.1002/mrm.22135; correction: Schweser et al. 2013, doi:10.1002/mrm.24405.
    """
    if not 0 < threshold <= 2 / 3:
        raise InputError(f"TKD threshold {threshold:g} is outside 0 to 2/3", fix="Try 0.15")
    box = working_box(mask, acq)
    kernel = dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)
    inverse = np.where(kernel < 0, np.float32(-1), np.float32(1))
    inverse /= np.maximum(np.abs(kernel), np.float32(threshold))
    inverse[0, 0, 0] = 0
    if correction:
        inverse /= np.float32(_mean_of_half_spectrum(inverse * kernel, box.shape[2]))
    spectrum = rfftn(box.crop(local_field))
    spectrum *= inverse
    chi = box.restore(irfftn(spectrum, box.shape))
    chi *= mask
    return chi


def _mean_of_half_spectrum(values: Volume, n: int) -> float:
    """Mean over the whole spectrum: inner planes of the halved axis stand for two."""
    twice = values[..., 1 : (n + 1) // 2].sum(dtype=np.float64)
    total = values.sum(dtype=np.float64) + twice
    return float(total / (values.shape[0] * values.shape[1] * n))
