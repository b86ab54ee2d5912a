"""Filling holes in a field with the harmonic function that fits their rim."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt

from chimap.numerics.threads import jit
from chimap.types import Mask, Volume


def fill_harmonic(
    field: Volume, holes: Mask, mask: Mask, voxel_size: Sequence[float], *, iterations: int = 60
) -> Volume:
    """A copy of `field` whose `holes` solve the Laplace equation, with the rest of `mask` as boundary values.

    Gauss-Seidel with over-relaxation on the hole voxels alone, from the nearest known value; neighbours
    outside `mask` are left out (no flux). Small holes, the usual case, are solved to rounding.
    """
    out = np.where(mask, field, np.float32(0))
    holes = holes & mask
    known = mask & ~holes
    if not holes.any() or not known.any():
        return out
    nearest = distance_transform_edt(~known, sampling=voxel_size, return_distances=False, return_indices=True)
    at = np.ascontiguousarray(np.argwhere(holes), dtype=np.int32)
    out[holes] = out[tuple(n[holes] for n in nearest)]
    weights = (1 / np.asarray(voxel_size, np.float32) ** 2).astype(np.float32)
    _relax(out, mask, at, weights, iterations)
    return out


@jit("void(f4[:,:,::1], b1[:,:,::1], i4[:,::1], f4[::1], i8)")
def _relax(x, mask, at, w, iterations):
    nx, ny, nz = x.shape
    omega = np.float32(1.5)
    for it in range(iterations):
        for n in range(at.shape[0]):
            # Backwards every second time: symmetric sweeps carry values both ways.
            m = n if it % 2 == 0 else at.shape[0] - 1 - n
            i, j, k = at[m, 0], at[m, 1], at[m, 2]
            total = np.float32(0)
            weight = np.float32(0)
            if i > 0 and mask[i - 1, j, k]:
                total += w[0] * x[i - 1, j, k]
                weight += w[0]
            if i + 1 < nx and mask[i + 1, j, k]:
                total += w[0] * x[i + 1, j, k]
                weight += w[0]
            if j > 0 and mask[i, j - 1, k]:
                total += w[1] * x[i, j - 1, k]
                weight += w[1]
            if j + 1 < ny and mask[i, j + 1, k]:
                total += w[1] * x[i, j + 1, k]
                weight += w[1]
            if k > 0 and mask[i, j, k - 1]:
                total += w[2] * x[i, j, k - 1]
                weight += w[2]
            if k + 1 < nz and mask[i, j, k + 1]:
                total += w[2] * x[i, j, k + 1]
                weight += w[2]
            if weight > 0:
                x[i, j, k] += omega * (total / weight - x[i, j, k])
