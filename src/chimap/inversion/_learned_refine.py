"""The last word of the data: a map moved towards the field as far as its expected error allows."""

from __future__ import annotations

import numpy as np

from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.fft import convolve
from chimap.types import Volume


def refined(
    chi: Volume,
    deviation: Volume,
    field: Volume,
    weights: Volume,
    sigma: float,
    kernel: Volume,
    iterations: int,
) -> Volume:
    r"""Minimise :math:`\tfrac12 \sum w (D x - f)^2 / \sigma^2 + \tfrac12 \sum (x - \chi)^2 / s^2` over ``x``, by a few steps from :math:`\chi`.

    That is the most likely map if the error of `chi` is normal with standard deviation ``s``, that of the field with
    :math:`\sigma / \sqrt w`.

    Parameters
    ----------
    chi, deviation, field, weights : (x, y, z) float32
        On a padded grid, in one unit; `deviation` 0 where the map stays as it is.
    sigma : float
        Standard deviation of the field where the weight is 1.
    kernel : half-spectrum of the dipole
    iterations : int
        Steps of conjugate gradients; few of them stay closer to `chi`.
    """
    trust = weights * np.float32(1 / sigma**2)

    # In units of the deviation the second sum is the identity, which is what preconditions the first.
    def normal(z: Volume) -> Volume:
        y = convolve(z * deviation, kernel)
        y *= trust
        y = convolve(y, kernel)
        y *= deviation
        y += z
        return y

    right = field - convolve(chi, kernel)
    right *= trust
    right = convolve(right, kernel)
    right *= deviation
    step = conjugate_gradients(normal, right, tolerance=1e-3, iterations=iterations).x
    step *= deviation
    step += chi
    return step
