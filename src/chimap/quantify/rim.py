"""Paramagnetic rims of multiple-sclerosis lesions, scored on given lesion masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.quantify._vesselness import box_around
from chimap.registry import as_mask, as_volume
from chimap.types import Mask, Volume

_SECTORS = 32
_LEAST_CORE = 8


@dataclass(frozen=True)
class Rim:
    """One lesion's rim. Susceptibilities in ppm.

    Attributes
    ----------
    label : int
        The lesion.
    volume_mm3 : float
    coverage : float
        Part of the lesion's directions in which the shell at its edge is more paramagnetic than its core and than the tissue
        around it by the least contrast. NaN where the lesion is too small.
    rim_core_ppm, rim_outside_ppm : float
        Mean of the shell less that of the core, and of the tissue around.
    radius_mm : float
        Where the shell lies: distance from the mask's surface, positive outside.
    rim : bool
        Coverage of two thirds or more.
    note : str
        Why there is no score.
    """

    label: int
    volume_mm3: float
    coverage: float
    rim_core_ppm: float
    rim_outside_ppm: float
    radius_mm: float
    rim: bool
    note: str = ""


def score_rims(
    chi: Volume,
    lesions: np.ndarray,
    mask: Mask,
    acq: Acquisition,
    *,
    contrast_ppm: float = 0.01,
    coverage: float = 2 / 3,
    around_mm: float = 3.0,
) -> list[Rim]:
    """Score each lesion of a mask (its connected parts) or label image by its paramagnetic rim.

    Parameters
    ----------
    chi : (x, y, z) float32
        Susceptibility in ppm, any reference.
    lesions : (x, y, z) int or bool
        Lesions, drawn on T2 or FLAIR images.
    mask : (x, y, z) bool
        Where `chi` is valid.
    acq : Acquisition
        Voxel size.
    contrast_ppm : float
        Least contrast of a direction's shell against core and surroundings.
    coverage : float
        Least part of the directions for a rim. The consensus of Bagnato et al. 2024, doi:10.1093/brain/awae013, asks for a
        rim along most of the lesion's edge, visible on more than one slice; here it is counted in 3-D.
    around_mm : float
        Thickness of the tissue around that is compared with.

    Returns
    -------
    list of Rim
        In the order of the labels.

    Raises
    ------
    InputError
        If shapes differ or there is no lesion.

    Notes
    -----
    Shells of one voxel at and around the mask's surface are tried, and the one with the largest mean is taken for all
    directions at once: a maximum taken direction by direction would find a rim in noise. Directions are 32 even sectors from the
    lesion's centre of mass. Thresholds are parameters of this program, not of the consensus.
    """
    chi = as_volume(chi, "chi", 3)
    mask = as_mask(mask, chi.shape)
    whole = np.rint(np.nan_to_num(np.asarray(lesions, np.float32))).astype(np.int32)
    if whole.shape != chi.shape:
        raise InputError(f"the lesion mask has shape {whole.shape} but chi {chi.shape}")
    if not whole.any():
        raise InputError("the lesion mask is empty", fix="Give a mask with lesions in it")
    if whole.max() == 1:
        whole, _ = ndimage.label(whole, ndimage.generate_binary_structure(3, 3))
    out = []
    for label, box in enumerate(ndimage.find_objects(whole), 1):
        if box is None:
            continue
        middle = [(b.start + b.stop) // 2 for b in box]
        half = max((b.stop - b.start) * v / 2 for b, v in zip(box, acq.voxel_size_mm, strict=True))
        wide = box_around(middle, half + around_mm + 3 * max(acq.voxel_size_mm), acq.voxel_size_mm, chi.shape)
        here = whole[wide] == label
        free = mask[wide] & ((whole[wide] == 0) | here)
        out.append(_score(label, chi[wide], here, free, acq.voxel_size_mm, contrast_ppm, coverage, around_mm))
    return out


def _score(
    label: int,
    chi: Volume,
    here: Mask,
    free: Mask,
    voxel: Sequence[float],
    contrast_ppm: float,
    least: float,
    around_mm: float,
) -> Rim:
    step = float(np.prod(voxel) ** (1 / 3))
    volume = float(here.sum() * np.prod(voxel))
    # Signed distance from the surface between voxels, positive outside.
    signed = ndimage.distance_transform_edt(~here, sampling=voxel) - ndimage.distance_transform_edt(
        here, sampling=voxel
    )
    signed = np.where(here, signed + step / 2, signed - step / 2)
    core = here & (signed < -2 * step)
    if core.sum() < _LEAST_CORE:
        nothing = float("nan")
        note = "too small: no core two voxels below the surface"
        return Rim(label, volume, nothing, nothing, nothing, nothing, False, note)
    middle = float(np.median(chi[core & free])) if (core & free).any() else float("nan")
    best, at, shell = -np.inf, 0.0, here
    for radius in (-1.5 * step, -0.75 * step, 0.0, 0.75 * step):
        ring = free & (np.abs(signed - radius) <= 0.5 * step)
        if ring.any() and (mean := float(chi[ring].mean(dtype=np.float64))) > best:
            best, at, shell = mean, radius, ring
    outside = free & ~here & (signed > at + step) & (signed <= at + step + around_mm)
    if not outside.any() or not np.isfinite(best):
        nothing = float("nan")
        return Rim(label, volume, nothing, nothing, nothing, nothing, False, "no valid tissue around it")
    beyond = float(np.median(chi[outside]))
    ways = _directions(_SECTORS)
    centre = np.argwhere(here).mean(axis=0)

    def sectors(region: Mask) -> tuple[np.ndarray, np.ndarray]:
        """Mean of chi by direction, and how many voxels."""
        arms = (np.argwhere(region) - centre) * np.asarray(voxel)
        nearest = np.argmax(arms @ ways.T, axis=1)
        count = np.bincount(nearest, minlength=_SECTORS)
        total = np.bincount(nearest, chi[region].astype(np.float64), _SECTORS)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan), count

    rim, count = sectors(shell)
    away, _ = sectors(outside)
    away = np.where(np.isfinite(away), away, beyond)
    known = count > 0
    good = known & (rim - middle >= contrast_ppm) & (rim - away >= contrast_ppm)
    part = float(good.sum() / known.sum())
    return Rim(label, volume, part, best - middle, best - beyond, float(at), part >= least)


def _directions(count: int) -> np.ndarray:
    """Unit vectors spread evenly over the sphere (golden spiral)."""
    n = np.arange(count) + 0.5
    z = 1 - 2 * n / count
    angle = np.pi * (1 + np.sqrt(5)) * n
    flat = np.sqrt(1 - z * z)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), z], -1)
