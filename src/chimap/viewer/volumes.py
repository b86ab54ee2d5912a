"""One volume for the page: turned to right, front, up, as 16-bit whole numbers behind a header.

The answer is 4 bytes (little endian: length of the header), the header as JSON padded with blanks to an even
length, then the numbers, first index fastest: int16 little endian (value = step times number, -32768 is NaN), or
one byte a voxel for masks.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np

from chimap.errors import InputError
from chimap.io.nifti import Header, read_header, slabs
from chimap.pipeline.regions import label_names
from chimap.report.figures import robust_window
from chimap.report.orient import Orientation, centre_index
from chimap.report.viewer import quantise, step_for
from chimap.viewer.catalogue import MapFile, inside, label_table, sidecar_of

MOST_VOXELS = 40_000_000
"""Larger volumes are sent as means over cubes of voxels: the page would need too much memory."""

_LARGEST = 32767
_PIECE = 4 << 20


def packed(entry: MapFile, part: int = 0, most_voxels: int = MOST_VOXELS) -> Iterator[bytes]:
    """The bytes of one volume, piece by piece.

    Parameters
    ----------
    entry : MapFile
        From the catalogue.
    part : int
        Which volume of a 4-D file.
    most_voxels : int
        Above it, means over cubes of 2 x 2 x 2 (3 x 3 x 3 ...) voxels are sent, and `factor` in the header says so;
        of labels and masks, one voxel of each cube.

    Raises
    ------
    InputError
        If the file cannot be read as NIfTI, has colours or complex numbers, or has no such volume.
    """
    if not inside(entry.path, entry.root):
        raise InputError("the file is gone, or leads out of the folder", file=entry.path)
    header = read_header(entry.path)
    if not inside(header.data_file, entry.root):
        raise InputError("the file of its numbers leads out of the folder", file=entry.path)
    if not 0 <= part < header.volumes:
        raise InputError(f"there is no volume {part}; the file has {header.volumes}", file=entry.path)
    factor = factor_for(header.shape, most_voxels)
    volume = read_part(header, part, factor, nearest=entry.kind != "map")
    shrink = np.diag([factor, factor, factor, 1.0])
    shrink[:3, 3] = (factor - 1) / 2
    orientation = Orientation.of(header.affine @ shrink, volume.shape)
    numbers, about = _whole(entry, header, volume)
    meta = {
        "key": entry.key,
        "title": entry.title,
        "volumes": header.volumes,
        "part": part,
        **about,
        "shape": [int(n) for n in orientation.turn(volume).shape],
        "voxel_mm": [float(v) for v in orientation.voxel_mm],
        "factor": factor,
        "tilt_deg": round(orientation.tilt_deg, 1),
        "to_mm": _rows(orientation.affine),
        "to_voxel": _rows(shrink @ orientation.to_index),
        "centre": list(orientation.turned_index(centre_index(np.isfinite(volume) & (volume != 0)))),
    }
    del volume
    text = json.dumps(meta).encode("ascii")
    text += b" " * (len(text) % 2)
    yield struct.pack("<I", len(text)) + text
    turned = orientation.turn(numbers)
    planes = max(1, _PIECE // (turned[:, :, 0].size * turned.itemsize))
    for z in range(0, turned.shape[2], planes):
        yield turned[:, :, z : z + planes].tobytes(order="F")


def factor_for(shape: tuple[int, ...], most_voxels: int) -> int:
    """The smallest whole number of voxels a side of a cube with which a volume has at most `most_voxels`."""
    factor = 1
    while math.prod(max(n // factor, 1) for n in shape[:3]) > most_voxels:
        factor += 1
    return factor


def read_part(header: Header, part: int, factor: int, *, nearest: bool) -> np.ndarray:
    """Volume `part` of a file as float32, thinned out by `factor` while it is read; only the result is in memory."""
    if min(header.shape[:3]) < factor:
        raise InputError(f"a volume of {header.shape[:3]} voxels cannot be shown", file=header.path)
    nx, ny, nz = (n // factor for n in header.shape[:3])
    out = np.zeros((nx, ny, nz), np.float32)
    middle = (factor - 1) // 2
    # Up to the wanted volume is enough.
    for volume, first, slab in slabs(replace(header, shape=(*header.shape[:3], part + 1))):
        if volume < part:
            continue
        for z in range(first, min(first + slab.shape[2], nz * factor)):
            plane = slab[: nx * factor, : ny * factor, z - first]
            if nearest:
                if z % factor == middle:
                    out[:, :, z // factor] = plane[middle::factor, middle::factor]
                continue
            for i in range(factor):
                for j in range(factor):
                    out[:, :, z // factor] += plane[i::factor, j::factor]
    slope = header.slope if nearest else header.slope / factor**3
    if slope != 1.0:
        out *= np.float32(slope)
    if header.inter != 0.0:
        out += np.float32(header.inter)
    return out


def _whole(entry: MapFile, header: Header, volume: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Whole numbers for the page, and how to read them."""
    kind = entry.kind
    if kind == "labels" and not _fits(volume):
        kind = "map"
    scale = 1000.0 if entry.susceptibility else 1.0
    about: dict[str, Any] = {
        "kind": kind,
        "unit": entry.unit,
        "shown_scale": scale,
        "step": 1.0,
        "cut": False,
    }
    about["shown_unit"] = "ppb" if entry.susceptibility else entry.unit
    if kind == "mask":
        return (volume > 0.5).view(np.uint8), {**about, "window": [0, 1], "colormap": "gray"}
    low, high = float(np.nanmin(volume, initial=0)), float(np.nanmax(volume, initial=0))
    if kind == "labels":
        # The numbers' own colours; a range is only needed where another colour map is chosen.
        about |= {"window": [0, max(high, 1)], "colormap": "labels", "labels": _names(entry)}
        return _quantise(volume, 1.0), about
    window = _header_window(header) or entry.window or robust_window(volume)
    step, about["cut"] = _step(max(abs(low), abs(high)), window)
    return _quantise(volume, step), {**about, "step": step, "window": list(window), "colormap": "gray"}


def _step(largest: float, window: tuple[float, float]) -> tuple[float, bool]:
    """As fine as 16 bits allow for the largest number, at most 1/100 of the window; whether larger ones are cut off."""
    coarsest = step_for(window)
    if not largest > 0:
        return coarsest, False
    if not math.isfinite(largest):
        return coarsest, True
    least = largest / _LARGEST
    power = 10.0 ** math.floor(math.log10(least))
    step = next(float(f"{m * power:.1g}") for m in (1, 2, 5, 10) if m * power >= least)
    return min(step, coarsest), coarsest < step


def _quantise(volume: np.ndarray, step: float) -> np.ndarray:
    out = np.empty(volume.shape, "<i2", order="F")
    for z in range(volume.shape[2]):
        out[:, :, z] = quantise(volume[:, :, z], step)
    return out


def _fits(volume: np.ndarray) -> bool:
    """Whether all numbers are whole and fit into 16 bits."""
    return all(
        np.array_equal(p, np.rint(p)) and np.abs(p).max() <= _LARGEST for p in np.moveaxis(volume, 2, 0)
    )


def _header_window(header: Header) -> tuple[float, float] | None:
    """The range to display that the NIfTI header asks for."""
    h: Any = nib.load(header.path).header  # type: ignore[attr-defined]
    low, high = float(h["cal_min"]), float(h["cal_max"])
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _names(entry: MapFile) -> dict[int, str]:
    """Names of labels from their table or their sidecar."""
    table = label_table(entry)
    if table is not None:
        try:
            return label_names(entry.path, table)
        except InputError:  # Numbers without names can still be looked at.
            return {}
    record = sidecar_of(entry.path, entry.root).get("Chimap")
    excluded = record.get("excluded") if isinstance(record, dict) else None
    labels = excluded.get("labels") if isinstance(excluded, dict) else None
    return {int(n): str(name) for n, name in labels.items()} if isinstance(labels, dict) else {}


def _rows(matrix: np.ndarray) -> list[list[float]]:
    return [[round(float(v), 6) for v in row] for row in matrix[:3]]
