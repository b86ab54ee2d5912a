"""Affine transforms from files: ITK (ANTs, Slicer), FSL's FLIRT, or a plain matrix, as a map from scan to labels in mm."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from chimap import textfile
from chimap.errors import InputError

KINDS = ("auto", "itk", "fsl", "ras")
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_affine(
    path: str | Path,
    *,
    kind: str = "auto",
    invert: bool = False,
    labels_affine: np.ndarray,
    labels_shape: tuple[int, ...],
    affine: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Where a point of the scan lies in the label image, both in mm (RAS).

    Parameters
    ----------
    path : path
        ``itk``: ANTs' ``0GenericAffine.mat`` or a text file "Insight Transform File", of a registration whose fixed image was the scan.
        ``fsl``: 4 x 4 numbers by FLIRT with the label's image as ``-in`` and the scan as ``-ref``.
        ``ras``: 4 x 4 numbers that take mm (RAS) of the label image to mm of the scan.
    kind : {"auto", "itk", "fsl", "ras"}
        auto: ITK by its content; 4 x 4 numbers are FSL's if the name ends in .mat, else RAS.
    invert : bool
        The transform goes the other way round.
    labels_affine, labels_shape, affine, shape
        Grids of label image and scan (FSL's numbers depend on them).

    Returns
    -------
    (4, 4) float

    Raises
    ------
    InputError
        If the file is no affine of a known form.
    """
    path = Path(path)
    data = textfile.read_bytes(path)
    itk = _itk(data, path) if kind in ("auto", "itk") else None
    if itk is not None:
        matrix = np.linalg.inv(itk) if invert else itk
        return matrix
    if kind == "itk":
        raise InputError("this is no ITK transform", file=path, fix="Give its kind with --transform-kind")
    matrix = _numbers(data, path)
    if kind == "fsl" or (kind == "auto" and path.suffix == ".mat"):
        moving = labels_affine @ np.linalg.inv(_fsl(labels_affine, labels_shape))
        fixed = affine @ np.linalg.inv(_fsl(affine, shape))
        # FLIRT's numbers go between scaled voxel coordinates.
        if invert:
            matrix = np.linalg.inv(matrix)
        return moving @ np.linalg.inv(matrix) @ np.linalg.inv(fixed)
    return matrix if invert else np.linalg.inv(matrix)


def _fsl(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Voxel index to FSL's coordinates: mm along the axes, the first one turned round where the grid is right-handed."""
    size = np.linalg.norm(affine[:3, :3], axis=0)
    out = np.diag([*size, 1.0])
    if np.linalg.det(affine[:3, :3]) > 0:
        out = out @ np.array([[-1, 0, 0, shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    return out


def _itk(data: bytes, path: Path) -> np.ndarray | None:
    """Fixed to moving in RAS; None if this is no ITK file."""
    if data.startswith(b"#Insight Transform File"):
        text = data.decode("utf-8", "replace")
        kinds = re.findall(r"^Transform:\s*(\S+)", text, re.M)
        if len(kinds) != 1:
            raise InputError(f"the file holds {len(kinds)} transforms; one affine is expected", file=path)
        found = {
            k: [float(v) for v in line.split()]
            for k, line in re.findall(r"^(Parameters|FixedParameters):(.*)$", text, re.M)
        }
        name, parameters, centre = kinds[0], found.get("Parameters", []), found.get("FixedParameters", [])
    else:
        # MATLAB's version 4, which ITK writes, has a zero among its first bytes; text has none.
        if b"\0" not in data[:4] and not data.startswith(b"MATLAB"):
            return None
        try:
            values = loadmat(io.BytesIO(data))
        except (MatReadError, ValueError, TypeError, NotImplementedError, KeyError, IndexError, OSError):
            return None
        name = next((k for k in values if "Transform" in k), "")
        if not name or "fixed" not in values:
            return None
        parameters, centre = np.ravel(values[name]).tolist(), np.ravel(values["fixed"]).tolist()
    if len(parameters) != 12 or len(centre) < 3:
        raise InputError(
            f"the ITK transform {name} is no affine (it has {len(parameters)} parameters)",
            file=path,
            fix="Give an affine with 12 parameters",
        )
    out = np.eye(4)
    out[:3, :3] = np.reshape(parameters[:9], (3, 3))
    middle = np.asarray(centre[:3])
    out[:3, 3] = np.asarray(parameters[9:]) + middle - out[:3, :3] @ middle
    return _LPS @ out @ _LPS


def _numbers(data: bytes, path: Path) -> np.ndarray:
    try:
        matrix = np.loadtxt(io.StringIO(data.decode("utf-8"))) if data.strip() else np.empty(0)
    except (UnicodeDecodeError, ValueError) as e:
        raise InputError(
            "this is no transform that chimap can read", file=path, fix="Give an ITK affine, or 4 x 4 numbers"
        ) from e
    if (
        matrix.shape != (4, 4)
        or not np.isfinite(matrix).all()
        or abs(np.linalg.det(matrix)) < 1e-9
        or not np.allclose(matrix[3], [0, 0, 0, 1])
    ):
        raise InputError("the transform is not an invertible 4 x 4 affine matrix", file=path)
    return matrix
