"""What is joined: a stack (or repeat) with its geometry; the isotropic grid; and rigid motion between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from chimap.errors import InputError
from chimap.stacks._profile import PROFILES
from chimap.types import Volume

_SHEAR = 0.02


@dataclass(frozen=True)
class Stack:
    """One multi-echo scan of several of one head.

    Parameters
    ----------
    phase, magnitude : (x, y, z, echo) float32
        Phase in rad, as it comes (wrapped), and magnitude in arbitrary units.
    affine : (4, 4) float
        Voxel indices to scanner coordinates in mm, as in NIfTI. Its axes must be at right angles.
    profile : 3 str
        What a voxel is made of along each axis: "kspace" (phase- or frequency-encoded), "boxcar" or "gaussian" (slice-selective).
    """

    phase: Volume
    magnitude: Volume
    affine: np.ndarray
    profile: tuple[str, str, str] = ("kspace", "kspace", "kspace")

    def __post_init__(self) -> None:
        if np.ndim(self.phase) != 4 or np.shape(self.phase) != np.shape(self.magnitude):
            raise InputError(
                f"phase {np.shape(self.phase)} and magnitude {np.shape(self.magnitude)} are not both (x, y, z, echo)",
                fix="Give both of the same scan",
            )
        if any(p not in PROFILES for p in self.profile) or len(self.profile) != 3:
            raise InputError(f"the profile {self.profile} is not three of {', '.join(PROFILES)}")
        if not (np.isfinite(self.phase).all() and np.isfinite(self.magnitude).all()):
            raise InputError(
                "a stack has values that are not finite", fix="Repair it (chimap check says where)"
            )
        object.__setattr__(self, "affine", np.asarray(self.affine, float))
        axes(self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.phase.shape[0], self.phase.shape[1], self.phase.shape[2]

    @property
    def voxel_size_mm(self) -> tuple[float, float, float]:
        """Voxel size from the affine."""
        x, y, z = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    def echo(self, e: int) -> np.ndarray:
        """The complex image of an echo, complex64."""
        magnitude, phase = self.magnitude[..., e], self.phase[..., e]
        out = np.empty(self.shape, np.complex64)
        np.multiply(magnitude, np.cos(phase), out=out.real)
        np.multiply(magnitude, np.sin(phase), out=out.imag)
        return out


def axes(affine: np.ndarray) -> np.ndarray:
    """Directions of the voxel axes as orthonormal columns; InputError where the axes are not at right angles."""
    r = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(r.T @ r - np.eye(3)).max() > _SHEAR:
        raise InputError(
            "the voxel axes of a stack are not at right angles", fix="Give the images as reconstructed"
        )
    u, _, v = np.linalg.svd(r)
    return u @ v


@dataclass(frozen=True)
class Grid:
    """Shape, and affine to scanner coordinates in mm; of cubic voxels unless said otherwise."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def voxel_mm(self) -> float:
        """Edge of the voxels."""
        return float(np.linalg.norm(self.affine[:3, 0]))

    @property
    def centre_mm(self) -> np.ndarray:
        """The middle of the grid."""
        return self.affine[:3, :3] @ ((np.array(self.shape) - 1) / 2) + self.affine[:3, 3]

    def positions(self, axis: int) -> np.ndarray:
        """Places of the voxels along an axis in mm, from the first."""
        return np.arange(self.shape[axis]) * self.voxel_mm

    def resampled(self, voxel_mm: float) -> Grid:
        """Cubic voxels of another size over the same box, with the same middle."""
        size = self.voxel_mm
        shape = tuple(max(1, math.ceil(n * size / voxel_mm - 1e-6)) for n in self.shape)
        return _around(self.affine[:3, :3] / size, self.centre_mm, shape, voxel_mm)


def isotropic(stack: Stack, voxel_mm: float) -> Grid:
    """Cubic voxels along the axes of a stack, over its field of view."""
    extent = [n * v for n, v in zip(stack.shape, stack.voxel_size_mm, strict=True)]
    shape = tuple(max(1, math.ceil(e / voxel_mm - 1e-6)) for e in extent)
    centre = stack.affine[:3, :3] @ ((np.array(stack.shape) - 1) / 2) + stack.affine[:3, 3]
    return _around(axes(stack.affine), centre, shape, voxel_mm)


def _around(directions: np.ndarray, centre: np.ndarray, shape: Sequence[int], voxel_mm: float) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = directions * voxel_mm
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


@dataclass(frozen=True)
class Motion:
    """Where the head lies in a scan, against the first one: turned about `centre_mm`, then shifted.

    `shift_mm` and `turn_deg` (a rotation vector) are along the scanner's axes.
    """

    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def matrix(self) -> np.ndarray:
        """(4, 4): from a point's place in the first scan to its place in this one, mm."""
        out = np.eye(4)
        out[:3, :3] = Rotation.from_rotvec(np.deg2rad(self.turn_deg)).as_matrix()
        centre = np.asarray(self.centre_mm)
        out[:3, 3] = centre + np.asarray(self.shift_mm) - out[:3, :3] @ centre
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain lists."""
        names = ("shift_mm", "turn_deg", "centre_mm")
        return {name: [round(float(v), 4) for v in getattr(self, name)] for name in names}
