"""Parting a foreground at its necks: basins of the distance to the background."""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit
from chimap.types import Volume


@jit("int64(int32[::1], int64)")
def _root(parent, i):  # pragma: no cover - compiled
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@jit("void(int64[::1], float32[:,:,::1], int32[:,:,::1], float64)")
def _flood(order, depth, label, ratio):  # pragma: no cover - compiled
    nx, ny, nz = depth.shape
    parent = np.zeros(order.size + 1, np.int32)
    peak = np.zeros(order.size + 1, np.float32)
    count = 0
    for n in range(order.size):
        x = order[n] // (ny * nz)
        y = order[n] // nz % ny
        z = order[n] % nz
        level = depth[x, y, z]
        best = 0
        for side in range(6):
            i = x + (side == 0) - (side == 1)
            j = y + (side == 2) - (side == 3)
            k = z + (side == 4) - (side == 5)
            if i < 0 or j < 0 or k < 0 or i >= nx or j >= ny or k >= nz or label[i, j, k] == 0:
                continue
            other = _root(parent, label[i, j, k])
            if best == 0:
                best = other
            elif other != best:
                high, low = best, other
                if peak[low] > peak[high]:
                    high, low = low, high
                # The lower hill joins the higher one unless the pass between them is a real neck.
                if level >= ratio * peak[low]:
                    parent[low] = high
                best = high
        if best == 0:
            count += 1
            parent[count] = count
            peak[count] = level
            best = count
        label[x, y, z] = best
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                if label[x, y, z]:
                    label[x, y, z] = _root(parent, label[x, y, z])


def basins(depth: Volume, ratio: float) -> np.ndarray:
    """Label the parts of a foreground that hang together by more than a neck.

    Parameters
    ----------
    depth : (x, y, z) float32
        Distance of each foreground voxel to the background, 0 in the background.
    ratio : float
        Two parts are one if the widest passage between them is at least `ratio` times as wide as the narrower part.

    Returns
    -------
    (x, y, z) int32, 0 in the background. A watershed of `depth`, flooded from its maxima downwards (Vincent
    and Soille 1991, doi:10.1109/34.87344), with parts joined during the flooding.
    """
    depth = np.ascontiguousarray(depth, np.float32)
    inside = np.flatnonzero(depth.ravel() > 0)
    order = inside[np.argsort(-depth.ravel()[inside], kind="stable")]
    label = np.zeros(depth.shape, np.int32)
    _flood(order, depth, label, ratio)
    return label
