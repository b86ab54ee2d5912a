"""Gradient-echo scans in a BIDS data set, with the inheritance of metadata."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from chimap.errors import InputError
from chimap.io.findings import Finding
from chimap.io.scan import Scan
from chimap.io.sidecar import beside, echo_times, field_strength, read_json, selected, stem

SUFFIXES = ("MEGRE", "T2starw", "T2star", "GRE", "gre")
"""MEGRE and T2starw are BIDS; the others are names from before there was one for these scans."""

PARTS = {
    "phase": "phase",
    "ph": "phase",
    "mag": "magnitude",
    "magnitude": "magnitude",
    "real": "real",
    "imag": "imaginary",
    "imaginary": "imaginary",
}
ORDER = (
    "sub",
    "ses",
    "sample",
    "task",
    "acq",
    "ce",
    "trc",
    "stain",
    "rec",
    "dir",
    "run",
    "inv",
    "flip",
    "chunk",
)
_SKIPPED = {"derivatives", "sourcedata", "code", "stimuli", "phenotype", "logs", "work"}


def parse_name(path: Path) -> tuple[dict[str, str], str] | None:
    """Entities and suffix of a BIDS file name; None if it is not one."""
    words = stem(path).split("_")
    entities = {}
    for word in words[:-1]:
        key, dash, value = word.partition("-")
        if not (dash and key.isalnum() and value):
            return None
        entities[key] = value
    return (entities, words[-1]) if "sub" in entities and "-" not in words[-1] else None


def is_bids(path: Path) -> bool:
    """Whether a folder is a BIDS data set, or a subject of one."""
    return (
        (path / "dataset_description.json").is_file()
        or path.name.startswith("sub-")
        or any(p.is_dir() for p in path.glob("sub-*"))
    )


def root_of(path: Path) -> Path:
    """The data set that a folder belongs to: the nearest one upwards with a description, else the folder."""
    for p in (path, *path.parents):
        if (p / "dataset_description.json").is_file():
            return p
    return path


def metadata_of(path: Path, root: Path) -> dict[str, Any]:
    """The sidecar fields that apply to an image: those of files further down overrule those further up."""
    parsed = parse_name(path)
    if parsed is None:
        return beside(path)
    entities, suffix = parsed
    folders = [p for p in (path.parent, *path.parent.parents) if p == root or root in p.parents]
    values: dict[str, Any] = {}
    for folder in reversed(folders):
        applying = []
        for candidate in _sidecars(folder):
            theirs = _parse_sidecar(candidate)
            if theirs and theirs[1] == suffix and theirs[0].items() <= entities.items():
                applying.append((len(theirs[0]), candidate.name, candidate))
        for _, _, candidate in sorted(applying):
            values.update(read_json(candidate))
    return values


def _sidecars(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.glob("*.json")) if not p.name.startswith(".")]


def _parse_sidecar(path: Path) -> tuple[dict[str, str], str] | None:
    words = stem(path).split("_")
    pairs = [w.partition("-") for w in words[:-1]]
    if not all(dash and value for _, dash, value in pairs):
        return None
    return {k: v for k, _, v in pairs}, words[-1]


def image_files(folder: Path) -> list[Path]:
    """All NIfTI files of a data set, derivatives and hidden folders left out, in a fixed order."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(d for d in folders if d not in _SKIPPED and not d.startswith("."))
        found += [
            Path(here) / f for f in sorted(files) if f.endswith((".nii", ".nii.gz")) and not f.startswith(".")
        ]
    return found


def find(path: Path) -> list[Scan]:
    """The gradient-echo scans with phase in a BIDS data set (or one of its folders), in the order of names.

    What is wrong with a scan is kept in its `problems`, so that one bad scan does not hide the others.

    Raises
    ------
    InputError
        If there is no such scan at all.
    """
    root = root_of(path)
    groups: dict[tuple[str, str], dict[str, list[tuple[int | None, Path]]]] = {}
    entities_of: dict[tuple[str, str], dict[str, str]] = {}
    seen = 0
    for file in image_files(path):
        parsed = parse_name(file)
        seen += 1
        if parsed is None or parsed[1] not in SUFFIXES:
            continue
        entities, suffix = parsed
        part = PARTS.get(entities.get("part", "mag"))
        if part is None:
            continue
        echo = entities.get("echo", "")
        rest = {k: v for k, v in entities.items() if k not in ("echo", "part")}
        ordered = {
            k: rest[k] for k in sorted(rest, key=lambda k: ORDER.index(k) if k in ORDER else len(ORDER))
        }
        name = "_".join(f"{k}-{v}" for k, v in ordered.items())
        groups.setdefault((name, suffix), {}).setdefault(part, []).append(
            (int(echo) if re.fullmatch("[0-9]{1,3}", echo) else None, file)
        )
        entities_of[name, suffix] = ordered
    scans = [
        _scan(name, entities_of[name, suffix], parts, root)
        for (name, suffix), parts in sorted(groups.items())
        if "phase" in parts or "real" in parts or "imaginary" in parts
    ]
    if scans:
        return _distinct(scans, sorted(groups))
    if groups:
        raise InputError(
            f"{len(groups)} gradient-echo scans but none with phase: part-phase (or part-real and part-imag) is missing",
            file=path,
            fix="Export the phase images too",
        )
    names = " or ".join(f"*_{s}.nii.gz" for s in SUFFIXES[:2])
    if seen:
        fix = f"Name them as BIDS asks ({names} with part-mag and part-phase), or give files with --phase"
        raise InputError(
            f"{seen} NIfTI files but no multi-echo gradient-echo scan among them", file=path, fix=fix
        )
    raise InputError(
        "no images in this data set", file=path, fix=f"{names} with part-mag and part-phase are expected"
    )


def _distinct(scans: list[Scan], keys: list[tuple[str, str]]) -> list[Scan]:
    """Two suffixes of otherwise one name (MEGRE and T2starw) get names of their own."""
    names = [s.name for s in scans]
    out = []
    for scan in scans:
        if names.count(scan.name) > 1:
            suffix = (parse_name((*scan.phase, *scan.real)[0]) or ({}, ""))[1]
            acq = scan.entities.get("acq", "") + suffix
            entities = {k: scan.entities[k] for k in scan.entities if k in ("sub", "ses")} | {"acq": acq}
            entities |= {k: v for k, v in scan.entities.items() if k not in entities}
            scan = replace(scan, name="_".join(f"{k}-{v}" for k, v in entities.items()), entities=entities)
        out.append(scan)
    return out


def _scan(
    name: str, entities: dict[str, str], parts: dict[str, list[tuple[int | None, Path]]], root: Path
) -> Scan:
    problems: list[Finding] = []
    ordered = {part: sorted(files, key=lambda f: (f[0] or 0, f[1].name)) for part, files in parts.items()}
    main = "phase" if "phase" in ordered else "real"
    if main == "real":
        # A complex scan: its magnitude comes from real and imaginary.
        ordered.pop("magnitude", None)
        for needed in ("real", "imaginary"):
            if needed not in ordered:
                short = needed.replace("inary", "")
                what = f"part-{short} is missing; real and imaginary come in pairs"
                problems.append(Finding("error", "files", what, "Add it, or give part-phase", name))
    else:
        ordered.pop("real", None)
        ordered.pop("imaginary", None)
    _check_echo_numbers(ordered, main, name, problems)
    te: list[float] = []
    b0 = math.nan
    b0_findings: list[Finding] = []
    metadata: dict[str, Any] = {}
    readable: dict[str, Any] = {}
    for i, (_, file) in enumerate(ordered.get(main, [])):
        try:
            values = metadata_of(file, root)
            if main == "phase" and "EchoTime" not in values:
                values = _from_magnitude(ordered, i, root) | values
        except InputError as e:
            problems.append(Finding.of_error(e, "sidecar"))
            continue
        readable = readable or values
        times, wrong = echo_times(values, file)
        problems += wrong
        te += times
        if not metadata:
            metadata = selected(values)
            b0, b0_findings = field_strength(values, file)
    problems += b0_findings
    if not any(p.level == "error" for p in problems):
        _check_order(tuple(te), [f for _, f in ordered[main]], problems)
    files = {part: tuple(f for _, f in members) for part, members in ordered.items()}
    return Scan(
        name=name,
        entities=entities,
        te_s=tuple(te),
        b0_t=b0,
        metadata=metadata,
        sidecar=bool(readable),
        problems=tuple(problems),
        phase=files.get("phase", ()),
        magnitude=files.get("magnitude", ()),
        real=files.get("real", ()),
        imaginary=files.get("imaginary", ()),
    )


def _from_magnitude(ordered: dict[str, list[tuple[int | None, Path]]], i: int, root: Path) -> dict[str, Any]:
    """The sidecar of the same echo's magnitude: some converters describe only that."""
    files = ordered.get("magnitude", [])
    return metadata_of(files[i][1], root) if i < len(files) else {}


def _check_echo_numbers(
    ordered: dict[str, list[tuple[int | None, Path]]], main: str, name: str, problems: list[Finding]
) -> None:
    numbers = {part: [n for n, _ in files] for part, files in ordered.items()}
    for part, found in numbers.items():
        if len(found) > 1 and None in found:
            what = f"{len(found)} {part} files, some without an echo number"
            problems.append(Finding("error", "echoes", what, "Add echo-1, echo-2 ... to their names", name))
            return
        known = [n for n in found if n is not None]
        if len(set(known)) < len(known):
            twice = next(n for n in known if known.count(n) > 1)
            what = f"echo-{twice} of the {part} is there twice"
            problems.append(Finding("error", "echoes", what, "Keep one file an echo", name))
        missing = sorted(set(range(1, max(known, default=0) + 1)) - set(known))
        if missing:
            what = f"echo-{_names(missing)} of the {part} is missing; found echo-{_names(known)}"
            fix = "Add the file, or number the echoes from 1 without gaps"
            problems.append(Finding("error", "echoes", what, fix, name))
    for part, found in numbers.items():
        if part != main and sorted(map(str, found)) != sorted(map(str, numbers.get(main, []))):
            what = f"the {main} has {len(numbers.get(main, []))} echoes but the {part} {len(found)}"
            if not any(p.topic == "echoes" for p in problems):
                problems.append(Finding("error", "echoes", what, "Give both parts of each echo", name))


def _check_order(te: tuple[float, ...], files: Iterable[Path], problems: list[Finding]) -> None:
    names = list(files)
    for i in range(1, len(te)):
        if te[i] <= te[i - 1]:
            what = (
                f"echo times are out of order: {1000 * te[i]:g} ms follows {1000 * te[i - 1]:g} ms; "
                "each echo must be later than the one before"
            )
            fix = "Correct EchoTime in the sidecars, or the echo numbers in the names"
            problems.append(Finding("error", "echo times", what, fix, str(names[min(i, len(names) - 1)])))
            return


def _names(numbers: Iterable[int]) -> str:
    return ", ".join(str(n) for n in numbers)
