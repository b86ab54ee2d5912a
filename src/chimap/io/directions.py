"""The direction of B0 in several positions of one head: from a table, from sidecars, or from the headers of the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chimap import textfile
from chimap.errors import InputError
from chimap.io.geometry import b0_direction
from chimap.io.nifti import load_volume, read_header

KEY = "B0_dir"
"""In a sidecar: three numbers along the voxel axes."""
FRAMES = ("voxel", "fsl", "world")
"""Conventions of a file of vectors, see `voxel_vectors`."""


def read_directions(path: str | Path) -> np.ndarray:
    """Directions from a text file: a row a position, its last three numbers those of the vector; (n, 3), as they are.

    Separated by blanks, tabs or commas. Empty lines, lines after # and a first line of names are left out.

    Raises
    ------
    InputError
        If a row does not end in three finite numbers.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(textfile.read_text(path).splitlines(), 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = [float(w) for w in words[-3:]]
        except ValueError:
            row = []
        if len(row) == 3 and np.isfinite(row).all():
            rows.append(row)
        elif rows or number > 1:
            raise InputError(
                f"line {number} does not end in three numbers", file=path, fix="Give x y z of B0 on each line"
            )
    if not rows:
        raise InputError("there is no direction in this file", file=path, fix="Give x y z of B0 on each line")
    return np.array(rows)


def directions_of_files(paths: Sequence[str | Path]) -> tuple[np.ndarray, str]:
    """Directions for fields in one frame, along its voxel axes, and in words where they come from.

    The sidecar's ``B0_dir`` where all fields have one; else the affine of each header, where these differ (images that were turned
    with the head keep its grid in an affine of their own).

    Raises
    ------
    InputError
        If only some have a sidecar with a direction, or all headers have the same affine.
    """
    found = []
    for path in map(Path, paths):
        sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
        values = textfile.read_json(sidecar) if sidecar.is_file() else {}
        given = values.get(KEY) if isinstance(values, dict) else None
        if given is not None:
            try:
                vector = np.asarray(given, dtype=float)
            except (TypeError, ValueError):
                vector = np.zeros(0)
            if vector.shape != (3,) or not np.isfinite(vector).all():
                raise InputError(f"{KEY} is {given!r}; three numbers are expected", file=sidecar)
            found.append(vector)
    if len(found) == len(paths):
        return np.array(found), "sidecars"
    fix = f"Give --directions TABLE with a line x y z for each field, or {KEY} in the sidecar of each"
    if found:
        raise InputError(f"{len(found)} of {len(paths)} fields have {KEY} in their sidecar", fix=fix)
    directions = np.array([b0_direction(read_header(p).affine) for p in paths])
    if np.ptp(directions, axis=0).max() < 1e-3:
        raise InputError(
            "all fields have the same orientation in their header, so that it does not tell the directions of B0",
            file=paths[0], fix=fix,
        )  # fmt: skip
    return directions, "headers"


def voxel_vectors(vectors: np.ndarray, affine: np.ndarray, frame: str) -> np.ndarray:
    """Vectors (..., 3) of a file in other conventions, along the voxel axes of its `affine`.

    Parameters
    ----------
    frame : {"voxel", "fsl", "world"}
        Along the voxel axes; along them as FSL has it, the first one turned round where the affine's determinant is positive; or along right,
        front, up (MRtrix).
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if frame == "world":
        return (vectors @ axes).astype(np.float32)
    if frame == "fsl" and np.linalg.det(axes) > 0:
        return vectors * np.array([-1, 1, 1], np.float32)
    return vectors


def read_vectors(path: str | Path, shape: Sequence[int], frame: str) -> np.ndarray:
    """Vectors (x, y, z, 3) of a file on a grid of `shape`, along its voxel axes; 0 for what is no number.

    Raises
    ------
    InputError
        If the file has another shape.
    """
    data, affine = load_volume(path, ndim=4)
    expected = (*(int(n) for n in shape[:3]), 3)
    if data.shape != expected:
        raise InputError(
            f"the shape {data.shape} is not {expected}",
            file=path,
            fix="Give three components a voxel, on the same grid",
        )
    return voxel_vectors(np.nan_to_num(data), affine, frame)
