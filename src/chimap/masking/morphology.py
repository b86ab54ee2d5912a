"""Growing, shrinking and cleaning masks with distances in mm, on voxels of any shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume


@jit("void(int64, int64, float32[:,:,::1], float32[:,:,::1], float32[::1])")
def _rows(start, stop, f, out, weights):  # pragma: no cover - compiled
    """Lower envelope of parabolas along the middle axis: row by row, so that the last axis vectorises."""
    n, m = f.shape[1], f.shape[2]
    reach = weights.size - 1
    for row in range(start, stop):
        o, i = row // n, row % n
        for k in range(m):
            out[o, i, k] = f[o, i, k]
        for j in range(max(0, i - reach), min(n, i + reach + 1)):
            w = weights[abs(j - i)]
            for k in range(m):
                v = f[o, j, k] + w
                if v < out[o, i, k]:
                    out[o, i, k] = v


@jit("void(int64, int64, float32[:,::1], float32[:,::1], float32[::1])")
def _columns(start, stop, f, out, weights):  # pragma: no cover - compiled
    """The same along the last axis, as shifted copies of a line."""
    m = f.shape[1]
    reach = min(weights.size, m) - 1
    for row in range(start, stop):
        for k in range(m):
            out[row, k] = f[row, k]
        for j in range(1, reach + 1):
            w = weights[j]
            for k in range(m - j):
                v = f[row, k + j] + w
                if v < out[row, k]:
                    out[row, k] = v
            for k in range(j, m):
                v = f[row, k - j] + w
                if v < out[row, k]:
                    out[row, k] = v


def distance(mask: Mask, voxel_size_mm: Sequence[float] | np.ndarray, limit_mm: float) -> Volume:
    """Distance in mm of each voxel's centre to the nearest voxel centre of `mask`, at most `limit_mm`.

    Parameters
    ----------
    mask : (x, y, z) bool
    voxel_size_mm : 3 float
    limit_mm : float
        Distances above it are returned as `limit_mm`; the work grows with it.

    Returns
    -------
    (x, y, z) float32, 0 inside the mask.

    Notes
    -----
    Exact Euclidean distance by one lower envelope an axis: Felzenszwalb and Huttenlocher 2012,
    doi:10.4086/toc.2012.v008a019, here within a limited reach.
    """
    nx, ny, nz = mask.shape
    limit2 = np.float32(limit_mm) ** 2
    f = np.full(mask.shape, limit2, np.float32)
    f[mask] = 0
    out = np.empty_like(f)
    weights = [
        (np.arange(min(int(limit_mm / h), n) + 1, dtype=np.float32) * np.float32(h)) ** 2
        for h, n in zip(voxel_size_mm, mask.shape, strict=True)
    ]
    slabs(_columns, nx * ny, f.reshape(nx * ny, nz), out.reshape(nx * ny, nz), weights[2])
    slabs(_rows, nx * ny, out, f, weights[1])
    shape = (1, nx, ny * nz)
    slabs(_rows, nx, f.reshape(shape), out.reshape(shape), weights[0])
    return np.sqrt(out, out=out)


def dilate(mask: Mask, radius_mm: float, voxel_size_mm: Sequence[float] | np.ndarray) -> Mask:
    """`mask` grown by a ball of `radius_mm` (voxel centres at that distance are included)."""
    return _grow(_checked(mask), radius_mm, voxel_size_mm)


def erode(
    mask: Mask, radius_mm: float, voxel_size_mm: Sequence[float] | np.ndarray, *, border: bool = False
) -> Mask:
    """`mask` shrunk by a ball of `radius_mm`; with `border`, from the edge of the grid as well."""
    mask = _checked(mask)
    if border:
        pad = [(int(radius_mm / h) + 1,) * 2 for h in voxel_size_mm]
        inner = tuple(slice(a, a + n) for (a, _), n in zip(pad, mask.shape, strict=True))
        return np.ascontiguousarray(~_grow(~np.pad(mask, pad), radius_mm, voxel_size_mm)[inner])
    return ~_grow(~mask, radius_mm, voxel_size_mm)


def open_(mask: Mask, radius_mm: float, voxel_size_mm: Sequence[float] | np.ndarray) -> Mask:
    """Erosion, then dilation: what is thinner than twice `radius_mm` goes."""
    return dilate(erode(mask, radius_mm, voxel_size_mm), radius_mm, voxel_size_mm) & mask


def close(mask: Mask, radius_mm: float, voxel_size_mm: Sequence[float] | np.ndarray) -> Mask:
    """Dilation, then erosion: gaps narrower than twice `radius_mm` are filled. The grid's edge is no gap."""
    mask = _checked(mask)
    inner = _bounds(mask)
    if inner is None:
        return mask.copy()
    # Work on the mask's own box with room to grow, also beyond the grid.
    pad = [(int(radius_mm / h) + 1,) * 2 for h in voxel_size_mm]
    small = np.pad(mask[inner], pad)
    small = ~_grow(~_grow(small, radius_mm, voxel_size_mm), radius_mm, voxel_size_mm)
    out = mask.copy()
    out[inner] |= small[tuple(slice(a, n - b) for (a, b), n in zip(pad, small.shape, strict=True))]
    return out


def fill_holes(mask: Mask, *, axis: int | None = None, largest: float = np.inf, border: bool = False) -> Mask:
    """`mask` with its enclosed holes filled: in 3-D, or with `axis` in each slice across that axis.

    Holes of more than `largest` voxels stay open. With `border`, a face of the grid counts as a wall as long as
    the hole touches that face alone.
    """
    mask = _checked(mask)
    structure = ndimage.generate_binary_structure(3, 1)
    if axis is not None:
        structure[(slice(None),) * axis + (0,)] = False
        structure[(slice(None),) * axis + (2,)] = False
    labels, count = ndimage.label(~mask, structure)
    faces = np.zeros((count + 1, 6), bool)
    for a in range(3):
        if a == axis:
            continue
        faces[np.unique(labels.take(0, a)), 2 * a] = True
        faces[np.unique(labels.take(-1, a)), 2 * a + 1] = True
    outside = faces.sum(1) > (1 if border else 0)
    if np.isfinite(largest):
        outside |= np.bincount(labels.ravel(), minlength=count + 1) > largest
    outside[0] = False
    return ~outside[labels]


def largest_component(mask: Mask, near: Mask | None = None) -> Mask:
    """The largest 6-connected part of `mask`; with `near`, the part that shares most voxels with it."""
    mask = _checked(mask)
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask.copy()
    sizes = np.bincount(labels[near] if near is not None else labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels == int(np.argmax(sizes))


def _checked(mask: Mask) -> Mask:
    mask = np.asarray(mask)
    if mask.ndim != 3 or mask.dtype != bool:
        raise InputError(f"a mask must be a 3-D array of bool, not {mask.ndim}-D of {mask.dtype}")
    return np.ascontiguousarray(mask)


def _bounds(mask: Mask) -> tuple[slice, ...] | None:
    found = ndimage.find_objects(mask.view(np.uint8))
    return found[0] if found else None


def _grow(mask: Mask, radius_mm: float, voxel_size_mm: Sequence[float] | np.ndarray) -> Mask:
    if radius_mm < 0:
        raise InputError(f"a radius of {radius_mm} mm is asked for", fix="Give 0 mm or more")
    if radius_mm < min(voxel_size_mm) * (1 - 1e-4):
        return mask.copy()
    # A little slack, so that a radius of n voxels holds the n-th voxel in spite of rounding.
    radius = radius_mm * (1 + 1e-4)
    return distance(mask, voxel_size_mm, radius * 1.01) <= radius
