"""Smooth phase between scans: of the coils, of the shim, and of the field of a head that has moved a little."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from chimap.stacks._model import apply
from chimap.stacks.scan import Grid


def between(a: np.ndarray, b: np.ndarray, sigma_voxels: float) -> np.ndarray:
    """exp(i phase of a over b), smoothed as a complex number with a Gaussian and so weighted by the signal of both."""
    return unit(smooth(a * b.conj(), sigma_voxels))


def smooth(x: np.ndarray, sigma_voxels: float) -> np.ndarray:
    """Gaussian smoothing of a complex volume."""
    out = np.empty(x.shape, np.complex64)
    for part, into in ((x.real, out.real), (x.imag, out.imag)):
        into[...] = ndimage.gaussian_filter(part, sigma_voxels, mode="nearest")
    return out


def unit(x: np.ndarray) -> np.ndarray:
    """x / |x|, 1 where x is 0."""
    size = np.abs(x)
    return np.where(size > 0, x / np.where(size > 0, size, 1), 1).astype(np.complex64)


def onto(x: np.ndarray, coarse: Grid, fine: Grid) -> np.ndarray:
    """A unit phase factor from a coarse grid on a fine one of the same box: linear interpolation, then modulus 1."""
    matrices = []
    for axis in range(3):
        offset = (
            0.5 * (coarse.shape[axis] - 1) * coarse.voxel_mm - 0.5 * (fine.shape[axis] - 1) * fine.voxel_mm
        )
        at = np.clip((fine.positions(axis) + offset) / coarse.voxel_mm, 0, coarse.shape[axis] - 1)
        low = np.minimum(at.astype(int), max(coarse.shape[axis] - 2, 0))
        matrix = np.zeros((fine.shape[axis], coarse.shape[axis]), np.float32)
        rows = np.arange(fine.shape[axis])
        matrix[rows, low] = 1 - (at - low)
        if coarse.shape[axis] > 1:
            matrix[rows, low + 1] = at - low
        matrices.append(matrix)
    return unit(apply(matrices, x))
