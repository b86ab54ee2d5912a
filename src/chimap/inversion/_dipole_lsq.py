"""Weighted least squares for the dipole equation, stopped early."""

from __future__ import annotations

import numpy as np

from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.fft import convolve, irfftn, rfftn
from chimap.types import Mask, Progress, Volume, silent


def curvature(weights: Volume, kernel: Volume, least: float) -> Volume:
    """The diagonal of ``D w D``: how much the data say of one voxel's susceptibility, far outside the mask next to nothing.

    The inverse preconditions problems with sources outside. It is exact but for `least`, a floor as a share of the largest:
    without one, sources far off grow huge and cancel each other.
    """
    dipole = irfftn(kernel.astype(np.complex64), weights.shape)
    dipole *= dipole
    spectrum = rfftn(weights)
    spectrum *= rfftn(dipole)
    del dipole
    out = irfftn(spectrum, weights.shape)
    return np.maximum(out, np.float32(least) * out.max(), out=out)


def least_squares(
    kernel: Volume,
    field: Volume,
    weights: Volume,
    inside: Mask,
    iterations: int,
    tolerance: float,
    progress: Progress = silent,
) -> Volume:
    """The map after some conjugate-gradient steps on ``M D w D M chi = M D w f``, which is what LSQR iterates.

    Parameters
    ----------
    kernel : half-spectrum of the dipole
    field, weights : (x, y, z) float32
        In ppm; squared weights.
    inside : (x, y, z) bool
        Where there may be sources.
    iterations : int
        Most iterations, two pairs of transforms each. Few of them regularise.
    tolerance : float
        Stop when the residual of the normal equations falls below this share of its start.
    """

    def normal(x: Volume) -> Volume:
        y = convolve(x, kernel)
        y *= weights
        y = convolve(y, kernel)
        y *= inside
        return y

    right = convolve(np.multiply(weights, field), kernel)
    right *= inside
    return conjugate_gradients(normal, right, tolerance=tolerance, iterations=iterations, progress=progress).x
