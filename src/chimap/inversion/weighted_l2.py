"""Quadratic penalty of the gradient that spares the edges of the magnitude, by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._magnitude_edges import edge_weights
from chimap.inversion._weighted_l2 import minimise_quadratic
from chimap.numerics.box import Box
from chimap.numerics.noise import data_weights
from chimap.numerics.threads import jit, slabs
from chimap.numerics.tv import gradient_power
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference="10.1002/jmri.24365")
def weighted_l2(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    noise: Volume | None = None,
    lam: float = 0.005,
    edges: float = 0.3,
    noise_floor: float = 2.0,
    tolerance: float = 0.001,
    iterations: int = 200,
    progress: Progress = silent,
) -> Volume:
    r"""l2 with edges of the magnitude spared, by conjugate gradients.

    .. math:: \min_\chi \; \tfrac12 \|W (D\chi - f)\|^2 + \tfrac{\lambda}{2} \sum m |\nabla\chi|^2

    for maps that are 0 outside the mask.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, neither data nor susceptibility are assumed.
    acq : Acquisition
        B0 direction and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Where it has edges, the weight ``m`` is small. Without it ``m`` is 1.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm; ``W`` is its inverse, the typical one being about 1. Without
        it all voxels weigh 1.
    lam : float
        In mm^2: the variance of the field's noise over that of the susceptibility's gradient per mm.
    edges : float
        Share of the mask that counts as edge, 0 (none) to below 1.
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
    Linear in the field. Bilgic et al. 2014, doi:10.1002/jmri.24365; there ``m`` is 0 or 1, here it falls smoothly.
    """
    if min(lam, tolerance) <= 0 or noise_floor < 0 or iterations < 1:
        raise InputError("lam, tolerance and iterations must be positive, noise_floor not negative")
    m = edge_weights(magnitude, mask, acq.voxel_size_mm, edges)
    inverse_h = (1 / np.asarray(acq.voxel_size_mm)).astype(np.float32)

    def penalty(box: Box) -> tuple[Callable[[Volume, Volume], None], Volume]:
        weights = box.crop(m)
        weights[~box.crop(mask)] = 1
        weights *= np.float32(lam)

        def add(x: Volume, y: Volume) -> None:
            slabs(_add_divergence, x.shape[0], x, weights, inverse_h, y)

        power = gradient_power(box.shape, acq.voxel_size_mm)
        power *= np.float32(lam * m[mask].mean(dtype=np.float64))
        return add, power

    w2, _ = data_weights(mask, noise, 1.0, noise_floor)
    return minimise_quadratic(
        local_field, mask, acq, w2, penalty, tolerance=tolerance, iterations=iterations, progress=progress
    )


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[::1], f4[:,:,::1])")
def _add_divergence(start, stop, x, m, ih, y):
    """``y += grad^T (m grad x)`` with forward differences and periodic ends."""
    nx, ny, nz = x.shape
    h0, h1, h2 = ih[0] * ih[0], ih[1] * ih[1], ih[2] * ih[2]
    for i in range(start, stop):
        a, b = (i + 1) % nx, (i - 1) % nx
        for j in range(ny):
            c, d = (j + 1) % ny, (j - 1) % ny
            for k in range(nz):
                e, f = (k + 1) % nz, (k - 1) % nz
                v, w = x[i, j, k], m[i, j, k]
                y[i, j, k] += (
                    h0 * (w * (v - x[a, j, k]) + m[b, j, k] * (v - x[b, j, k]))
                    + h1 * (w * (v - x[i, c, k]) + m[i, d, k] * (v - x[i, d, k]))
                    + h2 * (w * (v - x[i, j, e]) + m[i, j, f] * (v - x[i, j, f]))
                )
