"""Objects much smaller than a human brain, for which defaults in mm are wrong."""

from __future__ import annotations

from collections.abc import Sequence

from chimap.numerics.box import Box
from chimap.types import Mask

SMALL_MM = 70.0
"""Below this extent it is no human brain, not even a newborn's (about 90 mm). That of a rat is 20 to 25 mm long."""


def small_object(mask: Mask, voxel_size_mm: Sequence[float]) -> str | None:
    """What to tell the user if the mask's longest side is below `SMALL_MM`; None if not.

    Parameters
    ----------
    mask : (x, y, z) bool
        The object.
    voxel_size_mm : 3 float
        Sides of a voxel in mm.

    Returns
    -------
    str or None
    """
    inner = Box.around(mask, fast=False).inner
    extent = max((s.stop - s.start) * h for s, h in zip(inner, voxel_size_mm, strict=True))
    if not mask.any() or extent >= SMALL_MM:
        return None
    return (
        f"the object is {extent:.0f} mm long, and parameters in mm have defaults for a human head: for a whole small brain"
        " scale them with its size (page 'Small animal' of the recipes); in a piece of a large one expect errors at its edges"
    )
