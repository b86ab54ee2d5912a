"""Differences of neighbours' wrapped phase, over all echoes: the gradient of the field, free of wraps and offset."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume

STEEPEST = 1.0
"""An offset that changes by more (rad from voxel to voxel) is taken for noise."""


def field_differences(
    axis: int,
    echoes: Callable[[int], tuple[Volume, Volume]],
    rad_per_ppm: Sequence[float],
    mask: Mask,
    smooth: Sequence[float],
) -> Volume:
    r"""The field at the next voxel along `axis` less that at each voxel, in ppm; 0 at the last.

    Between voxels the phase of echo n changes by :math:`k_n g + o`, with the field's change g and that of the offset
    at TE = 0, o. Starting from the first echo, each echo is taken in the turn that is nearest to the line through
    those before. The line's intercept, smoothed, is o; the mean of the rest, weighted by the inverse variances, is g.

    Parameters
    ----------
    axis : int
        0, 1 or 2.
    echoes : callable
        Phase in rad and magnitude of an echo by its index.
    rad_per_ppm : sequence of float
        :math:`k_n` of the echoes.
    mask : (x, y, z) bool
        Where the offset is learnt from.
    smooth : sequence of 3 floats
        Standard deviation of the Gaussian for o, in voxels. Nothing is taken for an offset if it is empty.
    """
    shape = mask.shape
    offset = np.zeros(shape, np.float32)
    if smooth and len(rad_per_ppm) > 1:
        weight = np.zeros(shape, np.float32)
        sums = np.zeros((5, *shape), np.float32)
        for n, k in enumerate(rad_per_ppm):
            slabs(_line, shape[0], axis, n, np.float32(k), *echoes(n), sums)
        slabs(_intercept, shape[0], axis, mask, sums, offset, weight)
        del sums
        offset = _smoothed(offset, weight, smooth)
        del weight
    top = np.zeros(shape, np.float32)
    bottom = np.zeros(shape, np.float32)
    for n, k in enumerate(rad_per_ppm):
        slabs(_mean, shape[0], axis, np.float32(k), *echoes(n), offset, top, bottom)
    np.divide(top, bottom, out=top, where=bottom > 0)
    return top


def _smoothed(volume: Volume, weight: Volume, sd: Sequence[float]) -> Volume:
    """Weighted Gaussian means, twice: what the first leaves is averaged again, as means lag behind a slope at the edge."""
    norm = gaussian_filter(weight, sd, mode="constant", truncate=3)
    smooth = np.zeros_like(volume)
    for _ in range(2):
        part = gaussian_filter((volume - smooth) * weight, sd, mode="constant", truncate=3)
        np.divide(part, norm, out=part, where=norm > 0)
        part[norm <= 0] = 0
        smooth += part
    return smooth


@jit("void(i8, i8, i8, i8, f4, f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1])")
def _line(start, stop, axis, echo, k, phase, magnitude, sums):
    """Add an echo to the sums of w, w k, w k^2, w d and w k d, for the straight line through d(k)."""
    shape = phase.shape
    turn = 2 * math.pi
    dx, dy, dz = int(axis == 0), int(axis == 1), int(axis == 2)
    for i in range(start, min(stop, shape[0] - dx)):
        for j in range(shape[1] - dy):
            for n in range(shape[2] - dz):
                a = magnitude[i, j, n] ** 2
                b = magnitude[i + dx, j + dy, n + dz] ** 2
                if a == 0 or b == 0:
                    continue
                w = a * b / (a + b)
                d = float(phase[i + dx, j + dy, n + dz] - phase[i, j, n])
                expected = 0.0
                s = float(sums[0, i, j, n])
                if s > 0:
                    m = sums[1, i, j, n] / s
                    expected = sums[3, i, j, n] / s
                    if echo > 1:
                        slope = (sums[4, i, j, n] / s - m * expected) / (sums[2, i, j, n] / s - m * m)
                        expected += slope * (k - m)
                d -= turn * math.floor((d - expected) / turn + 0.5)
                sums[0, i, j, n] += w
                sums[1, i, j, n] += w * k
                sums[2, i, j, n] += w * k * k
                sums[3, i, j, n] += w * d
                sums[4, i, j, n] += w * k * d


@jit("void(i8, i8, i8, b1[:,:,::1], f4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1])")
def _intercept(start, stop, axis, mask, sums, offset, weight):
    """The line's value at k = 0 and the inverse of its variance; weight 0 where there is no line."""
    shape = mask.shape
    dx, dy, dz = int(axis == 0), int(axis == 1), int(axis == 2)
    for i in range(start, min(stop, shape[0] - dx)):
        for j in range(shape[1] - dy):
            for n in range(shape[2] - dz):
                s = float(sums[0, i, j, n])
                if s <= 0 or not (mask[i, j, n] and mask[i + dx, j + dy, n + dz]):
                    continue
                m = sums[1, i, j, n] / s
                spread = sums[2, i, j, n] / s - m * m
                if spread <= 1e-5 * m * m:
                    continue
                mean = sums[3, i, j, n] / s
                o = mean - m * (sums[4, i, j, n] / s - m * mean) / spread
                if abs(o) < STEEPEST:
                    offset[i, j, n] = o
                    weight[i, j, n] = s / (1 + m * m / spread)


@jit("void(i8, i8, i8, f4, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1])")
def _mean(start, stop, axis, k, phase, magnitude, offset, top, bottom):
    """Add an echo to the weighted sums of differences, each taken in the turn nearest to the mean before it."""
    shape = phase.shape
    turn = 2 * math.pi
    dx, dy, dz = int(axis == 0), int(axis == 1), int(axis == 2)
    for i in range(start, min(stop, shape[0] - dx)):
        for j in range(shape[1] - dy):
            for n in range(shape[2] - dz):
                a = magnitude[i, j, n] ** 2
                b = magnitude[i + dx, j + dy, n + dz] ** 2
                # The variances of both add: 1/a + 1/b. Without any signal it still counts, a little.
                w = (a * b / (a + b) if a > 0 and b > 0 else 0.0) + 1e-20
                d = float(phase[i + dx, j + dy, n + dz] - phase[i, j, n]) - offset[i, j, n]
                expected = 0.0
                if bottom[i, j, n] > 0:
                    expected = k * top[i, j, n] / bottom[i, j, n]
                d -= turn * math.floor((d - expected) / turn + 0.5)
                top[i, j, n] += w * k * d
                bottom[i, j, n] += w * k * k
