"""The fluid of the ventricles, found without labels, as a zero reference."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.types import Mask, Volume

_LEAST_MM3 = 200.0
_BESIDE = ndimage.generate_binary_structure(3, 1)


def ventricles(
    r2star: Volume,
    mask: Mask,
    voxel_size_mm: tuple[float, float, float],
    *,
    fraction: float = 0.4,
    radius_mm: float = 30.0,
    depth_mm: float = 20.0,
) -> Mask:
    """The fluid of the ventricles: low R2* in the middle of the brain, deep below its surface.

    Parameters
    ----------
    r2star : (x, y, z) float32
        R2* in 1/s. 0 counts as low: fits give it where the signal does not decay.
    mask : (x, y, z) bool
        The brain.
    voxel_size_mm : 3 float
        Voxel size in mm.
    fraction : float
        R2* is low below this fraction of its median over the brain. R2* of tissue grows with the field and that of
        fluid hardly does, so no fixed threshold suits all field strengths.
    radius_mm : float
        Connected parts count that have 0.1 ml or more within this distance of the brain's centre of mass. They
        are kept as a whole, horns included.
    depth_mm : float
        Least distance from the surface of the mask, which keeps sulci and cisterns out.

    Returns
    -------
    (x, y, z) bool

    Raises
    ------
    InputError
        If there is less than 0.2 ml.

    Notes
    -----
    After Liu et al. 2018, doi:10.1002/mrm.26946 (MEDI+0), which takes R2* below 5/s, parts that appear in a sphere of 30 mm, and
    no other limit. Here R2* goes through a median filter, and parts hang together only where they are three voxels
    thick, so that noise does not bridge to the sulci.
    """
    depth = ndimage.distance_transform_edt(mask, sampling=voxel_size_mm) > depth_mm
    region = np.zeros(mask.shape, bool)
    if depth.any():
        # The deep part alone: everything below looks one or two voxels beyond it at most.
        box = tuple(
            slice(max(int(c.min()) - 2, 0), int(c.max()) + 3)
            for c in (np.nonzero(depth.any(axis=tuple(b for b in range(3) if b != a)))[0] for a in range(3))
        )
        limit = fraction * float(np.median(r2star[mask]))
        smooth = ndimage.median_filter(r2star[box], footprint=_BESIDE)
        # Veins of one voxel vanish in the median: their own value must be low as well, noise allowed for.
        low = depth[box] & (smooth < limit) & (r2star[box] < 1.5 * limit)
        parts, count = ndimage.label(ndimage.binary_opening(low, _BESIDE))
        centre = [float(c.mean()) - b.start for c, b in zip(np.nonzero(mask), box, strict=True)]
        axes = np.ogrid[tuple(slice(0, n) for n in low.shape)]
        far2 = sum(((a - c) * v) ** 2 for a, c, v in zip(axes, centre, voxel_size_mm, strict=True))
        inner = np.bincount(parts[far2 < radius_mm**2], minlength=count + 1)
        inner[0] = 0
        chosen = inner * float(np.prod(voxel_size_mm)) >= 100
        region[box] = ndimage.binary_dilation(chosen[parts], _BESIDE, iterations=2, mask=low)
    if region.sum() * float(np.prod(voxel_size_mm)) < _LEAST_MM3:
        raise InputError(
            "no ventricles were found by their low R2*",
            fix="Use the whole brain as reference, or give a mask or a label image",
        )
    return region
