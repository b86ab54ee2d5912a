"""What is read off a susceptibility tensor: mean, anisotropy, principal direction, its angle to B0, and colours for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.numerics.tensor import directions_of, to_matrix
from chimap.registry import as_mask, as_volume, inside
from chimap.types import Mask, Volume

DELTA_CHI_PPM = 0.012
"""Anisotropy that the correction of a single scan assumes, susceptibility along the fibres less that across. Cautious: a torque balance found
0.0136 to 0.0192 ppm in excised spinal cord (van Gelderen et al. 2015, doi:10.1002/mrm.25524)."""


@dataclass(frozen=True)
class TensorMaps:
    """Maps of a tensor, 0 outside the mask.

    Attributes
    ----------
    mean_ppm : (x, y, z) float32
        Mean of the three eigenvalues, which does not depend on any direction.
    anisotropy_ppm : (x, y, z) float32
        Largest eigenvalue less the mean of the other two; never negative, and above 0 where there is noise alone.
    eigenvalues_ppm : (x, y, z, 3) float32
        Largest first.
    direction : (x, y, z, 3) float32
        Unit eigenvector of the largest eigenvalue, along the voxel axes, its third component not negative. Myelinated fibres are least
        diamagnetic along themselves, so that in white matter this is their direction. 0 where the tensor is isotropic.
    """

    mean_ppm: Volume
    anisotropy_ppm: Volume
    eigenvalues_ppm: Volume
    direction: Volume


def tensor_maps(tensor: Any, mask: Any) -> TensorMaps:
    """Eigenvalues and principal direction of a tensor (x, y, z, 6) with components xx, xy, xz, yy, yz, zz, inside a mask."""
    t = np.asarray(tensor, np.float32)
    if t.ndim != 4 or t.shape[3] != 6:
        raise InputError(f"the tensor has shape {t.shape}; (x, y, z, 6) is expected")
    where = as_mask(mask, t.shape[:3])
    points = t[where]
    if not np.isfinite(points).all():
        raise InputError("the tensor has values inside the mask that are NaN or infinite")
    values, vectors = np.linalg.eigh(to_matrix(points.astype(np.float64)))
    first = vectors[:, :, 2] * np.where(vectors[:, 2:, 2] < 0, -1.0, 1.0)
    spread = values[:, 2] - values[:, 0]
    # Of an isotropic tensor rounding alone makes a direction.
    first[spread <= 1e-5 * np.abs(values).max(axis=1)] = 0
    mean, anisotropy = (np.zeros(where.shape, np.float32) for _ in range(2))
    mean[where] = values.mean(axis=1)
    anisotropy[where] = values[:, 2] - values[:, :2].mean(axis=1)
    eigenvalues, direction = (np.zeros((*where.shape, 3), np.float32) for _ in range(2))
    eigenvalues[where] = values[:, ::-1]
    direction[where] = first
    return TensorMaps(mean, anisotropy, eigenvalues, direction)


def fibre_angle(direction: Any, b0_dir: Sequence[float]) -> Volume:
    """Angle in degrees, 0 to 90, between fibres (x, y, z, 3) and B0, both along the voxel axes; 0 where there is no fibre."""
    v = np.asarray(direction, np.float32)
    norm = np.linalg.norm(v, axis=-1)
    h = directions_of(b0_dir)[0]
    cosine = np.abs(v @ h.astype(np.float32)) / np.where(norm > 1e-6, norm, 1)
    angle = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
    return np.where(norm > 1e-6, angle, 0).astype(np.float32)


def direction_colours(
    direction: Any, strength: Any, *, full: float, axes: np.ndarray | None = None
) -> np.ndarray:
    """Directions as colours: red right-left, green front-back, blue up-down, their brightness the strength.

    Parameters
    ----------
    direction : (x, y, z, 3)
        Unit vectors along the voxel axes.
    strength : (x, y, z)
        Anisotropy, for example.
    full : float
        Strength of full brightness, in its unit.
    axes : (3, 3), optional
        Voxel axes as columns in right, front, up (the affine's, normalised); without it the voxel axes are taken for these.

    Returns
    -------
    (x, y, z, 3) uint8
    """
    v = np.abs(np.asarray(direction, np.float32) @ (np.eye(3) if axes is None else axes).T.astype(np.float32))
    light = np.clip(np.asarray(strength, np.float32) / np.float32(full), 0, 1)
    return np.rint(255 * np.clip(v * light[..., None], 0, 1)).astype(np.uint8)


def cylindrical_tensor(axis: Any, delta_chi: Any, mean: Any = None) -> Volume:
    """The tensor ``mean I + delta_chi (v v^T - I/3)``, (x, y, z, 6), of fibres v (x, y, z, 3); isotropic where v is 0.

    `delta_chi` is one number or a map in ppm, `mean` a map in ppm (0 without it).
    """
    v = np.asarray(axis, np.float32)
    norm = np.linalg.norm(v, axis=-1)
    here = norm > 1e-6
    v = (v / np.where(here, norm, 1)[..., None]).astype(np.float32)
    delta = np.where(here, np.asarray(delta_chi, np.float32), np.float32(0))
    base = np.asarray(0 if mean is None else mean, np.float32) - delta / 3
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    parts = [
        delta * x * x + base,
        delta * x * y,
        delta * x * z,
        delta * y * y + base,
        delta * y * z,
        delta * z * z + base,
    ]
    return np.stack(parts, axis=-1).astype(np.float32)


def correct_orientation(
    chi: Any, axis: Any, mask: Any, b0_dir: Sequence[float], *, delta_chi_ppm: Any = DELTA_CHI_PPM
) -> Volume:
    r"""Mean susceptibility of white matter from a map of a single head position, where fibre directions are known.

    A map made for one direction h of B0 shows about :math:`h^T X h = \bar\chi + \Delta\chi\,(\cos^2\theta - 1/3)`; the second term is
    taken off.

    Parameters
    ----------
    chi : (x, y, z) float32
        Susceptibility in ppm.
    axis : (x, y, z, 3) float32
        Fibre directions along the voxel axes; 0 where there is nothing to correct.
    mask : (x, y, z) bool
    b0_dir : 3 float
        B0 along the voxel axes.
    delta_chi_ppm : float or (x, y, z) float32
        Anisotropy in ppm, perhaps scaled with fractional anisotropy.

    Returns
    -------
    (x, y, z) float32
        In ppm, 0 outside the mask.

    Notes
    -----
    An approximation: the field of an anisotropic object is not that of the isotropic one with the same :math:`h^T X h`. Where the local field is
    at hand, take `chimap.numerics.tensor.tensor_field` of ``cylindrical_tensor(axis, delta_chi_ppm)`` off it before the inversion. Anisotropy
    differs between tracts and people, and the microstructure of white matter shifts the frequency with its angle too. Li et al. 2012,
    doi:10.1016/j.neuroimage.2012.04.042.
    """
    volume = as_volume(chi, "chi", 3)
    where: Mask = as_mask(mask, volume.shape)
    volume = inside(volume, where, "chi")
    v = np.where(where[..., None], np.asarray(axis, np.float32), np.float32(0))
    norm2 = (v * v).sum(axis=-1)
    cosine2 = (v @ directions_of(b0_dir)[0].astype(np.float32)) ** 2 / np.where(norm2 > 1e-12, norm2, 1)
    shift = np.asarray(delta_chi_ppm, np.float32) * (cosine2 - np.float32(1 / 3))
    return np.where(norm2 > 1e-12, volume - shift, volume).astype(np.float32)
