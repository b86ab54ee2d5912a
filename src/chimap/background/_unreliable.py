"""The local field in voxels whose own field is unknown: that of the sources which the field around them shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure, iterate_structure, label

from chimap.numerics.noise import unknown_voxels
from chimap.types import Mask, Volume

VOID_PPM = 1.0
"""Standard deviation of susceptibility to expect where the signal is lost: calcifications, bleeds, large veins."""

RIM_PPM = 0.1
"""The same in the voxels next to them."""

DETAIL_PPM = 0.01
"""Standard deviation of the local field that such sources leave, to weigh against the field's noise."""

REACH = 4
"""Voxels around the lost ones (in steps by faces) whose field is looked at."""

MOST = 700
"""Larger regions than so many voxels are left as they are: those are air, not lesions."""


def from_around(
    local: Volume,
    noise: Volume | None,
    mask: Mask,
    limit: float,
    voxel: Sequence[float],
    b0_dir: Sequence[float],
) -> Volume:
    r"""The local field with its unknown voxels, noise above `limit` times the median, taken from around them.

    In each region of such voxels and their neighbours, the sources :math:`\chi` (and a constant) are fitted to the
    local field l within `REACH` voxels, by the most probable of white Gaussian sources,

    .. math:: \min_\chi \sum \frac{(l - D\chi)^2}{\sigma^2 + detail^2} + \sum \frac{\chi^2}{void^2},

    with D the field of a point dipole per voxel. In the unknown voxels, the measured field then counts for
    :math:`detail^2 / (\sigma^2 + detail^2)` and the sources' for the rest. All other voxels stay. Several distributions of sources explain the field around a region about as
    well and differ inside, so this takes a part of the error away, not all of it.

    Parameters
    ----------
    local, noise : (x, y, z) float32
        Local field and standard deviation of the total field in ppm. Without noise nothing is changed.
    mask : (x, y, z) bool
        Where the local field is valid.
    limit : float
        Multiple of the median noise. 0: nothing is changed.
    voxel, b0_dir : sequence of 3 floats
        Voxel size in mm, and the unit vector along B0.
    """
    lost = unknown_voxels(noise, mask, limit)
    if noise is None or lost is None:
        return local
    out = local.copy()
    near = iterate_structure(generate_binary_structure(3, 1), REACH)
    regions, _ = label(lost, np.ones((3, 3, 3)))
    for number, where in enumerate(find_objects(regions), 1):
        around = tuple(slice(max(0, s.start - REACH), s.stop + REACH) for s in where)
        core = regions[around] == number
        if core.sum() > MOST:
            continue
        seen = binary_dilation(core, near) & mask[around]
        at = np.argwhere(seen).astype(np.float64) * voxel
        unknown = lost[around][seen]
        rim = binary_dilation(core, generate_binary_structure(3, 1))[seen]
        sd = np.where(unknown[rim], VOID_PPM, RIM_PPM)
        fields = _dipoles(at, at[rim], voxel, b0_dir) * sd
        fields = np.column_stack((fields, np.full(len(at), DETAIL_PPM)))
        field, sigma = (v[around][seen].astype(np.float64) for v in (local, noise))
        share = DETAIL_PPM**2 / (sigma**2 + DETAIL_PPM**2)
        middle = np.median(field[~unknown]) if (~unknown).any() else 0.0
        weighted = fields * (share / DETAIL_PPM**2)[:, None]
        normal = fields.T @ weighted
        normal[np.diag_indices_from(normal)] += 1
        sources = np.linalg.solve(normal, weighted.T @ (field - middle))
        model = middle + fields @ sources
        out[around][core] = (model + share * (field - model))[core[seen]]
    return out


def _dipoles(
    at: np.ndarray, sources: np.ndarray, voxel: Sequence[float], b0_dir: Sequence[float]
) -> np.ndarray:
    """Field in ppm at each position of a source of 1 ppm in each voxel; 0 in the voxel itself."""
    d = at[:, None, :] - sources[None, :, :]
    r2 = (d**2).sum(-1)
    along = d @ np.asarray(b0_dir, np.float64)
    same = r2 == 0
    r2[same] = 1
    field = (3 * along**2 / r2 - 1) / r2**1.5
    field[same] = 0
    return field * (np.prod(voxel) / (4 * np.pi))
