"""Converted DICOM, sorted into scans by what the sidecars say."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chimap.errors import InputError
from chimap.io.dicom_convert import INCOMPLETE, convert, described
from chimap.io.dicom_convert import files as _files
from chimap.io.findings import Finding
from chimap.io.scan import Scan
from chimap.io.sidecar import echo_times, field_strength, number, selected, stem

__all__ = ["convert", "find", "has_dicom", "looks_like_dicom"]

_MOST_LOOKED_AT = 200
_NOT_SIGNAL = {
    "SWI",
    "MNIP",
    "MIN_IP",
    "MINIP",
    "MPR",
    "LOCALIZER",
    "PHASEDIFF",
    "T2 MAP",
}
_MAPS = {"T2_STAR", "R2_STAR"}
"""Maps if the image is derived; in enhanced DICOM T2_STAR is the contrast of original images too."""


def looks_like_dicom(file: Path) -> bool:
    """Whether a file has the mark of DICOM after its preamble, or a name that only DICOM has."""
    try:
        # Opening a pipe would wait for ever.
        if not file.is_file():
            return False
        with open(file, "rb") as f:
            return f.read(132)[128:] == b"DICM" or file.suffix.lower() in (".dcm", ".ima")
    except OSError:
        return False


def has_dicom(folder: Path) -> bool:
    """Whether there is DICOM among the first files of a folder and those below it."""
    for i, file in enumerate(_files(folder)):
        if looks_like_dicom(file):
            return True
        if i >= _MOST_LOOKED_AT:
            break
    return False


@dataclass(frozen=True)
class _Image:
    """One converted file: what part of the signal it holds, of which series and echo."""

    path: Path
    part: str
    series: float
    te: float
    sidecar: dict[str, Any]

    @property
    def key(self) -> tuple[str, float]:
        return self.part, self.series


def find(folder: Path, origin: Path) -> list[Scan]:
    """The multi-echo scans with phase among converted files with sidecars; `origin` is named in errors.

    Series of phase (or real and imaginary) images are paired with the magnitude series that has the same
    echo times: of the same series number (GE, Philips), acquired at the same time, or else the nearest number
    (Siemens).

    Raises
    ------
    InputError
        If there is no series with phase.
    """
    images = [i for i in map(_image, sorted(folder.glob("*.nii*"))) if i is not None]
    series: dict[tuple[str, float], list[_Image]] = {}
    for image in images:
        series.setdefault(image.key, []).append(image)
    scans = []
    for (part, number_), members in sorted(series.items(), key=lambda kv: kv[0][1]):
        if part == "phase":
            scans.append((number_, {"phase": members, "magnitude": _partner(members, series, "magnitude")}))
        elif part == "real" and ("phase", number_) not in series:
            scans.append((number_, {"real": members, "imaginary": _partner(members, series, "imaginary")}))
    if not scans:
        kinds = sorted({i.part for i in images}) or ["nothing"]
        raise InputError(
            f"no phase images in this folder (found: {', '.join(kinds)})",
            file=origin,
            fix="Export the phase (or real and imaginary) images of the gradient-echo scan too",
        )
    scans = [s for s in scans if not _is_other_purpose(s[1])] or scans
    notes: list[Finding] = []
    if (folder / INCOMPLETE).is_file():
        what = f"not all files could be converted ({(folder / INCOMPLETE).read_text(encoding='utf-8')})"
        notes.append(Finding("warning", "DICOM", what, "Check that the export is complete", str(origin)))
    many = len(scans) > 1
    return [_scan(f"scan_run-{n:g}" if many else "scan", n if many else None, p, notes) for n, p in scans]


def _is_other_purpose(parts: dict[str, list[_Image]]) -> bool:
    """Phase of an EPI series, or the phase difference of a field map: left alone if there is better."""
    images = next(iter(parts.values()))
    s = images[0].sidecar
    difference = len(images) == 1 and s.get("EchoNumber") == 2 and "EchoTime1" in s
    return difference or "EP" in str(s.get("ScanningSequence", "")).upper()


def _scan(name: str, run: float | None, parts: dict[str, list[_Image]], notes: list[Finding]) -> Scan:
    problems = list(notes)
    main, other = list(parts)
    members = sorted(parts[main], key=lambda i: (i.te, i.path.name))
    partners = sorted(parts[other], key=lambda i: (i.te, i.path.name))
    times: list[float] = []
    for image in members:
        te, wrong = echo_times(image.sidecar, image.path)
        problems += wrong
        times += te
    if any(b <= a for a, b in zip(times, times[1:], strict=False)):
        shown = ", ".join(f"{1000 * t:g}" for t in times)
        what = f"series {members[0].series:g} has echo times {shown} ms, some of them twice"
        fix = "If these are repetitions or coils, convert them and give one set with --phase and --magnitude"
        problems.append(Finding("error", "echo times", what, fix, str(members[0].path)))
    if main == "real" and not partners:
        what = "real images without imaginary ones"
        problems.append(Finding("error", "files", what, "Export both", str(members[0].path)))
    elif partners and len(partners) != len(members):
        what = f"{len(members)} echoes of {main} but {len(partners)} of {other}"
        problems.append(Finding("error", "echoes", what, "Export both for each echo", str(members[0].path)))
    numbers = [int(n) for n in (number(i.sidecar.get("EchoNumber")) for i in members) if not math.isnan(n)]
    # A number beyond all reason is not a count of echoes.
    counted = len(numbers) == len(members) and max(numbers, default=0) < 1000
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers)) if counted else []
    if missing and len(set(numbers)) == len(numbers):
        what = f"echo {', '.join(map(str, missing))} is missing; found {', '.join(map(str, sorted(numbers)))}"
        problems.append(Finding("error", "echoes", what, "Export all echoes", str(members[0].path)))
    for image in members + partners:
        # dcm2niix then writes a second, interpolated volume beside.
        if any(image.path.parent.glob(f"{stem(image.path)}_Eq*")):
            what = f"slices of series {image.series:g} are missing or unevenly spaced"
            problems.append(Finding("error", "slices", what, "Export all slices", str(image.path)))
            break
    b0, wrong = field_strength(members[0].sidecar, members[0].path)
    channels = max(int(i.sidecar.get("Channels", 1)) for i in members)
    if any(int(i.sidecar.get("Channels", 1)) != channels for i in (*members, *partners)):
        what = (
            f"series {members[0].series:g} has not the same number of receive channels in each echo and part"
        )
        problems.append(Finding("error", "channels", what, "Export all channels", str(members[0].path)))
    files = {main: tuple(i.path for i in members), other: tuple(i.path for i in partners)}
    return Scan(
        name=name,
        entities={} if run is None else {"run": f"{run:g}"},
        te_s=tuple(times),
        b0_t=b0,
        metadata=selected(members[0].sidecar),
        sidecar=True,
        channels=channels,
        problems=(*problems, *wrong),
        phase=files.get("phase", ()),
        magnitude=files.get("magnitude", ()),
        real=files.get("real", ()),
        imaginary=files.get("imaginary", ()),
    )


def _image(path: Path) -> _Image | None:
    s = described(path)
    if not s:
        return None
    te = number(s.get("EchoTime"))
    return _Image(path, _part(path, s), number(s.get("SeriesNumber")), te, s)


def _part(path: Path, sidecar: dict[str, Any]) -> str:
    """magnitude, phase, real or imaginary; "other" for what no reconstruction uses (phase differences, maps)."""
    types = {str(t).upper() for t in sidecar.get("ImageType") or []}
    words = stem(path).lower().split("_")[-2:]
    if types & _NOT_SIGNAL or (types & _MAPS and "DERIVED" in types):
        return "other"
    if "Part" in sidecar:
        return str(sidecar["Part"])
    if any(w.startswith("imaginary") for w in words) or "IMAGINARY" in types:
        return "imaginary"
    if any(w.startswith("real") for w in words) or "REAL" in types:
        return "real"
    # dcm2niix adds a letter where a name is taken; a "phantom" is no phase.
    if any(re.fullmatch("ph(ase)?[a-z]?", w) for w in words) or types & {"PHASE", "P", "PHASE MAP"}:
        return "phase"
    return "magnitude"


def _partner(members: list[_Image], series: dict[tuple[str, float], list[_Image]], part: str) -> list[_Image]:
    """The series of `part` that belongs to a series of phase or real images; empty if there is none."""
    times = sorted(round(i.te, 6) for i in members)
    first = members[0]

    def distance(candidate: list[_Image]) -> tuple[bool, bool, float]:
        other = candidate[0]
        when = first.sidecar.get("AcquisitionTime")
        return (
            other.series != first.series,
            when is None or other.sidecar.get("AcquisitionTime") != when,
            abs(other.series - first.series),
        )

    same_times = [
        m for (p, _), m in series.items() if p == part and sorted(round(i.te, 6) for i in m) == times
    ]
    near = [m for (p, n), m in series.items() if p == part and n == first.series]
    candidates = same_times or near
    return min(candidates, key=distance) if candidates else []
