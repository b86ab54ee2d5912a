"""What single-step methods start from: the field that wrapped phase implies, and its part from outside the mask."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.inversion._admm import Problem
from chimap.inversion._dipole_lsq import curvature
from chimap.inversion._medi_edges import noise_of
from chimap.inversion._tgv_field import field_steps, integrate
from chimap.numerics.box import working_box
from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.fft import convolve
from chimap.types import Mask, Volume

LEAST_CURVATURE = 0.001


def phase_field(
    phase: Volume, magnitude: Volume | None, mask: Mask, acq: Acquisition
) -> tuple[Volume, Volume | None]:
    """Field in ppm, with an arbitrary constant, and the standard deviation of its noise."""
    scales = [acq.rad_per_ppm(t) for t in acq.te_s]
    box = working_box(mask, acq)
    inside = box.crop(mask)
    noise = None
    if magnitude is not None:
        sd = noise_of(np.where(mask, magnitude[..., 0], np.float32(0)), mask)
        if sd > 0:
            information = np.zeros(mask.shape, np.float32)
            for echo, s in enumerate(scales):
                information += (np.float32(s) * np.where(mask, magnitude[..., echo], np.float32(0))) ** 2
            noise = np.zeros_like(information)
            np.divide(sd, np.sqrt(information, out=information), out=noise, where=information > 0)
            del information
        magnitude = magnitude[box.inner]
    steps, info = field_steps(phase[box.inner], magnitude, inside, scales, acq.voxel_size_mm)
    field = integrate(steps, info, acq.voxel_size_mm).x
    return box.restore(field), noise


def outside_field(problem: Problem, iterations: int) -> Volume:
    """Field of the sources outside the mask that come nearest to the problem's field, with their weights, and its mean."""
    outside = (~problem.inside).astype(np.float32)
    w2 = problem.weights

    def dipole(x: Volume) -> Volume:
        return convolve(x, problem.kernel)

    mean = np.float32((w2 * problem.field).sum(dtype=np.float64) / max(w2.sum(dtype=np.float64), 1e-30))
    right = dipole(w2 * (problem.field - mean))
    right *= outside
    scale = curvature(w2, problem.kernel, LEAST_CURVATURE)
    np.divide(outside, scale, out=scale)

    def normal(x: Volume) -> Volume:
        y = dipole(x)
        y *= w2
        y = dipole(y)
        y *= outside
        return y

    sources = conjugate_gradients(
        normal,
        right,
        precondition=lambda r: scale * r,
        tolerance=1e-4,
        iterations=iterations,
    ).x
    del right
    out = dipole(sources)
    out += mean
    return out
