"""Quadratic regularisation with weights in image space, by conjugate gradients: what two methods share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.box import Box, working_box
from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.types import Mask, Progress, Volume

Penalty = Callable[[Box], tuple[Callable[[Volume, Volume], None], Volume]]
"""For a grid: what adds a penalty's gradient at `x` to an array, and the half-spectrum that stands for it."""


def minimise_quadratic(
    field: Volume,
    mask: Mask,
    acq: Acquisition,
    w2: Volume,
    penalty: Penalty,
    *,
    tolerance: float,
    iterations: int,
    progress: Progress,
) -> Volume:
    """Minimise ``1/2 |W (D x - f)|^2 + penalty(x)`` for maps that are 0 outside the mask; `w2` is the square of ``W``.

    The normal equations are preconditioned by their counterpart with one weight for all voxels, which is a division
    in k-space; restricted to the mask it stays symmetric and positive.
    """
    box = working_box(mask, acq)
    kernel = dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)
    weights = box.crop(w2)
    inside = box.crop(mask)
    add_penalty, power = penalty(box)
    scale = kernel * kernel
    scale *= np.float32(weights[inside].mean(dtype=np.float64))
    scale += power
    del power
    scale[0, 0, 0] = scale.ravel()[1:].min() if scale[0, 0, 0] <= 0 else scale[0, 0, 0]
    np.reciprocal(scale, out=scale)

    def filtered(x: Volume, factor: Volume) -> Volume:
        spectrum = rfftn(x)
        spectrum *= factor
        return irfftn(spectrum, box.shape)

    def normal(x: Volume) -> Volume:
        y = filtered(x, kernel)
        y *= weights
        y = filtered(y, kernel)
        add_penalty(x, y)
        y *= inside
        return y

    def precondition(r: Volume) -> Volume:
        y = filtered(r, scale)
        y *= inside
        return y

    target = box.crop(field)
    target *= weights
    target = filtered(target, kernel)
    target *= inside
    solution = conjugate_gradients(
        normal,
        target,
        precondition=precondition,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
    )
    return box.restore(solution.x)
