"""One magnitude from several echoes."""

from __future__ import annotations

import numpy as np

from chimap.types import Volume


def root_sum_of_squares(magnitude: Volume) -> Volume:
    """Combined magnitude, (x, y, z), of (x, y, z, echo); one of (x, y, z) is returned as it is."""
    if magnitude.ndim == 3:
        return magnitude
    total = np.zeros(magnitude.shape[:3], np.float32)
    for echo in np.moveaxis(magnitude, 3, 0):
        # Hypot keeps values of any scale from overflowing, and needs no second volume.
        np.hypot(total, echo, out=total)
    return total
