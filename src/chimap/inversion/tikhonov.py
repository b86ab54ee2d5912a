"""Tikhonov-regularised dipole inversion in closed form."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._filter import divide
from chimap.registry import method
from chimap.types import Mask, Volume


@method("inversion", reference="10.1002/mrm.24405")
def tikhonov(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    lam: float = 0.01,
    passes: int = 2,
) -> Volume:
    r"""Tikhonov regularisation: the map itself is kept small, in closed form.

    .. math:: \min_\chi \; \|D\chi - f\|^2 + \lambda \|\chi\|^2, \qquad \hat\chi = \frac{D \hat f}{D^2 + \lambda}

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        B0 direction and voxel size.
    lam : float
        Without unit: the variance of the field's noise over that of the susceptibility. 0.001 is sharp, with streaks; 0.1
        underestimates by more than a third.
    passes : int
        1: the field outside the mask is taken as 0, as is usual. More: it is what the map of the pass before makes there.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask.

    Notes
    -----
    Linear, fast, without a noise model. The soft-edged sibling of `tkd`; maps are scaled down by about
    ``1 - lam / (mean of D^2)``. Quadratic regularisation of dipole inversion: see Schweser et al. 2013, doi:10.1002/mrm.24405.
    """
    if not lam > 0:
        raise InputError(f"lam is {lam:g}; it must be positive", fix="Try 0.01")

    def inverse(kernel: Volume, last_axis: int) -> Volume:
        factor: Volume = kernel / (kernel * kernel + np.float32(lam))
        return factor

    return divide(local_field, mask, acq, inverse, passes)
