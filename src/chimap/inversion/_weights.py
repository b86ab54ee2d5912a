"""How much each voxel's field is believed."""

from __future__ import annotations

import numpy as np

from chimap.types import Mask, Volume


def data_weights(mask: Mask, noise: Volume | None, default_ppm: float, floor: float) -> tuple[Volume, float]:
    """Squared weights ``(s0 / s)^2`` of the field, at most 1, and the typical standard deviation s0 in ppm.

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
    return w2, s0
