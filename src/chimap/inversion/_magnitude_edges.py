"""Weights that let a map change where the magnitude does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.errors import InputError
from chimap.numerics.echoes import root_sum_of_squares
from chimap.types import Mask, Volume


def edge_weights(
    magnitude: Volume | None, mask: Mask, voxel_size: Sequence[float], edges: float, least: float = 0.2
) -> Volume:
    r"""``max(least, 1 / (1 + (g / g0)^2))`` of the magnitude's gradient ``g``; 1 outside the mask.

    Parameters
    ----------
    magnitude : (x, y, z) or (x, y, z, echo) float32, or None
        Any unit; echoes are combined as the root of their sum of squares. None: 1 everywhere.
    mask : (x, y, z) bool
        Differences across its border do not count.
    voxel_size : 3 float
        In mm.
    edges : float
        ``g0`` is the quantile of the gradients in the mask that this share of the voxels exceeds; 0: no edges.
    least : float
        The smallest weight.
    """
    if not 0 <= edges < 1:
        raise InputError(f"edges is {edges:g}; it must be from 0 to below 1", fix="Try 0.3")
    if magnitude is None or edges == 0:
        return np.ones(mask.shape, np.float32)
    magnitude = root_sum_of_squares(magnitude)
    power = np.zeros(mask.shape, np.float32)
    for axis, h in enumerate(voxel_size):
        here = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        there = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        step = (magnitude[there] - magnitude[here]) * np.float32(1 / h)
        power[here] += np.where(mask[here] & mask[there], step * step, np.float32(0))
    typical = float(np.quantile(power[mask], 1 - edges))
    if typical <= 0:  # a magnitude of flat pieces
        typical = float(power[mask].mean(dtype=np.float64))
    if typical <= 0:
        return np.ones(mask.shape, np.float32)
    power /= np.float32(-typical)
    weights = np.maximum(1 / (1 - power), np.float32(least))
    weights[~mask] = 1
    return weights
