"""What the values of a scan give away: NaN, alternating slices, bipolar readouts, filtered phase."""

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
        if math.isfinite(float(volume.sum(dtype=np.float64))):
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


def bipolar_ramp(
    phase: np.ndarray, magnitude: np.ndarray | None, te_s: tuple[float, ...]
) -> tuple[float, int]:
    r"""Phase ramp across the object that changes sign from echo to echo, in rad, and its axis.

    For echoes at equal distances :math:`\varphi_1 - 2 \varphi_2 + \varphi_3` vanishes as long as phase grows
    evenly; readouts of alternating polarity leave :math:`-4 \theta`, where :math:`\theta` is the linear phase
    of gradient delays. The ramp is found from the products of neighbouring voxels, which wraps do not disturb.
    """
    if len(te_s) < 3 or abs(te_s[0] - 2 * te_s[1] + te_s[2]) > 0.02 * (te_s[1] - te_s[0]):
        return 0.0, 0
    d = np.exp(1j * (phase[0] - 2 * phase[1] + phase[2]))
    if magnitude is not None:
        weight = magnitude[2] ** 2
        top = float(np.percentile(weight, 99)) or 1.0
        d *= np.minimum(weight, top) / top
    ramp, where = 0.0, 0
    for axis in range(3):
        n = d.shape[axis]
        if n < 8:
            continue
        a, b = np.moveaxis(d, axis, 0)[:-1], np.moveaxis(d, axis, 0)[1:]
        step = complex(np.sum(b * a.conj()))
        profile = np.abs(d).sum(axis=tuple(i for i in range(3) if i != axis))
        x = np.arange(n)
        centre = float((x * profile).sum() / max(profile.sum(), 1e-30))
        spread = float(((x - centre) ** 2 * profile).sum() / max(profile.sum(), 1e-30))
        across = math.atan2(step.imag, step.real) * math.sqrt(12 * spread)
        # Incoherent products (noise only) say nothing.
        if abs(step) > 0.2 * float(np.sum(np.abs(a) * np.abs(b))) and abs(across) > abs(ramp):
            ramp, where = across, axis
    return ramp / 4, where


def value_findings(
    phase: np.ndarray,
    magnitude: np.ndarray | None,
    te_s: tuple[float, ...],
    b0_t: float,
    metadata: dict[str, Any],
) -> list[Finding]:
    """What the scaled data (echo, x, y, z) say about bipolar readouts and filtered phase."""
    out = []
    # Every n-th voxel is enough: about a million of them.
    step = max(1, math.ceil((phase[0].size / 1e6) ** (1 / 3)))
    phase = phase[:, ::step, ::step, ::step]
    magnitude = None if magnitude is None else magnitude[:, ::step, ::step, ::step]
    ramp, axis = bipolar_ramp(phase, magnitude, te_s)
    if abs(ramp) > 0.3:
        what = (
            f"odd and even echoes differ by a phase ramp of {2 * abs(ramp):.1f} rad along axis {'xyz'[axis]}: "
            "bipolar readouts are suspected"
        )
        out.append(Finding("warning", "readout", what, "Acquire with monopolar readouts, or expect errors"))
    last = int(np.argmax(te_s))
    if magnitude is not None and te_s[last] * b0_t > 0.03:
        signal = magnitude[last] ** 2
        weight = float(signal.sum(dtype=np.float64))
        mean = complex(np.sum(signal * np.exp(1j * phase[last]), dtype=np.complex128)) / max(weight, 1e-30)
        if abs(mean) > 0.85 and abs(math.atan2(mean.imag, mean.real)) < 0.2:
            what = (
                f"the phase at {1000 * te_s[last]:.3g} ms is nearly flat about 0 (coherence {abs(mean):.2f}): "
                "it seems high-pass filtered, as for susceptibility-weighted images"
            )
            out.append(Finding("warning", "filtered phase", what, "Export the unfiltered phase"))
    if str(metadata.get("MRAcquisitionType", "")).upper() == "2D":
        what = "2-D acquisition: slices may differ in phase; 3-D is recommended"
        out.append(Finding("note", "sequence", what))
    return out
