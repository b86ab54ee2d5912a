"""Which voxels of a mask have no usable field, and why: for the picture and the record."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.masking.reliability import REASONS, reliability
from chimap.numerics.box import Box
from chimap.results import Field
from chimap.types import Volume


def lost_voxels(field: Field, acq: Acquisition, combined: Volume | None) -> tuple[np.ndarray, dict[str, Any]]:
    """Label the lost voxels of a field by their reason; the field and its mask stay as they are.

    The stages that follow weigh voxels by the noise map, which does better than a mask with holes.

    Parameters
    ----------
    field : Field
        Field with its mask, noise and misfit.
    acq : Acquisition
        Echo times, field strength, voxel size.
    combined : (x, y, z) float32 or None
        Magnitude of all echoes together.

    Returns
    -------
    labels : (x, y, z) uint8
        0, or the number of the reason in `chimap.masking.reliability.REASONS`.
    record : dict
        ``labels`` number to reason, ``voxels`` by reason, ``share`` of the mask, ``rim_share`` the share of the mask that
        is lost at its rim and not enclosed.
    """
    # Within the mask's box: what lies around it says nothing, and needs memory.
    box = Box.around(field.mask, fast=False).inner
    part = {
        n: v[box]
        for n in ("field_ppm", "noise_ppm", "residual", "mask")
        if (v := getattr(field, n)) is not None
    }
    inside = Field(**{"noise_ppm": None, **part})
    found = reliability(inside, acq, None if combined is None else combined[box])
    reasons = np.zeros(field.mask.shape, np.uint8)
    reasons[box] = found.reasons
    whole = max(int(np.count_nonzero(field.mask)), 1)
    rim = int(np.count_nonzero(inside.mask & ~found.mask))
    record = {
        "labels": {str(k): v for k, v in REASONS.items()},
        "voxels": {k: v for k, v in found.counts.items() if v},
        "share": round(int(np.count_nonzero(found.lost)) / whole, 5),
        "rim_share": round(rim / whole, 5),
    }
    return reasons, record
