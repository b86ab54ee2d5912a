"""R2': the part of R2* that a spin echo refocuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.registry import as_mask, as_volume, inside
from chimap.types import Volume


def r2prime(r2star: Any, r2: Any, mask: Any) -> Volume:
    """R2' = R2* - R2 in 1/s, the relaxation by static field inhomogeneity within the voxel.

    Parameters
    ----------
    r2star : (x, y, z)
        R2* in 1/s.
    r2 : (x, y, z)
        R2 in 1/s on the same grid, from a spin-echo series.
    mask : (x, y, z) bool
        Where R2' is wanted.

    Returns
    -------
    (x, y, z) float32
        R2' in 1/s, 0 outside the mask. R2' cannot be negative: where noise, or an R2 that is too high (stimulated
        echoes, partial volume), makes the difference negative it is clipped to 0, so that regional means of a small
        R2' come out too high. The upper limit is R2* itself, since a negative R2 counts as 0.

    Raises
    ------
    InputError
        If the shapes differ, the mask is empty, or a map has NaN or infinity inside it.
    """
    total = as_volume(r2star, "r2star", 3)
    m = as_mask(mask, total.shape)
    refocused = as_volume(r2, "r2", 3)
    if refocused.shape != total.shape:
        raise InputError(
            f"r2 has shape {refocused.shape} but r2star {total.shape}", fix="Resample R2 to the grid of R2*"
        )
    total, refocused = inside(total, m, "r2star"), inside(refocused, m, "r2")
    return np.maximum(total - np.maximum(refocused, np.float32(0)), np.float32(0))
