"""What the finished scans of an output folder say: one record a scan, read from their sidecars and tables."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimap import textfile
from chimap.errors import InputError
from chimap.io.bids import parse_name
from chimap.pipeline.plan import BRAIN, CHI, COMBINED, LOCAL, RAW_CHI, TOTAL
from chimap.pipeline.quality_terms import TERMS
from chimap.pipeline.store import key_of

MEASURES: dict[str, tuple[str, str]] = {
    "reference_mean_ppb": ("ppb", "Mean of the reference region under whole-brain referencing"),
    "reference_sd_ppb": ("ppb", "Standard deviation of susceptibility over the reference region"),
    "reference_ml": ("ml", "Volume of the reference region"),
    "mask_kept": ("", "Share of the brain mask that was kept when voxels of unreliable phase were taken out"),
    "background_kept": ("", "Share of the brain mask in which the local field is valid"),
    "excluded_share": ("", "Share of the mask whose field is lost"),
    "sign_correlation": ("", "Correlation by which the sign of the phase was told; near 0 it could not be"),
    "warnings": ("", "Warnings of the checks on the input"),
    "quality_warnings": ("", "Quality numbers beyond their limits"),
    **{name: (term.unit, term.text) for name, term in TERMS.items()},
}
"""The measures of a scan: unit and description. A ``_quality.json`` of another version may hold others."""


@dataclass
class Subject:
    """A finished scan.

    Parameters
    ----------
    name : str
        ``sub-01_ses-1``.
    entities : dict
    report : str
        Path of its report relative to the output folder, "" without one.
    measures : dict
        Numbers about its quality.
    regions : list of dict
        Its table of regions; numbers as float.
    reference : str
        Name of the reference region.
    recipe : str
        Hash over methods and parameters: scans with different ones are not to be compared.
    """

    name: str
    entities: dict[str, str]
    report: str
    measures: dict[str, float]
    regions: list[dict[str, Any]]
    reference: str
    recipe: str
    participant: dict[str, str] = field(default_factory=dict)


def collect(out_dir: Path) -> list[Subject]:
    """All scans with a finished susceptibility map below a folder of results, in the order of names.

    Raises
    ------
    InputError
        If there is none, or a table cannot be read.
    """
    suffix = f"{CHI.suffix}.json"
    found = [p for p in sorted(out_dir.glob(f"sub-*/**/*{suffix}")) if "_desc-" not in p.name]
    subjects = [
        s for s in (_subject(p, p.name.removesuffix(suffix), out_dir) for p in found) if s is not None
    ]
    if not subjects:
        raise InputError(
            "there is no finished scan", file=out_dir, fix="Run chimap run BIDS OUT participant before"
        )
    return sorted(subjects, key=lambda s: s.name)


def _subject(chi: Path, name: str, out_dir: Path) -> Subject | None:
    record = _record(chi)
    if record.get("stage") != "reference":
        return None
    about = {
        o: _record(chi.with_name(f"{name}{o.suffix}.json")) for o in (COMBINED, BRAIN, TOTAL, LOCAL, RAW_CHI)
    }
    reference = record.get("reference") or {}
    size = (about[COMBINED].get("acquisition") or {}).get("voxel_size") or [math.nan]
    sign = about[TOTAL].get("phase_sign") or {}
    values = {
        "reference_mean_ppb": _times(reference.get("mean_ppm"), 1000),
        "reference_sd_ppb": _times(reference.get("sd_ppm"), 1000),
        "reference_ml": _times(reference.get("voxels"), math.prod(size) / 1000),
        "mask_kept": (about[BRAIN].get("refined_by_phase_quality") or {}).get("kept"),
        "background_kept": about[LOCAL].get("kept_of_mask"),
        "excluded_share": (about[TOTAL].get("excluded") or {}).get("share"),
        "sign_correlation": sign.get("correlation"),
        "warnings": sum(f.get("level") == "warning" for f in about[COMBINED].get("findings") or ()),
        **_quality(chi.with_name(f"{name}_quality.json")),
    }
    recipe = {
        o.suffix: (r.get("method"), r.get("parameters"), r.get("version"))
        for o, r in [*about.items(), (CHI, record)]
    }
    parsed = parse_name(Path(f"{name}_x.nii"))
    report = chi.with_name(f"{name}_report.html")
    return Subject(
        name=name,
        entities=parsed[0] if parsed else {},
        report=report.relative_to(out_dir).as_posix() if report.is_file() else "",
        measures={k: float(v) for k, v in values.items() if _is_number(v)},
        regions=_regions(chi.with_name(f"{name}_desc-regions_Chimap.tsv")),
        reference=str(reference.get("name", "")),
        recipe=key_of(recipe=recipe),
    )


def _record(path: Path) -> dict[str, Any]:
    """The record of the stage that made a sidecar; {} without one."""
    values = _json(path)
    record = values.get("Chimap")
    return record if isinstance(record, dict) else {}


def _quality(path: Path) -> dict[str, float]:
    """The numbers of a scan's quality file, which is flat; {} without one."""
    values = _json(path)
    numbers = {k: v for k, v in values.items() if _is_number(v)}
    if isinstance(values.get("Warnings"), list):
        numbers["quality_warnings"] = len(values["Warnings"])
    return numbers


def _json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; {} where there is none or it is spoiled: that scan then lacks these values."""
    try:
        values = textfile.read_json(path)
    except InputError:
        return {}
    return values if isinstance(values, dict) else {}


def _regions(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows = list(csv.DictReader(textfile.read_text(path).splitlines(), delimiter="\t"))
    if rows and not {"label", "name", "mean_ppb"} <= rows[0].keys():
        raise InputError("this is no table of regions of chimap", file=path, fix="Run the scan again")
    return [{k: _value(v) for k, v in row.items()} for row in rows]


def _value(text: str | None) -> Any:
    if text is None or text in ("", "n/a"):
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and "." not in text and "e" not in text.lower() else number


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _times(value: Any, factor: float) -> float | None:
    # What is exactly zero but for rounding shall not look like a spread.
    return round(value * factor, 6) if _is_number(value) else None


def names_of(values: Iterable[Iterable[str]]) -> list[str]:
    """All names, each once, in the order in which they appear first."""
    return list(dict.fromkeys(name for names in values for name in names))
