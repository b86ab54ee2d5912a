"""What is checked before a map is searched for lesions or veins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chimap.errors import InputError
from chimap.registry import as_volume
from chimap.types import Mask, Volume


def check_limits(diameter_mm: tuple[float, float], contrast_ppm: float) -> None:
    """Raise InputError if the range of diameters or the contrast makes no sense."""
    if not 0 < diameter_mm[0] < diameter_mm[1]:
        raise InputError(f"diameters {diameter_mm} are not two growing numbers of mm")
    if not contrast_ppm > 0:
        raise InputError(f"contrast {contrast_ppm} ppm is not positive")


def maps_given(maps: Mapping[str, Volume | None], mask: Mask) -> dict[str, Volume]:
    """Those of the maps that are there, 0 outside the mask and where they are not finite.

    Raises
    ------
    InputError
        If one has another shape than the mask.
    """
    given = {}
    for name, value in maps.items():
        if value is None:
            continue
        volume = as_volume(value, name, 3)
        if volume.shape != mask.shape:
            raise InputError(
                f"{name} has shape {volume.shape} but chi {mask.shape}", fix="Give maps on the same grid"
            )
        given[name] = np.where(mask & np.isfinite(volume), volume, np.float32(0))
    return given
