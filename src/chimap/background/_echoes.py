"""Several echoes of phase to one field, for the methods that start from the phase."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.types import Mask, Progress, Volume


def magnitudes(magnitude: Volume | None, mask: Mask, echoes: int) -> Callable[[int], Volume]:
    """The magnitude of an echo, by its index, 0 outside the mask: ones without any, the same for all if it is 3-D."""
    if magnitude is None:
        ones = mask.astype(np.float32)
        return lambda echo: ones
    if magnitude.ndim == 3:
        return lambda echo: magnitude
    if magnitude.shape[3] != echoes:
        raise InputError(f"magnitude has {magnitude.shape[3]} echoes but phase {echoes}")
    return lambda echo: magnitude[..., echo]


def combined(
    phase: Callable[[int], Volume], magnitude: Callable[[int], Volume], acq: Acquisition, progress: Progress
) -> Volume:
    """Field in ppm from the phase of each echo, in rad and without wraps, weighted by (magnitude times echo time) squared."""
    top = bottom = None
    for echo, te in enumerate(acq.te_s):
        k = np.float32(acq.rad_per_ppm(te))
        weight = magnitude(echo) ** 2
        weight *= k
        part = phase(echo)
        part *= weight
        weight *= k
        if top is None or bottom is None:
            top, bottom = part, weight
        else:
            top += part
            bottom += weight
        progress(echo + 1, acq.echoes)
    assert top is not None and bottom is not None
    np.divide(top, bottom, out=top, where=bottom > 0)
    top[bottom <= 0] = 0
    return top
