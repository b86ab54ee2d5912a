"""Label images, the names of their labels, and tables of regions as files."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chimap import textfile
from chimap.errors import InputError
from chimap.io import tables
from chimap.io.nifti import load_volume, read_header
from chimap.io.whole import whole_numbers
from chimap.pipeline.transforms import read_affine
from chimap.quantify.labels import FREESURFER, looks_like_freesurfer
from chimap.quantify.regions import resample_labels

COLUMNS: dict[str, dict[str, str]] = {
    "label": {"Description": "Number in the label image"},
    "name": {"Description": "Name of the region"},
    "voxels": {"Description": "Voxels of the region where the map is valid"},
    "volume_mm3": {"Description": "Volume of these voxels", "Units": "mm3"},
    "x_mm": {"Description": "Voxel of the region nearest to its centre of mass, to the right (RAS)", "Units": "mm"},
    "y_mm": {"Description": "The same, to the front", "Units": "mm"},
    "z_mm": {"Description": "The same, up", "Units": "mm"},
    "mean_ppb": {"Description": "Mean susceptibility, relative to the reference region", "Units": "ppb"},
    "median_ppb": {"Description": "Median susceptibility", "Units": "ppb"},
    "sd_ppb": {"Description": "Standard deviation over the voxels", "Units": "ppb"},
    "iqr_ppb": {"Description": "Interquartile range over the voxels", "Units": "ppb"},
    "se_ppb": {
        "Description": "Standard error of the mean from the noise map, the errors of voxels taken as independent: a lower limit",
        "Units": "ppb",
    },
    "eroded_voxels": {"Description": "Voxels left without the outer layer, which holds two tissues"},
    "eroded_mean_ppb": {"Description": "Mean susceptibility without the outer layer of voxels", "Units": "ppb"},
    "r2star_mean": {"Description": "Mean R2* of the voxels that have one", "Units": "1/s"},
    "truth_ppb": {"Description": "True mean, relative to the true mean of the whole brain", "Units": "ppb"},
    "error_ppb": {"Description": "mean_ppb minus truth_ppb", "Units": "ppb"},
    "iron_mg_kg": {
        "Description": "Iron by the calibration that this file names; only for grey matter",
        "Units": "mg per kg wet tissue",
    },
    "iron_sd_mg_kg": {
        "Description": "Standard deviation of iron from those of calibration and mean where they are known",
        "Units": "mg per kg wet tissue",
    },
    "iron_flag": {"Description": "below or above the range for which the calibration is taken as linear; n/a inside"},
    "iron_from": {
        "Description": "What iron was read from: the region without its outer layer of voxels, or where that leaves too few, all of it"
    },
    "normal_mg_kg": {
        "Description": "Normal iron at the subject's age, or of adults without an age (Hallgren and Sourander 1958)",
        "Units": "mg per kg wet tissue",
    },
    "normal_sd_mg_kg": {"Description": "Its standard deviation between adults", "Units": "mg per kg wet tissue"},
    "left_ppb": {"Description": "Mean susceptibility on the left", "Units": "ppb"},
    "right_ppb": {"Description": "Mean susceptibility on the right", "Units": "ppb"},
    "difference_ppb": {"Description": "Left minus right; does not depend on the reference", "Units": "ppb"},
    "difference_se_ppb": {"Description": "Standard error of the difference, a lower limit", "Units": "ppb"},
    "left_voxels": {"Description": "Voxels on the left"},
    "right_voxels": {"Description": "Voxels on the right"},
}  # fmt: skip
"""What the columns of tables mean, in the words of a BIDS data dictionary."""

_FIRST = ["label", "name", "voxels", "volume_mm3", "mean_ppb", "median_ppb", "sd_ppb", "iqr_ppb"]


def label_names(path: Path, table: Path | None = None) -> dict[int, str]:
    """Names of the labels from `table`, or the one beside a label image or above (BIDS); {} without one.

    Raises
    ------
    InputError
        If there is a table, but not with the columns index and name, nor in FreeSurfer's form (number, name, colour).
    """
    table = table or table_beside(path)
    if table is None:
        return {}
    text = textfile.read_text(table)
    if table.suffix != ".tsv":
        rows = re.findall(r"^\s*(\d+)\s+(\S+)(?:\s+\d+){0,4}\s*$", text, re.M)
        if rows:
            return {int(n): name for n, name in rows}
    try:
        lines = csv.DictReader(text.splitlines(), delimiter="\t")
        return {int(float(r["index"])): str(r["name"] or r["index"]) for r in lines}
    except (KeyError, ValueError, TypeError, OverflowError, csv.Error) as e:
        raise InputError("the table of labels needs the columns index and name", file=table) from e


def table_beside(path: Path) -> Path | None:
    """The table with the names of a label image, beside it or above it (BIDS); None without one."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    suffix = stem.rpartition("_")[2]
    # BIDS lets the table lie further up, for all subjects of the data set.
    folders = [path.absolute().parent, *list(path.absolute().parents)[1:4]]
    beside = [path.with_name(f"{stem}.tsv"), *(f / f"{suffix}.tsv" for f in folders)]
    return next((p for p in beside if p.is_file()), None)


def load_labels(
    path: Path,
    shape: tuple[int, ...],
    affine: np.ndarray,
    *,
    table: Path | None = None,
    transform: Path | None = None,
    kind: str = "auto",
    invert: bool = False,
) -> tuple[np.ndarray, dict[int, str], str]:
    """A label image on the grid of the scan, the names of its labels, and what had to be done to it.

    Parameters
    ----------
    path : path
        Label image.
    shape, affine
        Grid of the scan.
    table : path, optional
        Names of the labels; by default what `label_names` finds. Without any, numbers that look like FreeSurfer's get
        its names.
    transform, kind, invert
        Affine that brings the labels to the scan, see `chimap.pipeline.transforms.read_affine`. Without one, images on
        different grids are taken as aligned in mm.

    Returns
    -------
    labels : (x, y, z) int32
    names : dict
    note : str
        "" where the image was taken as it is.
    """
    volume, own = load_volume(path, ndim=3)
    volume = whole_numbers(volume, path)
    size = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).min()
    same = volume.shape == tuple(shape) and np.abs(own - affine).max() < 0.01 * size
    note = ""
    if transform is not None:
        across = read_affine(
            transform, kind=kind, invert=invert, labels_affine=own, labels_shape=volume.shape, affine=affine, shape=shape
        )  # fmt: skip
        labels = resample_labels(volume, own, shape, affine, across)
        note = f"labels were brought to the scan by {transform.name}, nearest voxel"
    elif same or (volume.shape == tuple(shape) and read_header(path).codes == (0, 0)):
        labels = volume
        if not same:
            note = (
                "the label image has no orientation in its header; its voxels were taken as those of the scan"
            )
    else:
        labels = resample_labels(volume, own, shape, affine)
        note = "labels are on another grid; they were brought to the scan by the positions in both headers, nearest voxel"
    if not labels.any():
        raise InputError(
            "no label lies in the scan",
            file=path,
            fix="Check the alignment, or give the affine that brings the labels to the scan",
        )
    names = label_names(path, table)
    if not names and looks_like_freesurfer(np.unique(labels)):
        names = dict(FREESURFER)
    return labels, names, note


def scan_grid(path: str | Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of an image, from its header."""
    header = read_header(path)
    return header.shape[:3], header.affine


def as_tsv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table with tabs, columns that some row has; n/a where a value is missing."""
    columns = [c for c in COLUMNS if any(c in r for r in rows)] or _FIRST
    return tables.tsv(rows, columns)


def dictionary(rows: Sequence[Mapping[str, Any]], reference: str, **facts: Any) -> dict[str, Any]:
    """The JSON that goes with a table: what each column means, the reference, and other facts."""
    columns = {c: about for c, about in COLUMNS.items() if any(c in r for r in rows)}
    return {**columns, "Reference": reference, **facts}
