"""Spherical mean values: sphere kernels, and how far into a mask a sphere fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt

from chimap.numerics.box import Box
from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume


def sphere_weights(radius_mm: float, voxel_size: Sequence[float], supersample: int = 5) -> np.ndarray:
    """Share of each voxel that lies in a sphere around the grid's centre, normalised to sum 1.

    The grid (float64) is odd on each axis and just holds the sphere. Slivers of less than 5 % of a
    voxel are left out: they hardly change the mean, but they would need one voxel more of valid data.
    """
    half = [int(np.floor(radius_mm / v + 0.5 - 1e-6)) for v in voxel_size]
    sub = (np.arange(supersample) + 0.5) / supersample - 0.5
    x, y, z = (
        ((np.arange(-n, n + 1)[:, None] + sub) * v).ravel() ** 2
        for n, v in zip(half, voxel_size, strict=True)
    )
    inside = x[:, None, None] + y[None, :, None] + z[None, None, :] <= radius_mm**2
    a, b, c = (2 * n + 1 for n in half)
    s = supersample
    share = inside.reshape(a, s, b, s, c, s).mean(axis=(1, 3, 5))
    share[share < 0.05] = 0
    return share / share.sum()


def smallest_sphere(voxel_size: Sequence[float]) -> np.ndarray:
    """The smallest mean that is harmonic: the six face neighbours, weighted by 1/distance^2.

    On anisotropic voxels this weighting is what makes quadratic harmonic functions drop out.
    """
    w = np.zeros((3, 3, 3))
    for axis, v in enumerate(voxel_size):
        for side in (0, 2):
            at = [1, 1, 1]
            at[axis] = side
            w[tuple(at)] = 1 / v**2
    return w / w.sum()


def reach_mm(weights: np.ndarray, voxel_size: Sequence[float]) -> float:
    """Distance from the centre to the farthest voxel centre that `weights` uses, in mm."""
    axes = np.meshgrid(
        *((np.arange(n) - n // 2) * v for n, v in zip(weights.shape, voxel_size, strict=True)), indexing="ij"
    )
    return float(np.sqrt(sum(a**2 for a in axes))[weights > 0].max())


def symmetric_spectrum(weights: np.ndarray, shape: Sequence[int]) -> Volume:
    """Half-spectrum, real float32, of a small kernel that is even in each axis, on a periodic grid.

    Summed axis by axis as cosines, which costs far less than a transform of the whole grid. Not by BLAS, whose
    rounding depends on its threads.
    """
    out = weights.astype(np.float32)
    for axis in (2, 1, 0):  # the first axis last: its result is contiguous as it is
        n, size = shape[axis], weights.shape[axis]
        half = size // 2
        count = n // 2 + 1 if axis == 2 else n
        folded = np.moveaxis(np.take(out, range(half, size), axis), axis, 0)  # even: +j and -j together
        cosines = np.cos(2 * np.pi / n * np.outer(np.arange(count), np.arange(half + 1)))
        cosines[:, 1:] *= 2
        summed = np.zeros((count, *folded.shape[1:]), np.float32)
        flat = np.ascontiguousarray(folded).reshape(half + 1, -1)
        slabs(_sum_rows, count, cosines.astype(np.float32), flat, summed.reshape(count, -1))
        out = np.moveaxis(summed, 0, axis)
    return out


@jit("void(i8, i8, f4[:,::1], f4[:,::1], f4[:,::1])")
def _sum_rows(start, stop, factors, rows, out):
    for i in range(start, stop):
        for h in range(rows.shape[0]):
            f = factors[i, h]
            for m in range(rows.shape[1]):
                out[i, m] += f * rows[h, m]


def depth_mm(mask: Mask, voxel_size: Sequence[float]) -> Volume:
    """Distance in mm from each voxel's centre to the nearest voxel centre outside the mask.

    Outside the grid counts as outside the mask.
    """
    box = Box.around(mask, fast=False)
    padded = np.pad(mask[box.inner], 1)
    depth = np.zeros(mask.shape, np.float32)
    depth[box.inner] = distance_transform_edt(padded, sampling=voxel_size)[1:-1, 1:-1, 1:-1]
    return depth
