"""Closed-form inversion with a quadratic penalty of the gradient."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._filter import divide
from chimap.numerics.tv import gradient_power
from chimap.registry import method
from chimap.types import Mask, Volume


@method("inversion", reference="10.1002/jmri.24365")
def l2(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    lam: float = 0.005,
    passes: int = 2,
) -> Volume:
    r"""Closed-form l2: the gradient of the map is kept small.

    .. math::
        \min_\chi \; \|D\chi - f\|^2 + \lambda \|\nabla\chi\|^2, \qquad
        \hat\chi = \frac{D \hat f}{D^2 + \lambda |\hat\nabla|^2}

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        B0 direction and voxel size.
    lam : float
        In mm^2: the variance of the field's noise over that of the susceptibility's gradient per mm. 0.003 is sharp, with
        streaks; 0.1 is smooth.
    passes : int
        1: the field outside the mask is taken as 0, as is usual. More: it is what the map of the pass before makes there.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask.

    Notes
    -----
    Linear and fast; blurs what lies near the cone of k-space and keeps large structures nearly unscaled. A start for slower
    methods, and for series of many volumes. Bilgic et al. 2014, doi:10.1002/jmri.24365.
    """
    if not lam > 0:
        raise InputError(f"lam is {lam:g}; it must be positive", fix="Try 0.005")

    def inverse(kernel: Volume, last_axis: int) -> Volume:
        shape = (*kernel.shape[:2], last_axis)
        power = gradient_power(shape, acq.voxel_size_mm)
        power *= np.float32(lam)
        power += kernel * kernel
        power[0, 0, 0] = 1
        factor: Volume = kernel / power
        return factor

    return divide(local_field, mask, acq, inverse, passes)
