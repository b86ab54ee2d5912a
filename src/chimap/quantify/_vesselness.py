"""Is a spot a ball or a piece of a tube? Curvatures, and how far what it belongs to reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from chimap.types import Mask, Volume

Box = tuple[slice, slice, slice]


def box_around(
    index: Sequence[int], reach_mm: float, voxel_size_mm: Sequence[float], shape: Sequence[int]
) -> Box:
    """The box within `reach_mm` of a voxel, cut at the grid's edges."""
    out = []
    for i, v, n in zip(index, voxel_size_mm, shape, strict=True):
        r = int(np.ceil(reach_mm / v))
        out.append(slice(max(int(i) - r, 0), min(int(i) + r + 1, int(n))))
    return out[0], out[1], out[2]


def curvatures(
    volume: Volume, index: Sequence[int], scale_mm: float, voxel_size_mm: Sequence[float]
) -> np.ndarray:
    r"""Eigenvalues of the Hessian at a voxel, by size, smallest first, times :math:`\sigma^2`.

    Parameters
    ----------
    volume : (x, y, z) float32
        A map.
    index : 3 int
        The voxel.
    scale_mm : float
        Width :math:`\sigma` of the Gaussian whose derivatives are taken.
    voxel_size_mm : 3 float
        Voxel size in mm.

    Returns
    -------
    (3,) float64
        In units of the map. Of a ball all three are alike, of a tube the first is near 0, of a sheet the second too
        (Frangi et al. 1998, doi:10.1007/BFb0056195).
    """
    voxel = np.asarray(voxel_size_mm, float)
    box = box_around(index, 4 * scale_mm + float(voxel.max()), voxel_size_mm, volume.shape)
    at = tuple(int(i) - b.start for i, b in zip(index, box, strict=True))
    patch = volume[box].astype(np.float64)
    sigma = np.maximum(scale_mm / voxel, 0.5)
    hessian = np.empty((3, 3))
    for a in range(3):
        for b in range(a, 3):
            order = [0, 0, 0]
            order[a] += 1
            order[b] += 1
            part = ndimage.gaussian_filter(patch, sigma, order=order, mode="nearest", truncate=4.0)
            hessian[a, b] = hessian[b, a] = part[at] * sigma[a] * sigma[b]
    values = np.linalg.eigvalsh(hessian)
    return values[np.argsort(np.abs(values))]


def blobness(values: np.ndarray) -> float:
    r"""How ball-like curvatures are: :math:`|\lambda_1| / \sqrt{|\lambda_2 \lambda_3|}`, 1 for a ball, 0 for a tube; 0 as well if signs differ."""
    if not (np.all(values < 0) or np.all(values > 0)):
        return 0.0
    return float(abs(values[0]) / np.sqrt(abs(values[1] * values[2])))


def connected(above: Mask, seed: Sequence[int]) -> Mask:
    """The voxels of a small box that hang together (by faces and edges) with a seed in it."""
    parts, _ = ndimage.label(above, ndimage.generate_binary_structure(3, 2))
    number = parts[tuple(seed)]
    return (parts == number) if number else np.zeros_like(above)


def axes_mm(region: Mask, voxel_size_mm: Sequence[float]) -> np.ndarray:
    """Lengths in mm of the three axes of the ellipsoid with a region's second moments, longest first.

    The variance of a voxel itself is in, so that one voxel measures about its own size.
    """
    voxel = np.asarray(voxel_size_mm, float)
    points = np.argwhere(region) * voxel
    if len(points) == 0:
        return np.zeros(3)
    centred = points - points.mean(axis=0)
    covariance = centred.T @ centred / len(points) + np.diag(voxel**2 / 12)
    # A solid ellipsoid of semi-axis a has the variance a^2 / 5 along it.
    return 2 * np.sqrt(5 * np.linalg.eigvalsh(covariance)[::-1])
