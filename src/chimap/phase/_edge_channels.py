"""What the network that judges steps between neighbours is given. Training uses the same."""

from __future__ import annotations

import numpy as np

from chimap.phase._graph import TWO_PI
from chimap.types import Mask, Volume

CHANNELS = 13
"""Steps of the echo, of another echo, what both disagree by (three axes each), magnitude, mask, ratio of echo times, other or not."""
CLASSES = 3
"""Turns to add to a wrapped step: -1, 0 or 1."""


def wrapped(x: np.ndarray) -> np.ndarray:
    """Phase differences in rad brought to -pi..pi."""
    return x - np.float32(TWO_PI) * np.rint(x / np.float32(TWO_PI))


def steps_to_next(phase: Volume, mask: Mask) -> np.ndarray:
    """Wrapped differences to the next voxel of each axis, (3, x, y, z) in rad; 0 where one of both lies outside the mask."""
    out = np.zeros((3, *phase.shape), np.float32)
    for a in range(3):
        here, there = [slice(None)] * 3, [slice(None)] * 3
        here[a], there[a] = slice(0, -1), slice(1, None)
        h, t = tuple(here), tuple(there)
        out[a][h] = wrapped(phase[t] - phase[h]) * (mask[t] & mask[h])
    return out


def edge_channels(
    phase: Volume, magnitude: Volume, mask: Mask, other: Volume | None = None, ratio: float = 1.0
) -> np.ndarray:
    """Channels (`CHANNELS`, x, y, z) float32 of one echo.

    Parameters
    ----------
    phase, magnitude : (x, y, z)
        Of the echo; a constant phase, and turns, make no difference.
    mask : (x, y, z) bool
    other : (x, y, z), optional
        Phase of another echo.
    ratio : float
        Echo time over that of the other echo.
    """
    out = np.zeros((CHANNELS, *mask.shape), np.float32)
    out[0:3] = steps_to_next(phase, mask)
    if other is not None:
        out[3:6] = steps_to_next(other, mask)
        out[6:9] = wrapped(out[0:3] - np.float32(ratio) * out[3:6])
        out[11] = np.float32(np.log(ratio)) * mask
        out[12] = mask
    out[:9] /= np.float32(np.pi)
    usual = float(np.median(magnitude[mask]))
    if usual > 0:
        out[9] = np.log(np.clip(magnitude / np.float32(usual), 0.02, 7.0)) * mask
    out[10] = mask
    return out
