"""Smooth random fields, tubes and blobs on a grid in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.numerics.fft import frequencies, irfftn, rfftn
from chimap.types import Volume


def grid(shape: Sequence[int], voxel_mm: Sequence[float]) -> list[np.ndarray]:
    """Coordinates in mm about the middle of the grid: three float32 arrays that broadcast."""
    axes = [
        ((np.arange(n) - (n - 1) / 2) * v).astype(np.float32) for n, v in zip(shape, voxel_mm, strict=True)
    ]
    return [axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]]


def random_field(
    rng: np.random.Generator, shape: Sequence[int], voxel_mm: Sequence[float], length_mm: float
) -> Volume:
    """A Gaussian random field of mean 0 and standard deviation 1, smooth over about `length_mm` (periodic)."""
    spectrum = rfftn(rng.standard_normal(shape, dtype=np.float32))
    for f, axis in zip(frequencies(shape, voxel_mm), range(3), strict=True):
        decay = np.exp(-0.5 * (2 * np.pi * np.float32(length_mm / 2) * f) ** 2).astype(np.float32)
        spectrum *= decay.reshape([-1 if a == axis else 1 for a in range(3)])
    spectrum[0, 0, 0] = 0
    out = irfftn(spectrum, shape)
    return out / np.float32(max(float(out.std()), 1e-12))


def blob(
    rng: np.random.Generator, p: Sequence[np.ndarray], centre: Sequence[float], axes: Sequence[float]
) -> Volume:
    """Distance in mm, to first order, to a randomly turned ellipsoid; negative inside."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    q = [
        sum(np.float32(turn[i, j]) * (p[j] - np.float32(centre[j])) for j in range(3)) / np.float32(axes[i])
        for i in range(3)
    ]
    return (np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2) - 1) * np.float32(min(axes))


def box(
    rng: np.random.Generator, p: Sequence[np.ndarray], centre: Sequence[float], axes: Sequence[float]
) -> Volume:
    """Distance in mm to a randomly turned box of half edges `axes`; negative inside."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    q = [
        np.abs(sum(np.float32(turn[i, j]) * (p[j] - np.float32(centre[j])) for j in range(3)))
        - np.float32(axes[i])
        for i in range(3)
    ]
    return np.maximum(np.maximum(q[0], q[1]), q[2])


def tube(
    rng: np.random.Generator, shape: Sequence[int], voxel_mm: Sequence[float], radius_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the voxels in a bent tube across the grid. Thinner than a voxel, it is one voxel wide."""
    size = np.asarray(shape) * np.asarray(voxel_mm)
    start = rng.uniform(0, 1, 3) * size
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    step = min(voxel_mm) * 0.6
    bend = rng.uniform(0.005, 0.08) * step
    points = []
    for _ in range(int(rng.uniform(0.3, 1.2) * size.max() / step)):
        points.append(start)
        direction = direction + bend * rng.standard_normal(3) / np.sqrt(step)
        direction /= np.linalg.norm(direction)
        start = start + step * direction
    reach = [int(np.ceil(radius_mm / v)) for v in voxel_mm]
    offsets = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), -1).reshape(-1, 3)
    offsets = offsets[((offsets * np.asarray(voxel_mm)) ** 2).sum(1) <= max(radius_mm**2, 0.0)]
    centres = np.unique(np.rint(np.asarray(points) / voxel_mm).astype(int), axis=0)
    index = np.unique((centres[:, None] + offsets[None]).reshape(-1, 3), axis=0)
    index = index[((index >= 0) & (index < np.asarray(shape))).all(1)]
    return index[:, 0], index[:, 1], index[:, 2]
