"""Where the magnitude has edges, and the susceptibility may have them too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.types import Mask, Volume

NOISE_FACTOR = 3.0
"""A difference below this many of its standard deviations is noise, never an edge."""

ALL_SMOOTH = 7


def smooth_places(
    magnitude: Volume | None, mask: Mask, voxel_size: Sequence[float], edges: float
) -> np.ndarray:
    """(x, y, z) uint8: bit a is set where the map is to be smooth along axis a, clear across an edge of the magnitude.

    Parameters
    ----------
    magnitude : (x, y, z) float32, or None
        Without it there are no edges.
    mask : (x, y, z) bool
        Differences that leave it are not edges: outside, the map is to be smooth.
    voxel_size : 3 float
        In mm; differences are compared per mm.
    edges : float
        Share of the voxel pairs in the mask that are edges, over all directions: the threshold is that quantile,
        but at least `NOISE_FACTOR` standard deviations of a difference.
    """
    smooth = np.full(mask.shape, ALL_SMOOTH, np.uint8)
    if magnitude is None or edges <= 0:
        return smooth
    least = np.float32(NOISE_FACTOR * np.sqrt(2) * noise_of(magnitude, mask))
    steep, where, values = [], [], []
    for axis, h in enumerate(voxel_size):
        here, there = [slice(None)] * 3, [slice(None)] * 3
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(here), tuple(there)
        difference = np.abs(magnitude[b] - magnitude[a])
        difference[~(mask[a] & mask[b])] = -1
        values.append(np.where(difference > least, difference, 0)[difference >= 0] / np.float32(h))
        difference[difference <= least] = -1
        steep.append(difference / np.float32(h))
        where.append(a)
    every = np.concatenate(values)
    if every.size:
        threshold = np.quantile(every, max(0.0, 1 - edges))
        for axis in range(3):
            smooth[where[axis]] &= np.where(
                (steep[axis] >= threshold) & (steep[axis] > 0),
                np.uint8(ALL_SMOOTH - (1 << axis)),
                np.uint8(ALL_SMOOTH),
            )
    return smooth


def noise_of(magnitude: Volume, mask: Mask) -> float:
    """Standard deviation of the noise: what is left of the image after second differences along all three axes."""
    residual, inner = magnitude, mask
    for axis in range(3):
        if residual.shape[axis] < 3:
            return 0.0
        residual = np.diff(residual, n=2, axis=axis)
        parts = []
        for offset in range(3):
            cut = [slice(None)] * 3
            cut[axis] = slice(offset, inner.shape[axis] - 2 + offset)
            parts.append(inner[tuple(cut)])
        inner = parts[0] & parts[1] & parts[2]
    if not inner.any():
        return 0.0
    # The factors 1, -2, 1 on each axis raise the variance by 6^3.
    return float(np.median(np.abs(residual[inner]))) / 0.6745 / 6**1.5
