"""Vials of a phantom: found in the magnitude as cylinders, or taken from labels, and what a map says in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.types import Mask, Volume

_MIDDLE = 0.3
"""Share of the object along the vials' axis, around its middle, that the search looks at."""


@dataclass(frozen=True)
class Vials:
    """Upright cylinders.

    Attributes
    ----------
    labels : (x, y, z) int32
        1 ... N inside the vials, 0 elsewhere.
    axis : int
        Voxel axis that the vials stand along.
    centre_mm : (N, 3) float
        Middle of each vial in mm from the centre of voxel (0, 0, 0), along the voxel axes.
    radius_mm, length_mm : (N,) float
        Radius from the cross-section's area, and length.
    """

    labels: np.ndarray
    axis: int
    centre_mm: np.ndarray
    radius_mm: np.ndarray
    length_mm: np.ndarray

    @property
    def count(self) -> int:
        """Number of vials."""
        return len(self.radius_mm)


def find_vials(
    magnitude: Volume,
    mask: Mask,
    voxel_size_mm: Sequence[float],
    *,
    count: int | None = None,
    diameter_mm: tuple[float, float] = (5.0, 45.0),
) -> Vials:
    """Find the vials of a phantom in its magnitude: round cross-sections that stand out from what is around them.

    A smooth surface (second-order polynomial, outliers left out) is fitted to the magnitude of a stack of slices in the
    middle of the object; what differs from it (the content of a vial or its wall), closed and filled, is kept where it is round
    and of the right size. The voxel axis that shows the most vials wins. Numbers go round the phantom's middle, from the
    first of the two axes across towards the second.

    Parameters
    ----------
    magnitude : (x, y, z) float32
        Magnitude, best of the first echo or all echoes combined.
    mask : (x, y, z) bool
        The object: container with vials.
    voxel_size_mm : 3 float
        Voxel size in mm.
    count : int, optional
        How many vials there are. Default: as many as are found.
    diameter_mm : (float, float)
        Smallest and largest diameter of a vial.

    Returns
    -------
    Vials

    Raises
    ------
    InputError
        If none, or fewer than `count`, are found.

    Notes
    -----
    Vials have to stand along a voxel axis to within about five degrees, be one to a cross-section, and differ from what is around by
    content or wall. Anything else is a case for a label image.
    """
    best: list[tuple[np.ndarray, float]] = []
    best_axis = 2
    for axis in (2, 1, 0):
        found = _discs(magnitude, mask, voxel_size_mm, axis, diameter_mm)
        if sum(q for _, q in found) > sum(q for _, q in best) + 1e-9:
            best, best_axis = found, axis
    if count is not None:
        best = sorted(best, key=lambda d: -d[1])[:count]
    if not best or (count is not None and len(best) < count):
        raise InputError(
            f"{len(best) or 'no'} vials were found in the magnitude" + (f", not {count}" if count else ""),
            fix="Check the mask and the range of diameters, or give a label image of the vials",
        )
    return _upright([disc for disc, _ in best], magnitude, mask, voxel_size_mm, best_axis)


def vials_from_labels(labels: np.ndarray, voxel_size_mm: Sequence[float]) -> Vials:
    """Vials from a label image; the axis is the one along which the labels reach furthest.

    Raises
    ------
    InputError
        If there is no label.
    """
    numbers = [int(n) for n in np.unique(labels) if n > 0]
    if not numbers:
        raise InputError("the label image has no label above 0", fix="Give one number for each vial")
    out = np.zeros(labels.shape, np.int32)
    size = np.asarray(voxel_size_mm, float)
    centres, extents, volumes = [], [], []
    for n, number in enumerate(numbers, 1):
        here = labels == number
        out[here] = n
        index = np.nonzero(here)
        centres.append([(i.min() + i.max()) / 2 for i in index] * size)
        extents.append([i.max() - i.min() + 1 for i in index] * size)
        volumes.append(len(index[0]) * float(size.prod()))
    axis = int(np.argmax(np.median(extents, axis=0)))
    length = np.asarray(extents)[:, axis]
    radius = np.sqrt(np.asarray(volumes) / (math.pi * length))
    return Vials(out, axis, np.asarray(centres), radius, length)


def measure(
    chi_ppm: Volume,
    vials: Vials,
    mask: Mask,
    voxel_size_mm: Sequence[float],
    *,
    erode_mm: float = 2.0,
) -> list[dict[str, Any]]:
    """Susceptibility of each vial against the water around it, as one dict a vial.

    Only the core counts: voxels at least `erode_mm` and, unless that is 0, a voxel from the vial's surface, in the middle 60 % of its length. The water is what
    lies in the same slices, 2 voxels to 8 mm off any vial.

    Returns
    -------
    list of dict
        ``vial, mean_ppb, median_ppb, sd_ppb, voxels, radius_mm, x_mm, y_mm, z_mm`` and, the same for all, ``water_ppb, water_voxels``.
        Values are relative to the water's mean; without water (label 0 nowhere near) they are the map's own, and
        ``water_voxels`` is 0.

    Raises
    ------
    InputError
        If a vial has no core inside the mask.
    """
    size = np.asarray(voxel_size_mm, float)
    free = ndimage.distance_transform_edt(vials.labels == 0, sampling=size)
    deep = ndimage.distance_transform_edt(vials.labels > 0, sampling=size)
    along = np.arange(chi_ppm.shape[vials.axis]) * size[vials.axis]
    shape = [-1 if a == vials.axis else 1 for a in range(3)]
    # The outermost voxels hold two things, whatever their size.
    least = max(erode_mm, float(size.max())) if erode_mm > 0 else 0.0
    cores = []
    slices = np.zeros(chi_ppm.shape[vials.axis], bool)
    for n in range(vials.count):
        near = np.abs(along - vials.centre_mm[n, vials.axis]) <= max(
            0.3 * vials.length_mm[n], size[vials.axis]
        )
        core = (vials.labels == n + 1) & mask & (deep > least) & near.reshape(shape)
        if not core.any():
            raise InputError(
                f"vial {n + 1} has no voxel more than {erode_mm:g} mm inside that lies in the mask",
                fix="Give a mask that holds the vials, or erode them less",
            )
        cores.append(core)
        slices |= near
    water = mask & (free > 2 * size.max()) & (free <= max(8.0, 4 * size.max())) & slices.reshape(shape)
    level = float(chi_ppm[water].mean(dtype=np.float64)) if water.any() else 0.0
    rows = []
    for n, core in enumerate(cores):
        v = (chi_ppm[core].astype(np.float64) - level) * 1000
        rows.append(
            {
                "vial": n + 1,
                "mean_ppb": float(v.mean()),
                "median_ppb": float(np.median(v)),
                "sd_ppb": float(v.std()),
                "voxels": int(core.sum()),
                "radius_mm": float(vials.radius_mm[n]),
                **{f"{a}_mm": float(c) for a, c in zip("xyz", vials.centre_mm[n])},
                "water_ppb": 1000 * level,
                "water_voxels": int(water.sum()),
            }
        )
    return rows


def _discs(
    magnitude: Volume, mask: Mask, voxel: Sequence[float], axis: int, diameter: tuple[float, float]
) -> list[tuple[np.ndarray, float]]:
    """Round areas in the mean over the middle slices across `axis`, with their roundness (at most 1)."""
    volume, inside = np.moveaxis(magnitude, axis, 0), np.moveaxis(mask, axis, 0)
    hit = np.flatnonzero(inside.any((1, 2)))
    if not hit.size:
        return []
    middle, half = (hit[0] + hit[-1]) / 2, max(_MIDDLE / 2 * (hit[-1] - hit[0] + 1), 1)
    part = slice(int(max(middle - half, 0)), int(middle + half) + 1)
    picture, area = volume[part].mean(0, dtype=np.float64), inside[part].mean(0) > 0.999
    d = [voxel[a] for a in range(3) if a != axis]
    area = ndimage.distance_transform_edt(np.pad(area, 1), sampling=d)[1:-1, 1:-1] > 1.5 * max(d)
    if area.sum() < 30:
        return []
    ratio, noise = _flattened(picture, area)
    odd = area & (np.abs(ratio - 1) > max(0.04, 5 * noise))
    # A wall that shows in part only is closed before it is filled.
    odd = ndimage.binary_fill_holes(ndimage.binary_closing(odd, iterations=1) & area)
    odd = ndimage.binary_opening(odd, iterations=1)
    parts, n = ndimage.label(odd)
    found = []
    for k in range(1, n + 1):
        disc = parts == k
        index = np.nonzero(disc)
        r = math.sqrt(disc.sum() * d[0] * d[1] / math.pi)
        p = [(i - i.mean()) * s for i, s in zip(index, d)]
        if len(p[0]) < 4:
            continue
        # Of all shapes of one area a disc has the least moment of inertia; a few voxels more at its rim do not matter to it.
        inertia = float((p[0] ** 2 + p[1] ** 2).mean())
        roundness = min(1.0, r * r / 2 / inertia)
        if diameter[0] <= 2 * r <= diameter[1] and roundness > 0.85:
            found.append((disc, float(roundness)))
    return found


def _flattened(picture: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture over its smooth background, and the background's noise after that (robust)."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in picture.shape), indexing="ij")
    design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    # The most frequent level is the water's; vials may take a good part of the area, so the fit starts from it.
    values = picture[area]
    counts, edges = np.histogram(values, bins=max(12, int(math.sqrt(values.size) / 2)))
    width = edges[1] - edges[0]
    mode = edges[int(counts.argmax())] + width / 2
    use = area & (np.abs(picture - mode) <= max(2 * width, 0.1 * mode))
    noise = 0.0
    ratio = picture / mode
    for _ in range(6):
        if use.sum() < 12:
            break
        fit = np.linalg.lstsq(design[use], picture[use], rcond=None)[0]
        ratio = picture / np.maximum(design @ fit, 1e-6 * mode)
        noise = 1.4826 * float(np.median(np.abs(ratio[use] - 1)))
        use = area & (np.abs(ratio - 1) <= max(0.03, 4 * noise))
    return ratio, noise


def _upright(
    discs: list[np.ndarray], magnitude: Volume, mask: Mask, voxel: Sequence[float], axis: int
) -> Vials:
    """Cylinders over round areas: their inner radius, and how far they reach along the axis."""
    volume = np.moveaxis(magnitude, axis, 0)
    across = [a for a in range(3) if a != axis]
    d = [voxel[a] for a in across]
    inside = np.moveaxis(mask, axis, 0)
    middles = np.array([[i.mean() for i in np.nonzero(disc)] for disc in discs])
    offset = middles - middles.mean(0)
    # The first vial is the one nearest to the first axis across.
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    order = np.argsort(np.mod(angle + 0.1, 2 * np.pi), kind="stable") if len(discs) > 1 else [0]
    labels = np.zeros(volume.shape, np.int32)
    every = np.any(discs, axis=0)
    centre, radius, length = [], [], []
    for n, k in enumerate(order, 1):
        disc = discs[k]
        hit = np.flatnonzero(inside[:, disc].mean(1) > 0.5)
        mid = (hit[0] + hit[-1]) // 2
        ring = ndimage.binary_dilation(disc, iterations=3) & ~ndimage.binary_dilation(every, iterations=1)
        core = ndimage.distance_transform_edt(disc, sampling=d)
        core = core > 0.5 * core.max()
        stack = volume[max(mid - 2, 0) : mid + 3].mean(0)
        level, outside = float(np.median(stack[core])), float(np.median(stack[ring])) if ring.any() else 0.0
        profile = volume[:, core].mean(1)
        if abs(level - outside) > 0.1 * max(level, outside):
            # Inside as long as the core is nearer to its own level than to what is around, slice by slice.
            same = np.abs(profile - level) < 0.5 * abs(level - outside)
            here = disc & (np.abs(stack - level) < 0.5 * abs(level - outside))
        else:
            same = np.abs(profile - level) < 0.3 * level
            here = disc
        same &= np.isin(np.arange(len(same)), hit)
        runs, _ = ndimage.label(same)
        if not runs[mid]:
            runs[mid] = runs.max() + 1
        span = np.flatnonzero(runs == runs[mid])
        here = ndimage.binary_fill_holes(here)
        block = labels[span[0] : span[-1] + 1]
        block[:, here] = n
        place = np.empty(3)
        place[axis] = (span[0] + span[-1]) / 2 * voxel[axis]
        place[across] = [i.mean() * s for i, s in zip(np.nonzero(here), d)]
        centre.append(place)
        radius.append(math.sqrt(here.sum() * d[0] * d[1] / math.pi))
        length.append(len(span) * voxel[axis])
    return Vials(
        np.ascontiguousarray(np.moveaxis(labels, 0, axis)),
        axis,
        np.asarray(centre),
        np.asarray(radius),
        np.asarray(length),
    )
