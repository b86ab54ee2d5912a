"""The field of a map and the data less their means over spheres: what sources outside the mask leave drops out of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.box import Box, working_box
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.smv import depth_mm, reach_mm, smallest_sphere, sphere_weights, symmetric_spectrum
from chimap.types import Mask, Volume

RADII = 3
"""Sizes of spheres, the six neighbours besides."""
LEAST_SHARE = 0.3
"""Of the mask's voxels that must have a sphere, or there are too few data left."""


@dataclass(frozen=True)
class Filtered:
    """Data in parts, each with a dipole kernel of its own.

    Attributes
    ----------
    kernels : list of half-spectra, float32
        ``(1 - S_i) D``, largest sphere first.
    fields : list of (x, y, z) float32
        ``(1 - S_i) f`` in the voxels of its part, 0 elsewhere.
    part : (x, y, z) uint8
        Which one a voxel belongs to, from 1: that of the largest sphere that lies inside the mask about it. 0: none.
    target : (x, y, z) float32
        The sum of `fields`.
    share : float
        Of the mask's voxels that are in a part.
    """

    kernels: list[Volume]
    fields: list[Volume]
    part: np.ndarray
    target: Volume
    share: float = 1.0


def spheres_of(largest_mm: float, count: int, acq: Acquisition) -> list[np.ndarray]:
    """`count` spheres from the largest radius evenly down to two voxels, and the six neighbours."""
    voxel = acq.voxel_size_mm
    low = min(2 * max(voxel), largest_mm)
    found = [sphere_weights(r, voxel) for r in np.unique(np.linspace(largest_mm, low, count))[::-1]]
    return [*found, smallest_sphere(voxel)]


def filtered(
    field: Volume, mask: Mask, acq: Acquisition, box: Box, dipole: Volume, spheres: list[np.ndarray]
) -> Filtered:
    """Cut a field (whole grid) to the box and filter it; spheres are largest first. In a thin mask there may be no part at all."""
    voxel = acq.voxel_size_mm
    spectrum = rfftn(box.crop(field * mask))
    depth = box.crop(depth_mm(mask, voxel))
    left = box.crop(mask)
    kernels: list[Volume] = []
    fields: list[Volume] = []
    part, target = np.zeros(box.shape, np.uint8), np.zeros(box.shape, np.float32)
    for sphere in spheres:
        here = left & (depth > reach_mm(sphere, voxel) * (1 + 1e-6))
        if not here.any():
            continue
        left &= ~here
        kernel = 1 - symmetric_spectrum(sphere, box.shape)
        one = irfftn(spectrum * kernel, box.shape)
        one *= here
        kernel *= dipole
        target += one
        kernels.append(kernel)
        fields.append(one)
        part[here] = len(kernels)
    share = 1 - float(left.sum()) / max(float(mask.sum()), 1.0)
    return Filtered(kernels, fields, part, target, share)


def without_means(field: Volume, mask: Mask, acq: Acquisition, largest_mm: float) -> Volume:
    """The field less its means over spheres, whole grid; 0 where no sphere fits, and as it is in a mask too thin for any."""
    box = working_box(mask, acq)
    data = filtered(field, mask, acq, box, np.ones(1, np.float32), spheres_of(largest_mm, RADII, acq))
    return box.restore(data.target) if data.share >= LEAST_SHARE else field
