"""Tikhonov regularisation with weighted data, by conjugate gradients: the consensus' plain method."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._weighted_l2 import minimise_quadratic
from chimap.numerics.box import Box
from chimap.numerics.noise import data_weights
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference=("10.1002/mrm.28377", "10.1002/mrm.30006"))
def iterative_tikhonov(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    alpha: float = 0.005,
    noise_floor: float = 2.0,
    tolerance: float = 0.003,
    iterations: int = 60,
    progress: Progress = silent,
) -> Volume:
    r"""Iterative Tikhonov: weighted data, small map, by conjugate gradients.

    .. math:: \min_\chi \; \tfrac12 \|W (D\chi - f)\|^2 + \tfrac{\alpha}{2} \|\chi\|^2, \qquad \chi = 0 \text{ outside the mask}

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, neither data nor susceptibility are assumed.
    acq : Acquisition
        B0 direction and voxel size.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm; the weights ``W`` are its inverse, the typical one being about 1.
        Without it all voxels weigh 1.
    alpha : float
        Without unit: the variance of the field's noise over that of the susceptibility.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    tolerance : float
        Stop when the residual of the normal equations falls below this share of their right-hand side.
    iterations : int
        Most iterations.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask.

    Notes
    -----
    Linear in the field. What `tikhonov` does in one division, with noisy voxels and the outside of the mask left out of the
    data: fewer streaks, the same loss of contrast. The method of the consensus' example pipelines; Karsa, Punwani
    and Shmueli 2020, doi:10.1002/mrm.28377; QSM Consensus Organization Committee 2024, doi:10.1002/mrm.30006.
    """
    if min(alpha, tolerance) <= 0 or noise_floor < 0 or iterations < 1:
        raise InputError("alpha, tolerance and iterations must be positive, noise_floor not negative")

    def penalty(box: Box) -> tuple[Callable[[Volume, Volume], None], Volume]:
        def add(x: Volume, y: Volume) -> None:
            for to, plane in zip(y, x, strict=True):
                to += np.float32(alpha) * plane

        return add, np.full((1, 1, 1), alpha, np.float32)

    w2, _ = data_weights(mask, noise, 1.0, noise_floor)
    return minimise_quadratic(
        local_field, mask, acq, w2, penalty, tolerance=tolerance, iterations=iterations, progress=progress
    )
