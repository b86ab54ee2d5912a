"""Susceptibility of labelled regions, in ppb."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.types import Mask, Volume


def region_table(
    chi_ppm: Volume,
    labels: np.ndarray,
    mask: Mask,
    voxel_volume_mm3: float,
    names: Mapping[int, str] | None = None,
    truth_ppm: Volume | None = None,
) -> list[dict[str, Any]]:
    """Mean and SD of every label inside `mask`, as one dict a region.

    Parameters
    ----------
    chi_ppm : (x, y, z) float32
        Susceptibility in ppm.
    labels : (x, y, z) int
        0 is no region.
    mask : (x, y, z) bool
        Where the map is valid.
    voxel_volume_mm3 : float
        Volume of a voxel.
    names : mapping, optional
        Label to name.
    truth_ppm : (x, y, z) float32, optional
        The true susceptibility; it is taken relative to its mean over `mask`, as the map is.

    Returns
    -------
    list of dict
        ``label, name, voxels, volume_ml, mean_ppb, sd_ppb`` and, with a truth, ``truth_ppb, error_ppb``.
    """
    use = mask & (labels != 0)
    if not use.any():
        return []
    present, index = np.unique(labels[use], return_inverse=True)
    count = np.bincount(index)
    values = chi_ppm[use].astype(np.float64) * 1000
    mean = np.bincount(index, values) / count
    sd = np.sqrt(np.bincount(index, (values - mean[index]) ** 2) / count)
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(present.tolist()):
        rows.append(
            {
                "label": label,
                "name": (names or {}).get(label, f"label {label}"),
                "voxels": int(count[i]),
                "volume_ml": round(float(count[i]) * voxel_volume_mm3 / 1000, 4),
                "mean_ppb": round(float(mean[i]), 2),
                "sd_ppb": round(float(sd[i]), 2),
            }
        )
    if truth_ppm is not None:
        zero = float(truth_ppm[mask].mean(dtype=np.float64))
        true = 1000 * (np.bincount(index, truth_ppm[use].astype(np.float64)) / count - zero)
        for row, t in zip(rows, true):
            row["truth_ppb"] = round(float(t), 2)
            row["error_ppb"] = round(row["mean_ppb"] - row["truth_ppb"], 2)
    return rows


def label_names(path: Path) -> dict[int, str]:
    """Names of the labels from the table beside a label image or above (BIDS: columns index and name); {} without one.

    Raises
    ------
    InputError
        If there is a table, but it has no such columns.
    """
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    suffix = stem.rpartition("_")[2]
    # BIDS lets the table lie further up, for all subjects of the data set.
    folders = [path.absolute().parent, *list(path.absolute().parents)[1:4]]
    beside = [path.with_name(f"{stem}.tsv"), *(f / f"{suffix}.tsv" for f in folders)]
    table = next((p for p in beside if p.is_file()), None)
    if table is None:
        return {}
    with open(table, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    try:
        return {int(float(r["index"])): r["name"] for r in rows}
    except (KeyError, ValueError, TypeError) as e:
        raise InputError("the table of labels needs the columns index and name", file=table) from e


def as_tsv(rows: list[dict[str, Any]]) -> str:
    """The rows as a table with tabs."""
    columns = list(rows[0]) if rows else ["label", "name", "voxels", "volume_ml", "mean_ppb", "sd_ppb"]
    return "\n".join(["\t".join(columns), *("\t".join(str(r[c]) for c in columns) for r in rows)]) + "\n"


def csf_region(r2star: Volume, mask: Mask, voxel_size_mm: tuple[float, float, float]) -> Mask:
    """The fluid of the lateral ventricles: low R2* in the middle of the brain.

    Parameters
    ----------
    r2star : (x, y, z) float32
        R2* in 1/s.
    mask : (x, y, z) bool
        The brain.
    voxel_size_mm : 3 float
        Voxel size in mm.

    Returns
    -------
    Mask
        The three largest connected parts with R2* below 5/s within 30 mm of the brain's centre.

    Raises
    ------
    InputError
        If there is next to nothing (less than 0.2 ml).

    Notes
    -----
    Liu et al. 2018, doi:10.1002/mrm.26946 (MEDI+0).
    """
    centre = [float(c.mean()) for c in np.nonzero(mask)]
    axes = np.ogrid[tuple(slice(0, n) for n in mask.shape)]
    distance2 = sum(((a - c) * v) ** 2 for a, c, v in zip(axes, centre, voxel_size_mm, strict=True))
    candidates = mask & (r2star > 0) & (r2star < 5.0) & (distance2 < 30.0**2)
    parts, count = ndimage.label(candidates)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest = np.argsort(sizes)[::-1][:3]
    region = np.isin(parts, largest[sizes[largest] > 0])
    if region.sum() * float(np.prod(voxel_size_mm)) < 200:
        raise InputError("no CSF was found by its low R2*", fix="Give --reference whole or a mask file")
    return region
