"""Filling holes in a field with the harmonic function that fits their rim."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.numerics.threads import jit
from chimap.types import Mask, Volume


def fill_harmonic(
    field: Volume, holes: Mask, mask: Mask, voxel_size: Sequence[float], *, iterations: int = 60
) -> Volume:
    """A copy of `field` whose `holes` solve the Laplace equation, with the rest of `mask` as boundary values.

    Gauss-Seidel with over-relaxation on the hole voxels alone; neighbours outside `mask` are left out (no flux).
    Small holes, the usual case, are solved to rounding. A hole that touches no known voxel stays 0.
    """
    known = mask & ~holes
    out = np.where(known, field, np.float32(0))
    at = np.ascontiguousarray(np.argwhere(holes & mask), dtype=np.int32)
    if at.size and known.any():
        weights = (1 / np.asarray(voxel_size, np.float32) ** 2).astype(np.float32)
        _relax(out, known, at, weights, iterations)
    return out


@jit("void(f4[:,:,::1], b1[:,:,::1], i4[:,::1], f4[::1], i8)")
def _relax(x, known, at, w, iterations):
    """Sweeps over the voxels `at`; they become `known`, and so count as neighbours, once they have a value."""
    shape = x.shape
    index = np.empty(3, np.int64)
    for sweep in range(iterations):
        for n in range(at.shape[0]):
            # Backwards every second time: symmetric sweeps carry values both ways.
            m = n if sweep % 2 == 0 else at.shape[0] - 1 - n
            total = np.float32(0)
            weight = np.float32(0)
            for axis in range(3):
                for side in (-1, 1):
                    index[0], index[1], index[2] = at[m, 0], at[m, 1], at[m, 2]
                    index[axis] += side
                    if 0 <= index[axis] < shape[axis] and known[index[0], index[1], index[2]]:
                        total += w[axis] * x[index[0], index[1], index[2]]
                        weight += w[axis]
            i, j, k = at[m, 0], at[m, 1], at[m, 2]
            if weight > 0:
                omega = np.float32(1.5) if known[i, j, k] else np.float32(1)
                x[i, j, k] += omega * (total / weight - x[i, j, k])
                known[i, j, k] = True
