"""A field from wrapped phase without unwrapping: differences of neighbours, integrated by weighted least squares.

Its Laplacian in the mask is the Laplacian of the phase that single-step methods take as their data; the least squares
add the harmonic part that the same differences hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.numerics.cg import Solution, conjugate_gradients
from chimap.numerics.fft import frequencies, irfftn, rfftn
from chimap.numerics.threads import jit, slabs
from chimap.numerics.tv import gradient_power
from chimap.types import Mask, Progress, Volume, silent

OFFSET_MM = 4.0
"""Standard deviation of the Gaussian that the gradient of the phase at TE 0 is smoothed with."""
PASSES = 3
FLOOR2 = 4.0
"""Squared error of a difference beyond its noise, over the median of its squared noise."""


def field_steps(
    phase: np.ndarray,
    magnitude: np.ndarray | None,
    inside: Mask,
    scales: Sequence[float],
    voxel_size: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Difference of the field in ppm to the next voxel on each axis, and its information (inverse variance).

    Parameters
    ----------
    phase, magnitude : (x, y, z, echo) float32
        Phase in rad, and magnitude, in any memory order; in units of the noise the information is in 1/ppm^2. Without a magnitude
        it is 1. Only voxels of the mask are read.
    inside : (x, y, z) bool
        Differences between two voxels of it alone have information. It may be larger than the volumes, which then are its corner.
    scales : echo float
        Phase in rad of a field of 1 ppm.
    voxel_size : 3 float
        In mm.

    Notes
    -----
    Echo by echo, a difference is unwrapped to the nearest whole turn from what the earlier ones predict. With several
    echoes, the slope over them leaves an intercept: the gradient of the phase that coil and transmitter give at TE 0. It
    is smooth, so it is averaged over some millimetres and taken out.
    """
    shape = inside.shape
    steps = np.zeros((3, *shape), np.float32)
    info = np.zeros((3, *shape), np.float32)
    s = np.asarray(scales, np.float32)
    gauss = np.float32(1)
    for f in frequencies(shape, voxel_size):
        gauss = gauss * np.exp(-2 * np.float32(np.pi * OFFSET_MM) ** 2 * f**2)
    weigh = magnitude is not None
    magnitude = phase if magnitude is None else magnitude
    real, imaginary = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for axis in range(3):
        offset = np.zeros(shape, np.float32)
        for n in range(PASSES if len(s) > 1 else 1):
            if n:
                parts = []
                for part in (real, imaginary):
                    spectrum = rfftn(part)
                    spectrum *= gauss
                    parts.append(irfftn(spectrum, shape))
                np.arctan2(parts[1], parts[0], out=offset)
            slabs(
                _steps,
                shape[0],
                axis,
                phase,
                magnitude,
                weigh,
                inside,
                s,
                offset,
                steps[axis],
                info[axis],
                real,
                imaginary,
            )
    return steps, info


def integrate(
    steps: np.ndarray,
    info: np.ndarray,
    voxel_size: Sequence[float],
    *,
    tolerance: float = 1e-3,
    iterations: int = 60,
    progress: Progress = silent,
) -> Solution:
    r"""The field whose differences to the next voxel come nearest to `steps`: a weighted Poisson equation.

    By conjugate gradients, preconditioned with the Laplacian's inverse in k-space. The field is 0 where no difference has
    information, and has no constant of its own.
    """
    shape = steps.shape[1:]
    known = info[info > 0]
    median = float(np.median(known)) if known.size else 1.0
    weights = np.zeros_like(info)
    np.divide(info, median + FLOOR2 * info, out=weights, where=info > 0)
    for axis, h in enumerate(voxel_size):
        weights[axis] *= np.float32(1 / h**2)
    b = np.zeros(shape, np.float32)
    diagonal = np.zeros(shape, np.float32)
    for axis in range(3):
        d = weights[axis] * steps[axis]
        b += np.roll(d, 1, axis) - d
        diagonal += weights[axis] + np.roll(weights[axis], 1, axis)
    size = np.zeros(shape, np.float32)
    np.divide(1, np.sqrt(diagonal, out=diagonal), out=size, where=diagonal > 0)
    green = gradient_power(shape, voxel_size)
    green[0, 0, 0] = np.inf
    # A constant costs nothing in the periodic box, but the object is not periodic: as much as the longest wave.
    green[0, 0, 0] = green.min() / 4
    np.reciprocal(green, out=green)

    def normal(x: Volume) -> Volume:
        out = np.zeros_like(x)
        for axis in range(3):
            d = np.roll(x, -1, axis)
            d -= x
            d *= weights[axis]
            out -= d
            out += np.roll(d, 1, axis)
        return out

    def precondition(x: Volume) -> Volume:
        spectrum = rfftn(x * size)
        spectrum *= green
        out = irfftn(spectrum, shape)
        out *= size
        return out

    return conjugate_gradients(
        normal, b, precondition=precondition, tolerance=tolerance, iterations=iterations, progress=progress
    )


@jit(
    "void(i8, i8, i8, f4[:,:,:,:], f4[:,:,:,:], b1, b1[:,:,::1], f4[::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1],"
    " f4[:,:,::1], f4[:,:,::1])"
)
def _steps(start, stop, axis, phase, magnitude, weigh, inside, s, offset, step, info, real, imaginary):
    """Slope over the echoes for a given offset, and the intercept as a complex number of its information's size."""
    shape = inside.shape
    turn = np.float32(2 * np.pi)
    zero = np.float32(0)
    for i in range(start, stop):
        for j in range(shape[1]):
            for k in range(shape[2]):
                a = i + 1 if axis == 0 else i
                b = j + 1 if axis == 1 else j
                c = k + 1 if axis == 2 else k
                step[i, j, k] = zero
                info[i, j, k] = zero
                real[i, j, k] = zero
                imaginary[i, j, k] = zero
                if a >= shape[0] or b >= shape[1] or c >= shape[2]:
                    continue
                if not (inside[i, j, k] and inside[a, b, c]):
                    continue
                o = offset[i, j, k]
                slope = zero
                w0, wx, wxx, wy, wxy = zero, zero, zero, zero, zero
                for e in range(s.shape[0]):
                    m, n = np.float32(1), np.float32(1)
                    if weigh:
                        m, n = magnitude[i, j, k, e], magnitude[a, b, c, e]
                        m *= m
                        n *= n
                    if m <= zero or n <= zero:
                        continue
                    w = m * n / (m + n)
                    expected = o + slope * s[e]
                    d = phase[a, b, c, e] - phase[i, j, k, e] - expected
                    d += expected - turn * np.rint(d / turn)
                    w0 += w
                    wx += w * s[e]
                    wxx += w * s[e] * s[e]
                    wy += w * d
                    wxy += w * s[e] * d
                    slope = (wxy - o * wx) / wxx
                if wxx <= zero:
                    continue
                step[i, j, k] = slope
                info[i, j, k] = wxx
                certain = w0 - wx * wx / wxx
                if certain > np.float32(1e-6) * w0:
                    intercept = (wy - wx * wxy / wxx) / certain
                    real[i, j, k] = certain * np.cos(intercept)
                    imaginary[i, j, k] = certain * np.sin(intercept)
