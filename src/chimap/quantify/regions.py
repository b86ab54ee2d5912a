"""What a map says about labelled regions: one row a region, in ppb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.types import Mask, Volume

_CURVE = 48
"""Points of the curve of a violin."""


def region_rows(
    chi_ppm: Volume,
    labels: np.ndarray,
    mask: Mask,
    voxel_size_mm: tuple[float, float, float],
    names: Mapping[int, str] | None = None,
    *,
    r2star: Volume | None = None,
    noise_ppm: Volume | None = None,
    truth_ppm: Volume | None = None,
    affine: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Susceptibility of every label inside `mask`, as one dict a region.

    Parameters
    ----------
    chi_ppm : (x, y, z) float32
        Susceptibility in ppm.
    labels : (x, y, z) int
        0 is no region.
    mask : (x, y, z) bool
        Where the map is valid.
    voxel_size_mm : 3 float
        Voxel size in mm.
    names : mapping, optional
        Label to name.
    r2star : (x, y, z) float32, optional
        R2* in 1/s; voxels with 0 have none.
    noise_ppm : (x, y, z) float32, optional
        Standard deviation of the susceptibility in ppm.
    truth_ppm : (x, y, z) float32, optional
        The true susceptibility; it is taken relative to its mean over `mask`, as the map is.
    affine : (4, 4), optional
        Voxel index to mm, for the place of each region.

    Returns
    -------
    list of dict
        ``label, name, voxels, volume_mm3, mean_ppb, median_ppb, sd_ppb, iqr_ppb``, and of the region without its outer layer
        of voxels ``eroded_voxels, eroded_mean_ppb`` (None where nothing is left). With R2* ``r2star_mean``, with noise ``se_ppb``, with a truth
        ``truth_ppb, error_ppb``, with an affine ``x_mm, y_mm, z_mm`` of the region's voxel that lies nearest to its centre
        of mass (which itself may lie outside); without these inputs the keys are missing. ``density`` is the curve of a violin: its two
        ends in ppb and the heights, highest 1.

    Raises
    ------
    InputError
        If maps and labels are not on one grid.

    Notes
    -----
    The outer layer are the voxels of which one of the six neighbours is of another region or invalid: they hold two tissues.

    The standard error of the mean is :math:`\\sqrt{\\sum_i \\sigma_i^2} / N`. It takes the errors of neighbours as independent.
    In susceptibility maps they are not, so it is a lower limit, and it knows nothing of bias.
    """
    for name, volume in (
        ("labels", labels),
        ("mask", mask),
        ("R2*", r2star),
        ("noise", noise_ppm),
        ("truth", truth_ppm),
    ):
        if volume is not None and volume.shape != chi_ppm.shape:
            raise InputError(
                f"{name} has shape {volume.shape} but the map {chi_ppm.shape}", fix="Give images on one grid"
            )
    use = mask & (labels != 0)
    if not use.any():
        return []
    present, index = np.unique(labels[use], return_inverse=True)
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index))[:-1]

    def split(values: np.ndarray) -> list[np.ndarray]:
        return np.split(values[order], ends)

    chi = split(1000 * chi_ppm[use].astype(np.float64))
    inner = split(inner_voxels(labels, mask)[use])
    rates = split(r2star[use]) if r2star is not None else None
    variance = split((1000 * noise_ppm[use].astype(np.float64)) ** 2) if noise_ppm is not None else None
    truth = None
    if truth_ppm is not None:
        zero = float(truth_ppm[mask].mean(dtype=np.float64))
        truth = split(1000 * (truth_ppm[use].astype(np.float64) - zero))
    place = [split(i) for i in np.nonzero(use)] if affine is not None else None
    volume_mm3 = float(np.prod(voxel_size_mm))
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(present.tolist()):
        values = chi[i]
        low, middle, high = (float(q) for q in np.percentile(values, (25, 50, 75)))
        core = values[inner[i]]
        row: dict[str, Any] = {
            "label": int(label),
            "name": (names or {}).get(int(label), f"label {int(label)}"),
            "voxels": values.size,
            "volume_mm3": round(values.size * volume_mm3, 3),
            "mean_ppb": round(float(values.mean()), 2),
            "median_ppb": round(middle, 2),
            "sd_ppb": round(float(values.std()), 2),
            "iqr_ppb": round(high - low, 2),
            "eroded_voxels": core.size,
            "eroded_mean_ppb": round(float(core.mean()), 2) if core.size else None,
        }
        if place is not None:
            middle_voxel = _nearest_to_centre(np.stack([p[i] for p in place], 1), voxel_size_mm)
            for axis, x in zip("xyz", (np.asarray(affine) @ (*middle_voxel, 1))[:3]):
                row[f"{axis}_mm"] = round(float(x), 1)
        if variance is not None:
            row["se_ppb"] = round(float(np.sqrt(variance[i].sum())) / values.size, 3)
        if rates is not None:
            known = rates[i][rates[i] > 0]
            row["r2star_mean"] = round(float(known.mean(dtype=np.float64)), 2) if known.size else None
        if truth is not None:
            row["truth_ppb"] = round(float(truth[i].mean()), 2)
            row["error_ppb"] = round(row["mean_ppb"] - row["truth_ppb"], 2)
        row["density"] = density(values)
        rows.append(row)
    return rows


def _nearest_to_centre(index: np.ndarray, voxel_size_mm: tuple[float, float, float]) -> np.ndarray:
    """Of voxels (n, 3) the one nearest to their centre of mass."""
    away = (index - index.mean(axis=0)) * np.asarray(voxel_size_mm)
    return np.asarray(index[int((away**2).sum(axis=1).argmin())])


def inner_voxels(labels: np.ndarray, mask: Mask) -> Mask:
    """Voxels whose six neighbours are of the same label and inside the mask."""
    valid = np.where(mask, labels, 0)
    inner = valid != 0
    for axis in range(3):
        same = np.diff(valid, axis=axis) == 0
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        inner[tuple(first)] &= same
        inner[tuple(last)] &= same
        for end in (0, -1):
            edge: list[Any] = [slice(None)] * 3
            edge[axis] = end
            inner[tuple(edge)] = False
    return inner


def density(values: np.ndarray) -> dict[str, list[float]] | None:
    """The smoothed distribution of values between their 0.5th and 99.5th percentile; None for fewer than 5."""
    if values.size < 5:
        return None
    low, high = (float(q) for q in np.percentile(values, (0.5, 99.5)))
    if high - low < 1e-6:
        return None
    counts, edges = np.histogram(values, bins=_CURVE, range=(low, high))
    quartiles = np.percentile(values, (25, 75))
    # Silverman's rule of thumb, in bins.
    spread = min(float(values.std()), float(quartiles[1] - quartiles[0]) / 1.34) or float(values.std())
    width = max(0.9 * spread * values.size**-0.2 / (edges[1] - edges[0]), 0.7)
    at = np.arange(_CURVE)
    kernel = np.exp(-0.5 * ((at[:, None] - at) / width) ** 2)
    curve = kernel @ counts / kernel.sum(axis=1)
    return {
        "ends_ppb": [round(low, 3), round(high, 3)],
        "height": [round(float(h), 4) for h in curve / curve.max()],
    }


def resample_labels(
    labels: np.ndarray,
    labels_affine: np.ndarray,
    shape: tuple[int, ...],
    affine: np.ndarray,
    to_labels: np.ndarray | None = None,
) -> np.ndarray:
    """Labels on another grid, by the nearest voxel.

    Parameters
    ----------
    labels : (i, j, k)
        Whole numbers.
    labels_affine, affine : (4, 4)
        Voxel index to mm, of the labels and of the wanted grid of `shape`.
    to_labels : (4, 4), optional
        Position of the wanted grid in mm (RAS) to the position in the label image; by default they are the same.

    Returns
    -------
    (x, y, z) int32
        0 outside the label image.
    """
    across = np.eye(4) if to_labels is None else np.asarray(to_labels, float)
    matrix = np.linalg.inv(labels_affine) @ across @ affine
    out = np.zeros(shape, np.int32)
    source = np.rint(labels).astype(np.int32)
    j, k = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    for i in range(shape[0]):
        index = []
        inside = np.ones(j.shape, bool)
        for row, size in zip(matrix[:3], source.shape, strict=True):
            # A hair above one half, so that rounding of exact halves does not depend on the axis.
            at = np.floor(row[0] * i + row[1] * j + row[2] * k + row[3] + 0.5 + 1e-6)
            inside &= (at >= 0) & (at < size)
            index.append(np.clip(at, 0, size - 1).astype(np.intp))
        out[i] = np.where(inside, source[tuple(index)], 0)
    return out
