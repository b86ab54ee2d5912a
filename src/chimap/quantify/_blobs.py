"""Round spots of any size in a map that is only known inside a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from chimap.types import Mask, Volume

SURROUND = 1.6
"""Width of the surround over that of the centre: the ratio at which the difference is closest to a Laplacian."""


@dataclass(frozen=True)
class Blob:
    """A spot: voxel `index`, width `scale_mm` of the filter that answers most, and its answer, signed, in the map's unit."""

    index: tuple[int, int, int]
    scale_mm: float
    response: float


def normalised_blur(volume: Volume, mask: Mask, sigma: Sequence[float]) -> Volume:
    """Gaussian mean (`sigma` in voxels) over the voxels inside the mask alone; 0 outside."""
    inside = mask.astype(np.float32)
    blurred = ndimage.gaussian_filter(volume * inside, sigma, mode="constant", truncate=3.0)
    share = ndimage.gaussian_filter(inside, sigma, mode="constant", truncate=3.0)
    return np.where(mask, blurred / np.maximum(share, np.float32(1e-3)), np.float32(0)).astype(np.float32)


def find_blobs(
    volume: Volume,
    mask: Mask,
    voxel_size_mm: Sequence[float],
    *,
    diameter_mm: tuple[float, float] = (2.0, 12.0),
    threshold: float,
    signs: Sequence[int] = (1, -1),
) -> list[Blob]:
    r"""Spots brighter (or darker) than their surroundings, each at the scale where it stands out most.

    Parameters
    ----------
    volume : (x, y, z) float32
        A map.
    mask : (x, y, z) bool
        Where it is known. Means are taken over voxels inside only, so that the mask's edge is no edge of the map.
    voxel_size_mm : 3 float
        Voxel size in mm.
    diameter_mm : 2 float
        Range of diameters; spots beyond it answer at the nearest scale.
    threshold : float
        Least answer, in units of the map.
    signs : sequence of {1, -1}
        Bright spots, dark spots, or both.

    Returns
    -------
    list of Blob
        Strongest first; of spots that lie within each other's radius the strongest alone.

    Notes
    -----
    Extrema over space and scale of the scale-normalised Laplacian, here the difference of Gaussian means of widths
    :math:`\sigma` and :math:`1.6 \sigma` (Lindeberg 1998, doi:10.1023/A:1008045108935). A ball of diameter d answers most at
    :math:`\sigma \approx d / (2 \sqrt{3})`; scales go by a factor of 1.6, so that each surround is the next centre.
    """
    voxel = np.asarray(voxel_size_mm, float)
    smallest = max(diameter_mm[0] / (2 * np.sqrt(3)), 0.35 * float(voxel.max()))
    largest = max(diameter_mm[1] / (2 * np.sqrt(3)), smallest)
    count = max(1, int(np.ceil(np.log(largest / smallest) / np.log(SURROUND) - 1e-6)) + 1)
    scales = smallest * SURROUND ** np.arange(count)
    centre = normalised_blur(volume, mask, scales[0] / voxel)
    found: list[tuple[float, float, tuple[int, int, int]]] = []
    for scale in scales:
        around = normalised_blur(volume, mask, SURROUND * scale / voxel)
        answer = centre - around
        for sign in signs:
            signed = answer if sign > 0 else -answer
            peak = (signed >= threshold) & (signed == ndimage.maximum_filter(signed, 3)) & mask
            for i in np.argwhere(peak):
                at = (int(i[0]), int(i[1]), int(i[2]))
                found.append((float(answer[at]), float(scale), at))
        centre = around
    found.sort(key=lambda f: -abs(f[0]))
    return _strongest(found, voxel)


def _strongest(found: list[tuple[float, float, tuple[int, int, int]]], voxel: np.ndarray) -> list[Blob]:
    """Spots in order of strength, less those inside the radius of a stronger one or around it."""
    if not found:
        return []
    places = np.array([f[2] for f in found]) * voxel
    tree = cKDTree(places)
    alive = np.ones(len(found), bool)
    out = []
    for n, (response, scale, at) in enumerate(found):
        if not alive[n]:
            continue
        out.append(Blob(at, scale, response))
        # A strong spot has a halo of the other sign at coarser scales, about twice its radius away.
        near = tree.query_ball_point(places[n], max(np.sqrt(3) * scale, 1.5 * float(voxel.max())))
        alive[near] = False
    return out
