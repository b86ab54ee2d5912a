"""Colour maps as NIfTI images, as viewers of diffusion data read them."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from chimap.io.nifti import whole_file

_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def save_colours(path: str | Path, colours: np.ndarray, affine: np.ndarray) -> Path:
    """Write (x, y, z, 3) uint8 as a NIfTI image of type RGB24 (gzip if the name ends in .gz), whole or not at all."""
    path = Path(path)
    if colours.dtype != np.uint8 or colours.ndim != 4 or colours.shape[3] != 3:
        raise ValueError(f"colours have shape {colours.shape} and type {colours.dtype}")
    pixels = np.ascontiguousarray(colours).view(_RGB)[..., 0]
    image = nib.Nifti1Image(pixels, np.asarray(affine, dtype=float))
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    raw = image.to_bytes()
    with whole_file(path) as f:
        f.write(gzip.compress(raw, 6, mtime=0) if path.name.endswith(".gz") else raw)
    return path
