"""Truncated singular values: the inverse of the dipole where it is large, nothing where it is small."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._filter import divide
from chimap.registry import method
from chimap.types import Mask, Volume


@method("inversion", reference="10.1002/mrm.22334")
def tsvd(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    threshold: float = 0.08,
    passes: int = 2,
) -> Volume:
    r"""Truncated singular value decomposition (TSVD).

    The dipole convolution is diagonal in k-space, so its singular values are :math:`|D|`: the field's spectrum is divided
    by :math:`D` where :math:`|D|` exceeds `threshold`, and is 0 elsewhere.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        B0 direction and voxel size.
    threshold : float
        Between 0.03 (sharp, streaks and noise) and 0.2 (whole cones of k-space are missing).
    passes : int
        1: the field outside the mask is taken as 0. More: it is what the map of the pass before makes there.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask.

    Notes
    -----
    The minimum-norm solution. It loses more contrast than `tkd` at the same threshold and rings along the cone, but invents
    nothing there. Truncation for data of one orientation: Wharton, Schaefer and Bowtell 2010, doi:10.1002/mrm.22334.
    """
    if not 0 < threshold <= 2 / 3:
        raise InputError(f"TSVD threshold {threshold:g} is outside 0 to 2/3", fix="Try 0.08")

    def inverse(kernel: Volume, last_axis: int) -> Volume:
        kept = np.abs(kernel) > np.float32(threshold)
        return np.divide(1, kernel, out=np.zeros_like(kernel), where=kept)

    return divide(local_field, mask, acq, inverse, passes)
