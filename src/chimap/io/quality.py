"""What the values and the sidecar of a scan give away: NaN, alternating slices, two-dimensional sequences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.io.findings import Finding
from chimap.types import Mask


def clear_not_finite(
    buffer: np.ndarray, name: str, file: str, magnitude: np.ndarray | None, mask: Mask | None
) -> list[Finding]:
    """Set NaN and infinity outside the object to 0, in place; `buffer` and `magnitude` are (echo, x, y, z).

    Raises
    ------
    InputError
        If some lie inside the mask or, without one, inside the object.
    """
    total, bad = 0, None
    for volume in buffer:
        # A sum is finite only if all its terms are; it spares a volume of bool in the usual case.
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            finite = math.isfinite(float(volume.sum(dtype=np.float64)))
        if finite:
            continue
        here = ~np.isfinite(volume)
        total += int(here.sum())
        bad = here if bad is None else bad | here
        volume[here] = 0
    if bad is None:
        return []
    where = mask if mask is not None else _object(bad, magnitude)
    inside = int((bad & where).sum())
    if inside:
        place = "inside the mask" if mask is not None else "inside the object"
        raise InputError(
            f"{inside} voxel{'s' * (inside > 1)} of the {name} {place} {'are' if inside > 1 else 'is'} NaN or infinite; numbers are expected",
            file=file,
            fix="Repair the images, or give a --mask that leaves those voxels out",
        )
    what = f"{total} values of the {name} outside the object are NaN or infinite; set to 0"
    return [Finding("note", "missing values", what, "", file)]


def _object(bad: np.ndarray, magnitude: np.ndarray | None) -> np.ndarray:
    """A coarse mask of what was scanned, holes filled; voxels without any signal are left out of it."""
    if magnitude is None:
        return ndimage.binary_fill_holes(~bad)
    first = np.where(np.isfinite(magnitude[0]), magnitude[0], 0)
    strong = first[first > 0]
    if not strong.size:
        return ndimage.binary_fill_holes(~bad)
    signal = first > 0.2 * np.percentile(strong, 95)
    return ndimage.binary_fill_holes(signal) & (magnitude[0] != 0)


def alternating_axis(phase: np.ndarray, magnitude: np.ndarray | None) -> int | None:
    """The axis (0, 1, 2) along which every second slice of the first echo has the opposite sign, or None.

    Some GE exports do that. The mean product of neighbouring slices' signals is then negative while that of
    every second is positive. All axes are looked at, since converters turn volumes.
    """
    for axis in (2, 0, 1):
        step = max(1, int(math.sqrt(phase[0].size / 5e5)))
        lines = [step, step, step]
        lines[axis] = 1
        part = tuple(slice(None, None, n) for n in lines)
        signal = np.exp(1j * phase[0][part].astype(np.float32))
        if magnitude is not None:
            signal *= magnitude[0][part]
        signal = np.moveaxis(signal, axis, 2)
        if signal.shape[2] >= 4 and _likeness(signal, 1) < -0.3 and _likeness(signal, 2) > 0.3:
            return axis
    return None


def _likeness(signal: np.ndarray, gap: int) -> float:
    a, b = signal[..., :-gap], signal[..., gap:]
    weight = float(np.sum(np.abs(a) * np.abs(b)))
    return float(np.sum((a * b.conj()).real)) / weight if weight > 0 else 0.0


def turn_alternate_slices(phase: np.ndarray, axis: int) -> None:
    """Add pi to every second slice of all echoes (echo, x, y, z), in place, within +-pi."""
    odd = np.moveaxis(phase, axis + 1, 3)[..., 1::2]
    odd += np.where(odd > 0, np.float32(-math.pi), np.float32(math.pi))


def sequence_findings(metadata: dict[str, Any]) -> list[Finding]:
    """What the sidecar says about the sequence."""
    if str(metadata.get("MRAcquisitionType", "")).upper() != "2D":
        return []
    return [Finding("note", "sequence", "2-D acquisition: slices may differ in phase; 3-D is recommended")]
