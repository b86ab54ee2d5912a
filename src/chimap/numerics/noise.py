"""Which voxels a noise map calls unknown, and what to put in their place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.numerics.harmonic import fill_harmonic
from chimap.types import Mask, Volume


def median_noise(noise: Volume, mask: Mask) -> float:
    """Median of the noise where it is known; 0 where it is nowhere."""
    known = noise[mask & (noise > 0)]
    return float(np.median(known)) if known.size else 0.0


def unknown_voxels(noise: Volume | None, mask: Mask, limit: float) -> Mask | None:
    """Where in the mask the noise exceeds `limit` times its median; None if nowhere, or with a `limit` of 0."""
    usual = 0.0 if noise is None or limit <= 0 else median_noise(noise, mask)
    if noise is None or usual == 0:
        return None
    unknown = mask & (noise > limit * usual)
    return unknown if unknown.any() else None


def repaired(
    field: Volume, noise: Volume | None, mask: Mask, limit: float, voxel_size: Sequence[float]
) -> Volume:
    """`field` with its `unknown_voxels` filled harmonically from around them."""
    unknown = unknown_voxels(noise, mask, limit)
    return field if unknown is None else fill_harmonic(field, unknown, mask, voxel_size)
