"""Maps of one scan in the frame of another scan of the same head: interpolated once, B0 turned with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from chimap.types import Mask, Volume

ORDER = 5
"""Order of the splines: nearly a sinc, with less ringing; a cubic one would smooth what is a few voxels wide."""


def resample(
    volume: Volume,
    mask: Mask,
    affine: np.ndarray,
    frame: np.ndarray,
    shape: Sequence[int],
    motion: np.ndarray | None = None,
    *,
    order: int = ORDER,
) -> tuple[Volume, Mask]:
    """A map and its mask on another grid, after the head's motion is undone.

    Parameters
    ----------
    volume, mask : (x, y, z)
        Values outside the mask are not used: those of the nearest voxel inside stand for them.
    affine : (4, 4)
        Of `volume`, voxel to mm.
    frame, shape
        Affine and shape of the grid to make.
    motion : (4, 4), optional
        From a point of the head in the new frame to where it is in `volume`, both in mm (`Registration.matrix`).
    order : int
        Of the splines, 1 to 5.

    Returns
    -------
    (x, y, z) float32, (x, y, z) bool
        The map, 0 outside the mask, and the mask: where all eight voxels around lie inside, since a rim that is half made up
        misleads more than one that is left out.

    Notes
    -----
    Where nothing moves and the grids agree, the values come back as they are.
    """
    matrix = np.linalg.inv(affine) @ (np.eye(4) if motion is None else motion) @ frame
    shape = tuple(int(n) for n in shape)
    if shape == volume.shape and np.allclose(matrix, np.eye(4), atol=1e-6):
        return (volume * mask).astype(np.float32), mask.copy()
    at = matrix[:3, :3], matrix[:3, 3]
    share = ndimage.affine_transform(mask.astype(np.float32), *at, output_shape=shape, order=1)
    inside = share > 0.999
    index = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    filled = np.where(mask, volume, volume[tuple(index)]).astype(np.float32)
    del index
    out = ndimage.affine_transform(filled, *at, output_shape=shape, order=order, mode="nearest")
    out *= inside
    return out.astype(np.float32, copy=False), inside


def b0_in_frame(
    b0_dir: Sequence[float], affine: np.ndarray, frame: np.ndarray, motion: np.ndarray | None = None
) -> tuple[float, float, float]:
    """The direction of B0 of a scan along the voxel axes of another frame, in which the head does not move.

    `b0_dir` is along the voxel axes of `affine`; the other arguments are those of `resample`.
    """
    r = np.eye(3) if motion is None else motion[:3, :3]
    b = _axes(frame).T @ r.T @ _axes(affine) @ np.asarray(b0_dir, float)
    b /= np.linalg.norm(b)
    b[np.abs(b) < 1e-9] = 0.0
    return float(b[0]), float(b[1]), float(b[2])


def _axes(affine: np.ndarray) -> np.ndarray:
    """Unit vectors of the voxel axes in mm coordinates, as columns."""
    return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
