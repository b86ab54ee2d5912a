"""A small folder of results: two runs of one scan on a grid with flipped axes, odd sizes and unequal voxels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from chimap.io.nifti import save_volume, write_json

SHAPE = (21, 18, 15)
# First axis to the left, second up, third to the back: nothing is where an array's axes would suggest.
AFFINE = np.array([[-2.0, 0, 0, 20.0], [0, 0, -1.5, 12.0], [0, 2.5, 0, -20.0], [0, 0, 0, 1.0]])
NAME = "sub-01_ses-1_run-2"


def chi(shift: float = 0.0) -> np.ndarray:
    """Susceptibility [ppm], 0 outside the mask, every voxel another value."""
    ramp = np.linspace(-0.15, 0.25, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)
    return (ramp + np.float32(shift)) * mask()


def mask() -> np.ndarray:
    """A box in the middle."""
    out = np.zeros(SHAPE, bool)
    out[3:-3, 2:-3, 2:-2] = True
    return out


def labels() -> np.ndarray:
    """Label 5 on the patient's right (low first index: the axis runs to the left), 7 on the left."""
    out = np.zeros(SHAPE, np.int16)
    out[4:7, 6:9, 6:9] = 5
    out[-7:-4, 6:9, 6:9] = 7
    return out


def write(root: Path, run: str, shift: float = 0.0, method: str = "tv") -> Path:
    """One run of `chimap run`, as far as the viewer looks."""
    folder = root / run / "sub-01" / "ses-1" / "anat"

    def sidecar(suffix: str, **values: object) -> None:
        write_json(folder / f"{NAME}{suffix}.json", values)

    save_volume(folder / f"{NAME}_Chimap.nii.gz", chi(shift), AFFINE)
    sidecar(
        "_Chimap",
        Units="ppm",
        Reference={"name": "whole brain"},
        Chimap={"stage": "reference", "method": "mean"},
    )
    save_volume(folder / f"{NAME}_desc-unreferenced_Chimap.nii.gz", chi(shift + 0.01), AFFINE)
    sidecar("_desc-unreferenced_Chimap", Units="ppm", Chimap={"stage": "inversion", "method": method})
    save_volume(folder / f"{NAME}_R2starmap.nii.gz", 100 * (chi() + 0.15) * mask(), AFFINE)
    sidecar("_R2starmap", Units="1/s")
    save_volume(folder / f"{NAME}_desc-brain_mask.nii.gz", mask(), AFFINE)
    save_volume(folder / f"{NAME}_dseg.nii.gz", labels(), AFFINE)
    (folder / f"{NAME}_dseg.tsv").write_text("index\tname\n5\tright side\n7\tleft side\n")
    (folder / f"{NAME}_report.html").write_text("<!doctype html><title>r</title><p id=p>report of a scan</p>")
    return folder


def unpacked(body: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """What the page makes of a volume: header, and the numbers with axes right, front, up."""
    length = int.from_bytes(body[:4], "little")
    meta = json.loads(body[4 : 4 + length])
    kind = np.uint8 if meta["kind"] == "mask" else np.dtype("<i2")
    return meta, np.frombuffer(body[4 + length :], kind).reshape(meta["shape"], order="F")
