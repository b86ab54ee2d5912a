"""The grid that inversions work on."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.box import Box
from chimap.types import Mask

PAD_MM = 20.0
"""Empty space between the object and its periodic copies; the dipole field has then fallen well below 1 %."""


def working_box(mask: Mask, acq: Acquisition, pad_mm: float = PAD_MM) -> Box:
    """The mask's bounding box with `pad_mm` of empty space behind it, on a grid that transforms fast."""
    return Box.around(mask, [int(np.ceil(pad_mm / v)) for v in acq.voxel_size_mm])
