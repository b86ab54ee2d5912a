"""What the headers of DICOM files say before conversion: part of the signal, echo, channel, and what needs care."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PHILIPS_INTERCEPT, PHILIPS_SLOPE = (0x2005, 0x100D), (0x2005, 0x100E)
_PHILIPS_TE = (0x2001, 0x1025)
_GE_PART = (0x0043, 0x102F)
_SIEMENS_COIL, _SIEMENS_DIMENSIONS, _SIEMENS_FRAME = (0x0051, 0x100F), (0x0021, 0x1106), (0x0021, 0x11FE)
_SIEMENS_PROTOCOL = (0x0029, 0x1020)
_WORDS = {
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
    "M": "magnitude",
    "M_FFE": "magnitude",
    "MAGNITUDE": "magnitude",
}
_TAGS: list[Any] = [
    "SpecificCharacterSet",
    "ImageType",
    "ComplexImageComponent",
    "Manufacturer",
    "PatientID",
    "SeriesNumber",
    "SeriesInstanceUID",
    "EchoTime",
    "EchoNumbers",
    "EffectiveEchoTime",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleIntercept",
    "NumberOfFrames",
    "EchoPlanarPulseSequence",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    _GE_PART,
    _SIEMENS_COIL,
    _SIEMENS_DIMENSIONS,
    _SIEMENS_PROTOCOL,
    _PHILIPS_TE,
    PHILIPS_INTERCEPT,
    PHILIPS_SLOPE,
    *((group, 0x0010 + i) for group in (0x0021, 0x0029, 0x0043, 0x0051, 0x2001, 0x2005) for i in range(6)),
]


@dataclass(frozen=True)
class Slice:
    """What a file, or one frame of it, holds.

    `part` is magnitude, phase, real, imaginary or nothing; `te_ms` the echo time and `hidden_te` whether only private tags have it;
    `channel` names a receive channel; `place` is the position along the slice normal in mm; `shift` is (slope, intercept) that
    turn stored numbers into values where only Philips' private tags have them; `frame` counts from 0 in files of several;
    `epi` and `philips` are what they say, the former of files of several frames only; `person` is a number that differs between
    persons, 0 if unknown.
    """

    path: Path
    series: tuple[int, str]
    part: str = ""
    te_ms: float = math.nan
    hidden_te: bool = False
    channel: str = ""
    place: float = math.nan
    mosaic: bool = False
    shift: tuple[float, float] | None = None
    frame: int | None = None
    epi: bool = False
    philips: bool = False
    person: int = 0

    @property
    def group(self) -> tuple[str, float, str]:
        """What has to be the same within one image."""
        return self.part, self.te_ms if self.te_ms == self.te_ms else -1.0, self.channel


def survey(files: Iterable[Path]) -> list[Slice]:
    """Read the headers; files that are no readable DICOM are left out (dcm2niix judges them)."""
    import pydicom

    found: list[Slice] = []
    with silent():
        for file in files:
            try:
                d = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
                found += _frames(d, file) if int(d.get("NumberOfFrames") or 1) > 1 else [_slice(d, file)]
            except Exception:  # pydicom raises whatever a damaged header leads it to
                continue
    return found


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without pydicom's warnings, which repeat values of the header: one of them may be the name of the person."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def part_of(image_type: Iterable[Any], component: Any = None) -> str:
    """Part of the signal from ImageType (its third value on) and ComplexImageComponent; empty if neither says."""
    words = [str(component or "").upper(), *(str(w).upper() for w in list(image_type)[2:])]
    return next((_WORDS[w] for w in words if w in _WORDS), "")


def _slice(d: Any, file: Path) -> Slice:
    ge = _value(d, _GE_PART)
    if ge is not None and int(ge) in range(4):
        part = ("magnitude", "phase", "real", "imaginary")[int(ge)]
    else:
        part = part_of(d.get("ImageType") or [], d.get("ComplexImageComponent"))
    te = _number(d.get("EchoTime"))
    hidden = not te > 0
    if hidden:
        te = _hidden_te(d)
    iop, ipp = d.get("ImageOrientationPatient"), d.get("ImagePositionPatient")
    return Slice(
        path=file,
        series=_series(d),
        part=part,
        te_ms=te,
        hidden_te=hidden and te == te,
        channel=_channel(d),
        place=_place(iop, ipp),
        mosaic="MOSAIC" in [str(w).upper() for w in d.get("ImageType") or []],
        shift=_philips_shift(d),
        philips=_philips(d),
        person=_person(d),
    )


def _frames(d: Any, file: Path) -> list[Slice]:
    groups = d.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return [_slice(d, file)]
    shared = (d.get("SharedFunctionalGroupsSequence") or [None])[0]

    def first(frame: Any, name: str) -> Any:
        for g in (frame, shared):
            items = None if g is None else g.get(name)
            if items:
                return items[0]
        return {}

    out = []
    for i, frame in enumerate(groups):
        kind = first(frame, "MRImageFrameTypeSequence")
        component = kind.get("ComplexImageComponent")
        part = part_of(kind.get("FrameType") or [], None if component == "MIXED" else component)
        coil = first(frame, "MRReceiveCoilSequence").get("ReceiveCoilName")
        own = _value(frame, _SIEMENS_FRAME)
        out.append(
            Slice(
                path=file,
                series=_series(d),
                part=part or part_of(d.get("ImageType") or [], d.get("ComplexImageComponent")),
                te_ms=_number(first(frame, "MREchoSequence").get("EffectiveEchoTime")),
                channel=(_channel(own[0]) if own else "") or _padded(str(coil or "")),
                place=_place(
                    first(frame, "PlaneOrientationSequence").get("ImageOrientationPatient"),
                    first(frame, "PlanePositionSequence").get("ImagePositionPatient"),
                ),
                frame=i,
                epi=str(d.get("EchoPlanarPulseSequence") or "").upper() == "YES",
                philips=_philips(d),
                person=_person(d),
            )
        )
    return out


def _philips(d: Any) -> bool:
    return "philips" in str(d.get("Manufacturer") or "").lower()


def _person(d: Any) -> int:
    identifier = str(d.get("PatientID") or "").strip()
    return hash(identifier) if identifier else 0


def _series(d: Any) -> tuple[int, str]:
    n = _number(d.get("SeriesNumber"))
    return (int(n) if n == n else 0), str(d.get("SeriesInstanceUID") or "")


def _value(d: Any, tag: tuple[int, int]) -> Any:
    element = d.get(tag)
    value = None if element is None else element.value
    if (
        isinstance(value, bytes) and tag != _SIEMENS_PROTOCOL
    ):  # a private element whose type was lost on the way
        if tag == _GE_PART:
            return int.from_bytes(value[:2], "little", signed=True)
        return value.rstrip(b" \0").decode("latin-1")
    return value


def _number(value: Any) -> float:
    try:
        x = float(value)
    except (TypeError, ValueError):
        return math.nan
    return x if math.isfinite(x) else math.nan


def _hidden_te(d: Any) -> float:
    """Echo time in ms from where vendors keep it besides (0018,0081); NaN if nowhere."""
    for value in (d.get("EffectiveEchoTime"), _value(d, _PHILIPS_TE)):
        x = _number(value)
        if x > 0:
            return x
    protocol = _value(d, _SIEMENS_PROTOCOL)
    echo = _number(d.get("EchoNumbers"))
    if isinstance(protocol, bytes) and echo >= 1:
        found = re.search(rb"alTE\[%d\]\s*=\s*(\d+)" % (int(echo) - 1), protocol)
        if found:
            return int(found[1]) / 1000
    return math.nan


def _channel(d: Any) -> str:
    """Name of the receive channel; "" where Siemens' dimensions say that the channels are combined."""
    dimensions = str(_value(d, _SIEMENS_DIMENSIONS) or "")
    if "_" in dimensions:
        number = dimensions.split("_")[0]
        return f"{int(number):03d}" if number.isdigit() else ""
    return _padded(str(_value(d, _SIEMENS_COIL) or ""))


def _padded(name: str) -> str:
    """H2 as H002, so that it comes before H010."""
    return re.sub(r"\d+", lambda m: f"{int(m[0]):03d}", name)


def _place(iop: Any, ipp: Any) -> float:
    try:
        r, c, p = [float(v) for v in iop[:3]], [float(v) for v in iop[3:6]], [float(v) for v in ipp]
        normal = (r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0])
        return round(sum(a * b for a, b in zip(normal, p, strict=True)), 2)
    except (TypeError, ValueError, IndexError):
        return math.nan


def _philips_shift(d: Any) -> tuple[float, float] | None:
    """Slope and intercept from Philips' private scale where the public rescaling is switched off but an intercept is needed."""
    slope, intercept = (_number(_value(d, t)) for t in (PHILIPS_SLOPE, PHILIPS_INTERCEPT))
    public = _number(d.get("RescaleIntercept"))
    if not (slope > 0 and abs(intercept) > 0) or abs(public) > 0:
        return None
    return 1 / slope, -intercept / slope


def uncombined(slices: list[Slice]) -> bool:
    """Whether a series holds several receive channels: the same slice of the same echo and part more than once, by channel.

    Channel names that only change from slice to slice are no channels: a scanner may switch elements on and off.
    """
    seen: dict[tuple[str, float, float], set[str]] = {}
    for s in slices:
        if s.place == s.place and s.channel:
            seen.setdefault((s.part, s.group[1], s.place), set()).add(s.channel)
    several = sum(len(c) > 1 for c in seen.values())
    return several > len(seen) / 2


def groups(slices: list[Slice]) -> dict[tuple[str, float, str], list[Slice]]:
    """The slices of a series by part, echo time and, where it is uncombined, channel."""
    by_channel = uncombined(slices)
    out: dict[tuple[str, float, str], list[Slice]] = {}
    for s in slices:
        if by_channel and not s.channel:
            continue  # The scanner's own combination, in the same series.
        if not by_channel and s.channel:
            s = replace(s, channel="")
        out.setdefault(s.group, []).append(s)
    return dict(sorted(out.items()))


def to_sort(series: dict[tuple[int, str], list[Slice]]) -> set[tuple[int, str]]:
    """The series that dcm2niix would mix or lose something of, so that their images are converted one by one.

    These are uncombined channels; echo times or scales that only private tags have; and files of several frames with phase (or
    real and imaginary) images, and the magnitude series of the same echo times.
    """
    found = {k for k, m in series.items() if any(s.hidden_te or s.shift for s in m) or uncombined(m)}
    framed = {k: m for k, m in series.items() if m[0].frame is not None and not m[0].epi}
    times = {k: {s.te_ms for s in m} for k, m in framed.items()}
    wanted = [times[k] for k, m in framed.items() if any(s.part not in ("", "magnitude") for s in m)]
    return found | {k for k in framed if times[k] in wanted}
