"""Truncated k-space division, the quick look."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._filter import divide, mean_of_half_spectrum
from chimap.registry import method
from chimap.types import Mask, Volume

_ON_CONE = np.float32(1e-5)
"""What the rounding of positions in DICOM (1e-5 mm) can make of a kernel that is 0."""


@method("inversion", reference=("10.1002/mrm.22135", "10.1002/mrm.24405"))
def tkd(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    threshold: float = 0.18,
    correction: bool = False,
    passes: int = 2,
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
        Divide by the mean of the effective point spread function, which undoes the underestimation that
        the truncation causes, but enlarges streaks and noise by the same factor. For region means, not for looking.
    passes : int
        1: the field outside the mask is taken as 0, as is usual. More: it is what the map of the pass before makes there,
        which takes away much of the error that the cut at the mask's edge spreads.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask.

    Notes
    -----
    Fast, linear and without any noise model; streaks around veins and at the mask's edge are its mark.

    Shmueli et al. 2009, doi:10.1002/mrm.22135; correction: Schweser et al. 2013, doi:10.1002/mrm.24405. The passes are this
    package's.
    """
    if not 0 < threshold <= 2 / 3:
        raise InputError(f"TKD threshold {threshold:g} is outside 0 to 2/3", fix="Try 0.15")

    def inverse(kernel: Volume, last_axis: int) -> Volume:
        values = np.sign(kernel)
        # On the cone the sign is left to rounding, and a turn of B0 by 1e-6 would decide over these frequencies.
        values[np.abs(kernel) < _ON_CONE] = 0
        values /= np.maximum(np.abs(kernel), np.float32(threshold))
        values[0, 0, 0] = 0
        if correction:
            values /= np.float32(mean_of_half_spectrum(values * kernel, last_axis))
        return values

    return divide(local_field, mask, acq, inverse, passes)
