"""What the learned background removal is given: two classical local fields and what tells where they err. Training uses the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from chimap.acquisition import Acquisition
from chimap.background.lbv import lbv
from chimap.background.pdf import pdf
from chimap.numerics.box import Box
from chimap.numerics.echoes import root_sum_of_squares
from chimap.numerics.guides import log_magnitude, standardised
from chimap.types import Mask, Progress, Volume, silent

CHANNELS = (
    "local field of PDF",
    "local field of LBV less that of PDF",
    "background of PDF",
    "noise",
    "depth below the mask's edge",
    "logarithm of the magnitude",
    "mask",
)
CONDITIONS = 9
"""Products of the components of B0's direction (xx, yy, zz, xy, yz, xz), logarithms of the voxel's edges in mm."""
CONDITIONS_INPUT = "conditions"
DEEPEST_MM = 12.0
PDF_SETTINGS = {"iterations": 20, "tolerance": 0.04, "pad_mm": 16.0, "unreliable": 0.0}


@dataclass(frozen=True)
class Inputs:
    """Everything on the mask's bounding box, in units of `scale`.

    Attributes
    ----------
    channels : (7, x, y, z) float32
        `CHANNELS`; fields on a scale that is linear up to about 4 and logarithmic beyond.
    conditions : (9,) float32
        `CONDITIONS`.
    local_ppm : (x, y, z) float32
        Local field of PDF, which the network corrects.
    scale : float
        Standard deviation of that field, from its median absolute deviation, in ppm.
    box : Box
    """

    channels: np.ndarray
    conditions: np.ndarray
    local_ppm: Volume
    scale: float
    box: Box


def learned_inputs(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    magnitude: Volume | None = None,
    progress: Progress = silent,
) -> Inputs:
    """Prepare a scan: PDF and LBV, and channels of unit size. Arguments as of `learned`."""
    box = Box.around(mask, fast=False)
    inside = box.crop(mask)
    local = box.crop(pdf(total_field, mask, acq, noise=noise, progress=progress, **PDF_SETTINGS).field_ppm)
    middle = float(np.median(local[inside]))
    scale = max(1.4826 * float(np.median(np.abs(local[inside] - middle))), 1e-4)
    channels = np.zeros((len(CHANNELS), *inside.shape), np.float32)
    channels[0] = _soft(local, inside, scale)
    if binary_erosion(inside).any():
        other = lbv(total_field, mask, acq, noise=noise)
        valid = box.crop(other.mask)
        channels[1] = _soft(np.where(valid, box.crop(other.field_ppm) - local, 0), valid, scale)
    channels[2] = _soft(box.crop(total_field) - local, inside, scale)
    level = np.full(inside.shape, np.float32(0.2 * scale)) if noise is None else box.crop(noise)
    channels[3] = np.clip(np.log(np.maximum(level, np.float32(1e-6)) / np.float32(scale)), -4, 4) * inside
    # A rim of zeros: the edge of the grid is an edge of the mask.
    depth = distance_transform_edt(np.pad(inside, 1), sampling=acq.voxel_size_mm)[1:-1, 1:-1, 1:-1]
    channels[4] = np.minimum(depth, DEEPEST_MM) / (DEEPEST_MM / 2)
    if magnitude is not None:
        guide = log_magnitude(box.crop(root_sum_of_squares(magnitude)), inside)
        if guide is not None:
            channels[5] = standardised(guide, inside, least=1e-3)
    channels[6] = inside
    x, y, z = acq.b0_dir
    conditions = np.array(
        [x * x, y * y, z * z, x * y, y * z, x * z, *np.log(acq.voxel_size_mm)], dtype=np.float32
    )
    return Inputs(channels, conditions, local, scale, box)


def _soft(field: Volume, inside: Mask, scale: float) -> Volume:
    """The field about its median over `scale`, large values logarithmic; 0 outside."""
    middle = np.float32(np.median(field[inside])) if inside.any() else np.float32(0)
    return np.where(inside, 4 * np.arcsinh((field - middle) / np.float32(4 * scale)), np.float32(0))
