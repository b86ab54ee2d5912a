"""The viewer's data: maps cropped, rounded to whole steps and packed for the page to unpack by itself.

A map is stored as 16-bit whole numbers, value = step times number, with a step of at most 1/100 of its window
(so the rounding error is at most 1/200), gzip, base64. The window does not cut values off: numbers reach 160
windows either way.
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chimap.report.data import MapItem, ReportData
from chimap.report.figures import colour_map, robust_window
from chimap.report.orient import Box, Orientation, bounding_box, centre_index

MISSING = -32768
"""The number that stands for NaN."""

COLORMAPS = ("gray", "viridis", "inferno", "turbo", "RdBu_r", "labels")
_MARGIN_MM = 12.0
_LEVEL = 6


@dataclass(frozen=True)
class Packed:
    """One volume as the page holds it: `meta` describes it, `text` is base64."""

    meta: dict[str, Any]
    text: str


def step_for(window: tuple[float, float]) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most 1/100 of the window."""
    limit = (window[1] - window[0]) / 100
    power = 10.0 ** math.floor(math.log10(limit))
    return float(f"{max(m * power for m in (1, 2, 5) if m * power <= limit * 1.000001):.1g}")


def quantise(volume: np.ndarray, step: float) -> np.ndarray:
    """Whole steps as int16: nearest, cut off at +-32767, NaN as -32768."""
    whole = np.rint(volume * np.float32(1 / step))
    np.clip(whole, -32767, 32767, out=whole)
    whole[np.isnan(whole)] = MISSING
    return whole.astype(np.int16)


def pack(whole: np.ndarray, *, difference: bool) -> bytes:
    """gzip of int16 or bool numbers, first index fastest.

    int16: low bytes, then high bytes, which compress better apart; with `difference`, of the differences
    along the first axis (the first one to 0), folded so that small ones of both signs are small: n >= 0 to
    2 n, n < 0 to -2 n - 1.
    """
    if whole.dtype == np.bool_:
        return gzip.compress(np.asfortranarray(whole).tobytes(order="F"), _LEVEL, mtime=0)
    if difference:
        shifted = np.diff(whole, axis=0, prepend=np.int16(0))
        whole = (shifted << 1) ^ (shifted >> 15)
    flat = whole.ravel(order="F").view(np.uint16)
    low, high = (flat & 255).astype(np.uint8), (flat >> 8).astype(np.uint8)
    return gzip.compress(low.tobytes() + high.tobytes(), _LEVEL, mtime=0)


def unpack(data: bytes, shape: tuple[int, int, int], *, difference: bool) -> np.ndarray:
    """What the page does with int16 numbers: the inverse of `pack`."""
    raw = np.frombuffer(gzip.decompress(data), np.uint8)
    n = raw.size // 2
    flat = raw[:n].astype(np.uint16) | (raw[n:].astype(np.uint16) << 8)
    whole = flat.reshape(shape, order="F")
    if difference:
        step = ((whole >> 1) ^ (0 - (whole & 1)).astype(np.uint16)).view(np.int16)
        return np.cumsum(step, axis=0, dtype=np.int16)
    return whole.view(np.int16)


def reduce(volume: np.ndarray, factor: int, *, nearest: bool) -> np.ndarray:
    """Means over cubes of `factor` voxels (or their first middle voxel); incomplete cubes are left out."""
    if factor == 1:
        return volume
    shape = [n // factor for n in volume.shape]
    volume = volume[tuple(slice(0, n * factor) for n in shape)]
    if nearest:
        middle = (factor - 1) // 2
        return volume[middle::factor, middle::factor, middle::factor]
    total = np.zeros(shape, np.float32)
    for i in range(factor):
        for j in range(factor):
            for k in range(factor):
                total += volume[i::factor, j::factor, k::factor]
    return total / np.float32(factor**3)


def build(data: ReportData, budget_bytes: int) -> tuple[dict[str, Any], list[Packed]]:
    """The viewer's description and its volumes: maps first, then masks. No maps: ``({}, [])``.

    If the volumes would be larger than `budget_bytes` of base64, all are averaged over cubes of 2 (3, 4)
    voxels; the description's ``factor`` says so.
    """
    items = [m for m in data.maps if m.show_in_viewer]
    if not items:
        return {}, []
    orientation = Orientation.of(data.affine, items[0].volume.shape)
    masks = {name: orientation.turn(np.asarray(m, dtype=bool)) for name, m in data.masks.items() if np.any(m)}
    box = _crop(orientation, items[0], list(masks.values()))
    brain = data.brain
    centre = centre_index(items[0].volume != 0 if brain is None or not brain.any() else brain)
    windows = {m.key: m.window or robust_window(m.volume, data.mask_of(m)) for m in items}
    trial = {m.key: _try(orientation.turn(m.volume)[box], m, windows[m.key]) for m in items}
    factor = 1
    while sum(size for size, _ in trial.values()) / factor**3 > budget_bytes and factor < 4:
        factor += 1

    volumes = []
    for item in items:
        # The mean of wrapped phase is no phase.
        nearest = item.is_labels or item.unit == "rad"
        part = reduce(orientation.turn(item.volume)[box], factor, nearest=nearest)
        volumes.append(_pack_map(part, item, windows[item.key], trial[item.key][1]))
    for name, mask in masks.items():
        part = reduce(mask[box], factor, nearest=True)
        volumes.append(Packed({"kind": "mask", "title": name}, _text(pack(part, difference=False))))

    shape = [(s.stop - s.start) // factor for s in box]
    to_turned = np.diag([factor, factor, factor, 1.0])
    to_turned[:3, 3] = [s.start + (factor - 1) / 2 for s in box]
    meta = {
        "shape": shape,
        "voxel_mm": [float(v) * factor for v in orientation.voxel_mm],
        "factor": factor,
        "tilt_deg": round(orientation.tilt_deg, 1),
        "to_mm": _rows(orientation.affine @ to_turned),
        "to_voxel": _rows(orientation.to_index @ to_turned),
        "centre": [
            min(max((c - s.start) // factor, 0), n - 1)
            for c, s, n in zip(orientation.turned_index(centre), box, shape)
        ],
        "volumes": [p.meta for p in volumes],
        "colormaps": lookup_tables([*(m.colormap for m in items), *COLORMAPS]),
    }
    return meta, volumes


def _crop(orientation: Orientation, first: MapItem, masks: Sequence[np.ndarray]) -> Box:
    """What part of the turned grid the viewer holds: the masks and a margin."""
    union = np.logical_or.reduce(masks) if masks else orientation.turn(first.volume) != 0
    i, j, k = (math.ceil(_MARGIN_MM / v) for v in orientation.voxel_mm)
    x, y, z = union.shape
    return bounding_box(union, (i, j, k)) or (slice(0, x), slice(0, y), slice(0, z))


def _try(part: np.ndarray, item: MapItem, window: tuple[float, float]) -> tuple[float, bool]:
    """Bytes of base64 to expect, and whether differences are smaller, judged by every 12th slice."""
    some = part[:, :, min(6, part.shape[2] - 1) :: 12]
    whole = quantise(some.astype(np.float32), _step(item, window))
    sizes = [len(pack(whole, difference=d)) for d in (False, True)]
    return min(sizes) * 4 / 3 * part.shape[2] / some.shape[2], sizes[1] < sizes[0]


def _step(item: MapItem, window: tuple[float, float]) -> float:
    return 1.0 if item.is_labels else step_for(window)


def _pack_map(part: np.ndarray, item: MapItem, window: tuple[float, float], difference: bool) -> Packed:
    step = _step(item, window)
    meta = {
        "kind": "map",
        "key": item.key,
        "title": item.title,
        "unit": item.unit,
        "shown_unit": item.shown_unit,
        "shown_scale": item.shown_scale,
        "step": step,
        "difference": difference,
        "window": [float(w) for w in window],
        "colormap": item.colormap,
    }
    if item.labels:
        meta["labels"] = {str(number): name for number, name in item.labels.items()}
    return Packed(meta, _text(pack(quantise(part.astype(np.float32), step), difference=difference)))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _rows(matrix: np.ndarray) -> list[list[float]]:
    return [[round(float(v), 6) for v in row] for row in matrix[:3]]


def lookup_tables(names: Sequence[str] = COLORMAPS) -> dict[str, str]:
    """256 colours a map, red, green, blue bytes in base64."""
    tables = {}
    for name in dict.fromkeys(names):
        colours = colour_map(name)
        numbers = np.arange(256) if name == "labels" else np.linspace(0, 1, 256)
        tables[name] = _text((colours(numbers)[:, :3] * 255 + 0.5).astype(np.uint8).tobytes())
    return tables
