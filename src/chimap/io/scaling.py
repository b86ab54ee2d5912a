"""Phase as scanners store it, scaled to rad: what convention was used is found from the values, and stated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.io.findings import Finding

_BINS = 50


@dataclass(frozen=True)
class PhaseStatistics:
    """What the values of an image, all its echoes together, look like.

    `low`, `high`: range of the finite values. `whole`: only whole numbers. `wraps`: fraction of neighbouring
    voxels that differ by more than half the range; phase has them (noise: a quarter), magnitude has not.
    `fill`: how well the outer 2 % on either side of the range are filled, 1 for uniform values; `middle`: how well the
    middle half of an echo's range is, in the echo where it is best.
    `constant`: indices of echoes that have one value only.
    """

    low: float
    high: float
    whole: bool
    wraps: float
    fill: float
    middle: float
    constant: tuple[int, ...]

    @property
    def span(self) -> float:
        """High minus low."""
        return self.high - self.low


def statistics(buffer: np.ndarray) -> PhaseStatistics:
    """`PhaseStatistics` of a float32 array (echo, x, y, z); exact range, the rest from a subset."""
    lows, highs, constant = [], [], []
    for i, volume in enumerate(buffer):
        low, high = float(np.fmin.reduce(volume, axis=None)), float(np.fmax.reduce(volume, axis=None))
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = volume[np.isfinite(volume)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        lows.append(low)
        highs.append(high)
        if low == high:
            constant.append(i)
    low, high = min(lows), max(highs)
    span = high - low
    if span <= 0:
        return PhaseStatistics(low, high, True, 0.0, 0.0, 0.0, tuple(constant))
    # Whole lines along z, every n-th in the plane: about a million values.
    step = max(1, int(math.sqrt(buffer.size / 1e6)))
    lines = buffer[:, ::step, ::step, :]
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        difference = np.abs(np.diff(lines, axis=3))
    valid = np.isfinite(difference) & (lines[..., 1:] != 0) & (lines[..., :-1] != 0)
    wraps = float((difference[valid] > 0.5 * span).mean()) if valid.any() else 0.0
    values = lines[np.isfinite(lines) & (lines != 0)]
    share = 0.02 * values.size or 1.0
    top = float((values > high - 0.02 * span).sum()) / share
    bottom = float((values < low + 0.02 * span).sum()) / share
    whole = bool(np.all(values == np.round(values)))
    middle = max(_middle(echo, a, b) for echo, a, b in zip(lines, lows, highs))
    return PhaseStatistics(low, high, whole, wraps, min(top, bottom), middle, tuple(constant))


def _middle(values: np.ndarray, low: float, high: float) -> float:
    """Share of the values other than 0 in the middle half of the range, 1 for uniform ones."""
    used = values[np.isfinite(values) & (values != 0)]
    within = np.abs(used - 0.5 * (low + high)) < 0.25 * (high - low)
    return 2 * float(within.mean()) if used.size else 0.0


def looks_like_magnitude(s: PhaseStatistics) -> bool:
    """No negative values, few wraps, and a range that is not filled up to its end."""
    return s.low >= 0 and s.wraps < 0.1 and s.fill < 0.2


def looks_like_phase(s: PhaseStatistics) -> bool:
    """Values of both signs, or a filled range with wraps in it.

    The edges of a uniform object on a coarse grid look like wraps; but it has next to no values between dark and bright.
    """
    return s.low < -0.05 * s.high or (s.wraps > 0.05 and s.fill > 0.3 and s.middle > 0.3)


@dataclass(frozen=True)
class Scaling:
    """Phase in rad is ``value * factor + offset``, then wrapped to +-pi if `wrap`; `what` says what was found."""

    factor: float
    offset: float
    wrap: bool
    what: str
    level: str = "ok"
    fix: str = ""


def detect(
    s: PhaseStatistics,
    metadata: dict[str, Any],
    *,
    sidecar: bool,
    phase_range: tuple[float, float] | None = None,
    file: str | None = None,
) -> Scaling:
    """Find how the stored values become rad.

    Parameters
    ----------
    s : PhaseStatistics
        Of the stored values, after the header's own scaling.
    metadata : dict
        ``Units`` and ``Manufacturer`` are looked at.
    sidecar : bool
        Whether a sidecar says that this is a phase image. Without one, values from 0 to 4095 are refused:
        they could be anything.
    phase_range : (float, float), optional
        The stored values that stand for -pi and +pi; overrules the detection.
    file : str, optional
        For the error message.

    Raises
    ------
    InputError
        If the image is constant, looks like a magnitude, or the convention cannot be told.
    """

    def refuse(
        what: str, fix: str = "Give --phase-range MIN MAX, the values that stand for -pi and +pi"
    ) -> InputError:
        return InputError(what, file=file, fix=fix)

    found = f"values from {_n(s.low)} to {_n(s.high)}"
    if s.span <= 0:
        kind = "zero" if s.low == 0 else f"{s.low:g}"
        raise refuse(f"the phase is {kind} everywhere", "Export or convert the phase images again")
    if phase_range is not None:
        return _from_range(s, phase_range, found, refuse)
    if looks_like_magnitude(s):
        raise refuse(
            f"this looks like a magnitude, not a phase: {found}, few near the upper end",
            "Give the phase image as phase and the magnitude as magnitude; if it is phase, give --phase-range MIN MAX",
        )
    top = max(-s.low, s.high)
    unit = str(metadata.get("Units", "")).lower()
    pi = math.pi
    if unit.startswith("rad"):
        if top <= 2.002 * pi:
            what = f"{found}: rad, as the sidecar says"
            return Scaling(1.0, 0.0, top > 1.001 * pi, what)
        if not s.whole:
            what = f"{found}: rad as the sidecar says, beyond +-pi; wrapped again"
            return Scaling(1.0, 0.0, True, what, "note")
        what = f"the sidecar gives rad as the unit, but the {found} are whole numbers beyond +-pi; ignored"
        return _with_note(_by_range(s, found, sidecar, refuse), what)
    return _by_range(s, found, sidecar, refuse)


def _by_range(s: PhaseStatistics, found: str, sidecar: bool, refuse: Any) -> Scaling:
    pi = math.pi
    top = max(-s.low, s.high)
    both = s.low < 0 and min(-s.low, s.high) > 0.9 * top
    if not s.whole and top <= 1.002 * pi and (both and top > 0.9 * pi):
        return Scaling(1.0, 0.0, top > pi * (1 + 1e-6), f"{found}: rad")
    if not s.whole and s.low >= 0 and 1.8 * pi < s.high <= 2.002 * pi:
        return Scaling(1.0, 0.0, True, f"{found}: rad from 0 to 2 pi, wrapped to +-pi")
    if both and 3090 <= top <= 3143:
        return Scaling(1e-3, 0.0, True, f"{found}: thousandths of a rad (+-3142, GE and Philips)")
    if s.low >= 0 and 6220 <= s.high <= 6284:
        return Scaling(1e-3, 0.0, True, f"{found}: thousandths of a rad from 0 to 6283, wrapped to +-pi")
    if both and s.whole and 3900 <= top <= 4096:
        return Scaling(pi / 4096, 0.0, True, f"{found}: +-4096 stands for +-pi (Siemens, rescaled)")
    if both and s.whole and 1950 <= top <= 2048:
        return Scaling(pi / 2048, 0.0, True, f"{found}: +-2048 stands for +-pi")
    if s.low >= 0 and s.whole and 3900 <= s.high <= 4096:
        if not sidecar:
            raise refuse(
                f"{found} and no sidecar that tells how phase was stored",
                "Give --phase-range 0 4095 if these stand for -pi to +pi, or keep the JSON sidecar beside the file",
            )
        return Scaling(pi / 2048, -pi, True, f"{found}: 0..4095 stands for -pi..+pi (Siemens)")
    if both and s.fill > 0.2:
        return Scaling(
            2 * pi / s.span,
            -pi - s.low * 2 * pi / s.span,
            True,
            f"{found}, evenly about 0 and filled to both ends: taken as -pi to +pi",
            "note",
            "Give --phase-range MIN MAX if that is wrong",
        )
    if not s.whole and top <= 1.002 * pi and top > 0.01 and s.low < 0:
        return Scaling(
            1.0,
            0.0,
            False,
            f"{found}, without wraps: taken as rad",
            "warning",
            "Give --phase-range MIN MAX if they are not rad",
        )
    if sidecar and s.fill > 0.2 and s.wraps > 1e-3:
        return Scaling(
            2 * pi / s.span,
            -pi - s.low * 2 * pi / s.span,
            True,
            f"{found}, filled to both ends and with wraps: taken as -pi to +pi",
            "warning",
            "Give --phase-range MIN MAX if that is wrong",
        )
    known = "+-pi, 0..2 pi, +-3142, 0..4095, +-4096"
    raise refuse(f"the phase has {found}, which is none of the known conventions ({known})")


def _from_range(s: PhaseStatistics, phase_range: tuple[float, float], found: str, refuse: Any) -> Scaling:
    low, high = (float(v) for v in phase_range)
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise refuse(
            f"the phase range {low:g} to {high:g} is empty", "Give --phase-range MIN MAX with MIN < MAX"
        )
    slack = 0.002 * (high - low)
    if s.low < low - slack or s.high > high + slack:
        raise refuse(f"the phase has {found}, outside the range {low:g} to {high:g} that was given")
    # 0..4095 are 4096 levels: the next one would be +pi.
    levels = high - low + 1
    period = levels if s.whole and levels == 2 ** round(math.log2(levels)) and levels >= 256 else high - low
    factor = 2 * math.pi / period
    what = f"{found}: {low:g} to {high:g} stand for -pi to +pi, as given"
    if s.span < 0.5 * (high - low):
        what = f"{what}, but only {100 * s.span / (high - low):.0f} % of that range is used"
        return Scaling(factor, -math.pi - low * factor, True, what, "warning", "Check the range")
    return Scaling(factor, -math.pi - low * factor, True, what)


def _with_note(scaling: Scaling, what: str) -> Scaling:
    return Scaling(
        scaling.factor,
        scaling.offset,
        scaling.wrap,
        f"{scaling.what}; {what}",
        "warning",
        "Correct Units in the sidecar",
    )


def apply(buffer: np.ndarray, scaling: Scaling) -> None:
    """Scale an array (echo, x, y, z) to rad within +-pi, in place."""
    pi, turn = np.float32(math.pi), np.float32(2 * math.pi)
    for volume in buffer:
        for plane in volume:
            if scaling.factor != 1.0:
                plane *= np.float32(scaling.factor)
            if scaling.offset != 0.0:
                plane += np.float32(scaling.offset)
            if scaling.wrap:
                with np.errstate(invalid="ignore"):  # infinity is refused later, where it lies in the mask
                    plane -= turn * np.round(plane / turn)
                np.clip(plane, -pi, pi, out=plane)


def finding(scaling: Scaling) -> Finding:
    """The finding that states how the phase was scaled."""
    return Finding(scaling.level, "phase scaling", scaling.what, scaling.fix)  # type: ignore[arg-type]


def _n(x: float) -> str:
    return f"{x:.0f}" if float(x).is_integer() and abs(x) < 1e6 else f"{x:.6g}"
