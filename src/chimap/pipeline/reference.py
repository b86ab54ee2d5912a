"""Which voxels a reference means: a word, a label or a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chimap.errors import InputError
from chimap.io.nifti import load_volume
from chimap.quantify.csf import ventricles
from chimap.quantify.labels import find_labels, region_mask
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Region:
    """The voxels of a reference; `mask` None for the whole brain. `how` says where they come from."""

    name: str
    mask: Mask | None
    how: str


def is_file(reference: str | Path, with_labels: bool) -> bool:
    """Whether a reference names a file: neither a word of its own nor, where there are labels, one of theirs."""
    text = str(reference)
    if text.lower() in ("whole", "csf"):
        return False
    looks = text.endswith((".nii", ".nii.gz", ".img", ".hdr")) or isinstance(reference, Path)
    return looks or not with_labels or Path(text).is_file()


def reference_region(
    reference: str | Path,
    valid: Mask,
    voxel_size_mm: tuple[float, float, float],
    *,
    r2star: Volume | None = None,
    labels: np.ndarray | None = None,
    names: Mapping[int, str] | None = None,
) -> Region:
    """The reference region of a map.

    Parameters
    ----------
    reference : str or path
        ``whole``; ``csf`` (the ventricles, from R2*, or from labels where there is no R2*); ``wm``, a name or numbers
        (``2+41``) of the label image; or a mask file.
    valid : (x, y, z) bool
        Where the map is valid.
    voxel_size_mm : 3 float
    r2star : (x, y, z) float32, optional
        R2* in 1/s.
    labels, names : optional
        Label image on the grid of the map, and its names.

    Raises
    ------
    InputError
        If what it takes is missing, or no voxel of the region is valid.
    """
    text = str(reference)
    if text.lower() == "whole":
        return Region("whole brain", None, "the whole valid mask")
    if is_file(reference, labels is not None):
        return _from_file(Path(reference), valid)
    if text.lower() == "csf" and r2star is not None:
        return Region("CSF", ventricles(r2star, valid, voxel_size_mm), "ventricles, by low R2* and position")
    if labels is None:
        raise no_csf()
    numbers = find_labels(text, names or {}, np.unique(labels))
    region = region_mask(labels, numbers)
    if not (region & valid).any():
        raise InputError(f"region {text!r} of the labels has no voxel where the map is valid")
    what = "+".join(str(n) for n in numbers)
    return Region("CSF" if text.lower() == "csf" else text, region, f"label {what}")


def no_csf() -> InputError:
    """What to say where nothing tells which voxels are CSF."""
    return InputError(
        "CSF is found by its low R2*, and there is neither an R2* map (it takes echoes with their magnitude) nor a label image",
        fix="Give --reference whole or a mask file, or labels",
    )


def _from_file(path: Path, valid: Mask) -> Region:
    values, _ = load_volume(path, ndim=3)
    if values.shape != valid.shape:
        raise InputError(
            f"the reference region has shape {values.shape} but the scan {valid.shape}",
            file=path,
            fix="Give a mask on the same grid",
        )
    region = np.nan_to_num(values) > 0.5
    if not (region & valid).any():
        raise InputError("the reference region has no voxel where the map is valid", file=path)
    return Region(path.name, region, "mask file")
