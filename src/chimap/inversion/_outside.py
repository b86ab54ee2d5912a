"""Whether a field is one of sources inside the mask alone, so that the map may be held near 0 outside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter

from chimap.types import Mask, Volume

DECIDE = 6
"""Iterations of a splitting method after which its map, free outside the mask so far, tells."""
QUIET = 0.1
"""Sources beyond the mask are ruled out if a map that allows them has less than this share of its inner rms there: about
0.08 to 0.09 for a field of sources inside alone, 0.12 to 0.45 after background removal, where ruling them out costs far more than it
gains."""


def quiet_beyond(chi: Volume, inside: Mask, voxel_size: Sequence[float]) -> bool:
    """Whether the map is much weaker 2 to 5 mm outside the mask than inside."""
    solid = inside.astype(np.float32)
    reach = [
        uniform_filter(solid, [2 * round(mm / h) + 1 for h in voxel_size], mode="wrap") > 1e-6
        for mm in (2, 5)
    ]
    beyond = reach[1] & ~reach[0]
    if not beyond.any():
        return True
    rms = [float(np.sqrt(np.mean(np.square(chi[where]), dtype=np.float64))) for where in (beyond, inside)]
    return rms[0] < QUIET * rms[1]
