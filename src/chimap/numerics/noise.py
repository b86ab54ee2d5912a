"""What a noise map says: how much each voxel is believed, which are unknown, and what to put in their place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.numerics.harmonic import fill_harmonic
from chimap.types import Mask, Volume

LEAST_PPM = 0.0025
"""Error of a field that a noise map never knows of, from what voxels hide: without it a scan of little noise is hardly regularised.

With white noise of 0.3 to 8 ppb on two simulated heads, the best weight of the total variation goes as noise^2 plus such a constant.
"""


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


def data_weights(mask: Mask, noise: Volume | None, default_ppm: float, floor: float) -> tuple[Volume, float]:
    """Squared weights ``(s0 / s)^2`` of the field, at most 1, and its typical standard deviation in ppm: s0 and `LEAST_PPM` together.

    Parameters
    ----------
    mask : (x, y, z) bool
    noise : (x, y, z) float32 or None
        Standard deviation of the field in ppm; without it all voxels of the mask count the same.
    default_ppm : float
        Standard deviation assumed where there is no `noise`.
    floor : float
        Error that `noise` does not know of (left-over background, partial volume), as a multiple of its
        median, added in quadrature to all voxels.
    """
    if noise is None or not (noise[mask] > 0).any():
        return mask.astype(np.float32), default_ppm
    known = noise[mask & (noise > 0)]
    s0 = float(np.median(known)) * float(np.sqrt(1 + floor**2))
    extra = np.float32((s0**2) * floor**2 / (1 + floor**2))
    with np.errstate(divide="ignore"):
        w2 = np.float32(s0**2) / (noise * noise + extra)
    w2 = np.where(mask & (noise > 0), np.minimum(w2, np.float32(1)), np.float32(0))
    return w2, float(np.hypot(s0, LEAST_PPM))
