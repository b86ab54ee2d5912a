"""Which way up: arrays turned to x right, y front, z up by their affine, without resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Orientation:
    """The turn from an array's own axes to the nearest of right, front, up.

    Oblique scans stay on their own grid: pictures are slices of the array, labelled by the nearest direction.
    """

    shape: tuple[int, int, int]
    codes: np.ndarray
    array_affine: np.ndarray

    @classmethod
    def of(cls, affine: np.ndarray, shape: tuple[int, ...]) -> Orientation:
        """From a (4, 4) affine in mm and the shape of the arrays it belongs to."""
        affine = np.asarray(affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
            raise ValueError(f"not an invertible 4 x 4 affine: {affine!r}")
        x, y, z = shape
        return cls((int(x), int(y), int(z)), io_orientation(affine), affine)

    def turn(self, volume: np.ndarray) -> np.ndarray:
        """A view of the array with axes right, front, up."""
        if volume.shape != self.shape:
            raise ValueError(f"a map of shape {volume.shape} on a grid of {self.shape}")
        return np.asarray(apply_orientation(volume, self.codes))

    @property
    def to_index(self) -> np.ndarray:
        """(4, 4): index in the turned array to index in the array as stored."""
        return np.asarray(inv_ornt_aff(self.codes, self.shape))

    def turned_index(self, stored: tuple[int, int, int]) -> tuple[int, int, int]:
        """The index in the turned array of a voxel of the array as stored."""
        i, j, k, _ = np.rint(np.linalg.inv(self.to_index) @ (*stored, 1))
        return int(i), int(j), int(k)

    @property
    def affine(self) -> np.ndarray:
        """(4, 4): index in the turned array to mm."""
        return self.array_affine @ self.to_index

    @property
    def voxel_mm(self) -> np.ndarray:
        """(3,) sizes along the turned axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def tilt_deg(self) -> float:
        """The largest angle between a turned axis and the direction that it is labelled with."""
        cosines = np.diag(self.affine)[:3] / self.voxel_mm
        return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))


def bounding_box(mask: np.ndarray, margin: tuple[int, int, int] = (0, 0, 0)) -> Box | None:
    """The smallest box of the true voxels, widened by `margin` voxels; None if there are none."""
    slices = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return None
        low = max(int(hit[0]) - margin[axis], 0)
        slices.append(slice(low, min(int(hit[-1]) + 1 + margin[axis], mask.shape[axis])))
    return slices[0], slices[1], slices[2]


def centre_index(mask: np.ndarray) -> tuple[int, int, int]:
    """The centre of mass of a mask, as an index; the middle of the array if it is empty."""
    index = []
    for axis in range(3):
        weight = mask.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.int64)
        total = weight.sum()
        middle = (weight * np.arange(weight.size)).sum() / total if total else (weight.size - 1) / 2
        index.append(round(float(middle)))
    return index[0], index[1], index[2]
