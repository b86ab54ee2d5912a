"""What JSON sidecars say about a scan: read, reduced to the fields that a reconstruction may keep."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from chimap import textfile
from chimap.acquisition import GAMMA_BAR_MHZ_PER_T
from chimap.errors import InputError
from chimap.io.findings import Finding

KEPT = (
    "Manufacturer",
    "ManufacturersModelName",
    "SoftwareVersions",
    "MagneticFieldStrength",
    "ImagingFrequency",
    "ReceiveCoilName",
    "CoilCombinationMethod",
    "PulseSequenceType",
    "ScanningSequence",
    "SequenceVariant",
    "SequenceName",
    "MRAcquisitionType",
    "RepetitionTime",
    "FlipAngle",
    "PixelBandwidth",
    "EchoTrainLength",
    "ParallelReductionFactorInPlane",
    "PartialFourier",
    "SliceThickness",
    "SpacingBetweenSlices",
    "PhaseEncodingDirection",
    "ConversionSoftware",
    "ConversionSoftwareVersion",
    "Units",
)
"""A list of what is kept, not of what is dropped: names, dates, identifiers and free text never get through."""

_LONGEST = 500


def selected(sidecar: dict[str, Any]) -> dict[str, Any]:
    """The fields of a sidecar that describe the scanner and the sequence, and nobody's identity."""
    return {k: _clean(sidecar[k]) for k in KEPT if sidecar.get(k) not in (None, "", [])}


def _clean(value: Any) -> Any:
    """Text without what cannot be written as UTF-8, and of a length that belongs into a table."""
    if isinstance(value, str):
        return value[:_LONGEST].encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list | dict | int) and len(str(value)) > _LONGEST:
        return None
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a sidecar; raises `InputError` if it is not a JSON object."""
    values = textfile.read_json(path)
    if not isinstance(values, dict):
        raise InputError("the sidecar is not a JSON object", file=path, fix="Repair the file")
    return values


def stem(path: Path) -> str:
    """File name without .nii, .nii.gz or .json."""
    name = path.name
    for ending in (".nii.gz", ".nii", ".json", ".hdr", ".img"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def beside(path: Path) -> dict[str, Any]:
    """The sidecar of the same name in the same folder; empty if there is none."""
    candidate = path.with_name(stem(path) + ".json")
    return read_json(candidate) if candidate.is_file() else {}


def field_strength(sidecar: dict[str, Any], file: Path) -> tuple[float, list[Finding]]:
    """B0 in T, and how it was found; NaN with an error where it is not given.

    The imaging frequency, where it is given, is the more exact: a "3 T" magnet may stand at 2.89 T, which
    would make each field in ppm 4 % too large or small.
    """
    nominal = number(sidecar.get("MagneticFieldStrength"))
    frequency = number(sidecar.get("ImagingFrequency"))
    exact = frequency / GAMMA_BAR_MHZ_PER_T
    name = str(file)
    if math.isnan(nominal) and math.isnan(frequency):
        fix = "Add MagneticFieldStrength (in T) to the sidecar"
        what = "MagneticFieldStrength is missing in the sidecar, and so is ImagingFrequency"
        return math.nan, [Finding("error", "field strength", what, fix, name)]
    if math.isnan(nominal):
        what = f"MagneticFieldStrength is missing; {exact:.4g} T from ImagingFrequency {frequency:g} MHz"
        return exact, [Finding("note", "field strength", what, "", name)]
    if not 0.01 <= nominal <= 30:
        what = f"MagneticFieldStrength is {nominal:g}; 0.01 to 30 T are expected"
        return math.nan, [Finding("error", "field strength", what, "Give it in tesla", name)]
    if math.isnan(frequency):
        return nominal, [Finding("ok", "field strength", f"{nominal:g} T")]
    if abs(exact - nominal) > 0.05 * nominal:
        what = (
            f"MagneticFieldStrength {nominal:g} T and ImagingFrequency {frequency:g} MHz ({exact:.4g} T) "
            f"disagree; {nominal:g} T is used"
        )
        return nominal, [Finding("warning", "field strength", what, "Correct the sidecar", name)]
    what = f"{exact:.4g} T from the imaging frequency {frequency:g} MHz (nominal {nominal:g} T)"
    return exact, [Finding("ok", "field strength", what)]


def echo_times(sidecar: dict[str, Any], file: Path) -> tuple[tuple[float, ...], list[Finding]]:
    """The echo times of one file in s, and what is wrong with them."""
    given = sidecar.get("EchoTime")
    values = tuple(number(v) for v in (given if isinstance(given, list) else [given]))
    name = str(file)
    if given is None or not values or any(math.isnan(v) for v in values):
        what = (
            "EchoTime is missing in the sidecar" if given is None else f"EchoTime {given!r} is not a number"
        )
        return (), [Finding("error", "echo times", what, "Add EchoTime in seconds to its JSON sidecar", name)]
    if min(values) <= 0:
        what = f"EchoTime is {_list(values)}; a positive number of seconds is expected"
        return (), [Finding("error", "echo times", what, "Correct the sidecar", name)]
    if max(values) > 0.5:
        what = f"EchoTime {_list(values)} looks like milliseconds; seconds are expected"
        fix = f"Write {_list(tuple(v / 1000 for v in values))} into the sidecar"
        return (), [Finding("error", "echo times", what, fix, name)]
    return values, []


def number(value: Any) -> float:
    """A finite float, or NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        x = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return x if math.isfinite(x) else math.nan


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:g}" for v in values)
