"""From an object on a fine grid to voxels: their means, points at their centres, or what a scanner's k-space holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.interpolate import make_interp_spline

from chimap.numerics.fft import irfftn, rfftn
from chimap.types import Volume

FACTORS = {"voxel": 1.0, "mean": 2.0, "points": 1.5, "scanner": 1.5}
"""How many times finer the object's grid is, for each way.

voxel: the object is made of voxels; mean: field (weighted by the signal) and susceptibility are averaged over each voxel; points: both are
those of the voxel's centre; scanner: the field is that of the signal's k-space, cut to the voxel size, the susceptibility that of the
voxel's centre. Guides of the last two are cut in k-space.
"""


def chosen(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """One of `FACTORS` by its share."""
    names = list(shares)
    p = np.array([shares[n] for n in names], float)
    return str(names[rng.choice(len(names), p=p / p.sum())])


def averaged(volume: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of `factor` voxels on each axis."""
    if factor == 1:
        return volume
    a, b, c = (n // factor for n in volume.shape)
    return volume.reshape(a, factor, b, factor, c, factor).mean((1, 3, 5), dtype=np.float32)


def at_points(volume: Volume, shape: Sequence[int], offset: Sequence[float]) -> Volume:
    """Cubic spline values of a fine volume at the centres of `shape` voxels, of which the first is `offset` fine voxels from the first."""
    out = volume
    for axis, (n, o) in enumerate(zip(shape, offset, strict=True)):
        fine = volume.shape[axis]
        where = np.minimum(np.arange(n) * (fine / n) + o, fine - 1)
        weights = make_interp_spline(np.arange(fine), np.eye(fine), k=3)(where).astype(np.float32)
        out = np.moveaxis(np.tensordot(weights, out, (1, axis)), 0, axis)
    return np.ascontiguousarray(out)


def nearest(mask: np.ndarray, shape: Sequence[int], offset: Sequence[float]) -> np.ndarray:
    """The fine voxels nearest to those centres."""
    out = mask
    for axis, (n, o) in enumerate(zip(shape, offset, strict=True)):
        fine = mask.shape[axis]
        where = np.rint(np.arange(n) * (fine / n) + o).astype(int)
        out = out.take(np.minimum(where, fine - 1), axis)
    return out


def cut(volume: Volume, shape: Sequence[int], offset: Sequence[float]) -> Volume:
    """A fine volume with its spectrum cut to that of `shape` voxels, of which the first is `offset` fine voxels from the first."""
    spectrum = rfftn(volume)
    for axis, (n, o) in enumerate(zip(shape, offset, strict=True)):
        fine = volume.shape[axis]
        if axis == 2:
            k = np.arange(n // 2 + 1)
        else:
            k = np.fft.fftfreq(n, 1 / n).astype(int)
        ramp = np.exp(2j * np.pi * k * (o / fine)).astype(np.complex64)
        ramp[np.abs(k) * 2 == n] = 0
        spectrum = spectrum.take(k % fine if axis < 2 else k, axis) * ramp.reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
    return irfftn(spectrum, tuple(shape)) * np.float32(np.prod(shape) / volume.size)
