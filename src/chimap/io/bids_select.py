"""Which scans of a data set are meant, and which other files go with them: filters, label images, participants."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chimap import textfile
from chimap.errors import InputError
from chimap.io.bids import image_files, parse_name
from chimap.io.scan import Scan

LONG_NAMES = {
    "subject": "sub",
    "session": "ses",
    "sample": "sample",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "inv": "inv",
    "space": "space",
    "desc": "desc",
    "description": "desc",
    "segmentation": "seg",
    "atlas": "atlas",
    "resolution": "res",
    "suffix": "suffix",
    "datatype": "datatype",
}
"""PyBIDS' names of entities, and the keys that stand for them in file names."""

SCAN_KEYS = ("megre", "qsm")
LABEL_KEYS = ("dseg", "labels")
T1W_KEYS = ("t1w",)

Query = Mapping[str, Any]


def read_filters(path: Path) -> dict[str, dict[str, Any]]:
    """The queries of a filter file: ``megre`` (or ``qsm``) for scans, ``dseg`` (or ``labels``) for label images, ``t1w``.

    Each maps entities by PyBIDS' names to a value, a list of values, null (the entity is absent) or "*" (it is
    there, whatever it is). Queries of other programs (bold ...) are left alone.

    Returns
    -------
    dict
        With the keys "scan", "labels" and "t1w"; their entities by BIDS' short names.

    Raises
    ------
    InputError
        If the file is no readable JSON, has none of these queries, or names an unknown entity.
    """
    values = textfile.read_json(path)
    example = 'Such as {"megre": {"session": ["1", "2"], "run": null}}'
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        raise InputError("the filter file is not a mapping of queries", file=path, fix=example)
    out: dict[str, dict[str, Any]] = {"scan": {}, "labels": {}, "t1w": {}}
    known = (
        dict.fromkeys(SCAN_KEYS, "scan")
        | dict.fromkeys(LABEL_KEYS, "labels")
        | dict.fromkeys(T1W_KEYS, "t1w")
    )
    if not known.keys() & values.keys():
        raise InputError(f"no query is named {' or '.join(known)}", file=path, fix=example)
    for name in known.keys() & values.keys():
        for entity, wanted in values[name].items():
            short = LONG_NAMES.get(entity, entity if entity in LONG_NAMES.values() else None)
            if short is None:
                names = ", ".join(LONG_NAMES)
                raise InputError(
                    f"query {name}: there is no entity {entity!r}", file=path, fix=f"Choose of: {names}"
                )
            out[known[name]][short] = wanted
    return out


def matches(entities: Mapping[str, str], query: Query) -> bool:
    """Whether a file's entities (with suffix and datatype) are what a query asks for."""
    return all(_agrees(entities.get(key), wanted) for key, wanted in query.items())


def _agrees(value: str | None, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple):
        return any(_agrees(value, w) for w in wanted)
    if wanted is None or wanted == "Query.NONE":
        return value is None
    if wanted in ("*", "Query.ANY"):
        return value is not None
    if wanted == "Query.OPTIONAL":
        return True
    # Runs are numbers in queries, and may have zeros before them in names.
    return value is not None and (
        value == str(wanted) or (value.isdigit() and str(wanted).isdigit() and int(value) == int(wanted))
    )


def select(
    scans: Sequence[Scan],
    *,
    subjects: Sequence[str] = (),
    sessions: Sequence[str] = (),
    query: Query | None = None,
    source: str | Path | None = None,
) -> list[Scan]:
    """The scans of these subjects and sessions (with or without ``sub-`` and ``ses-``) that fit the query.

    Raises
    ------
    InputError
        If a label does not exist, or nothing is left.
    """
    chosen = list(scans)
    for key, flag, labels in (
        ("sub", "--participant-label", subjects),
        ("ses", "--session-label", sessions),
    ):
        if not labels:
            continue
        wanted = {label.removeprefix(f"{key}-") for label in labels}
        have = {s.entities.get(key) for s in scans}
        missing = sorted(wanted - have)
        if missing:
            known = ", ".join(sorted(h for h in have if h)) or "none"
            raise InputError(
                f"{flag}: there is no {', '.join(missing)}", file=source, fix=f"There is: {known}"
            )
        chosen = [s for s in chosen if s.entities.get(key) in wanted]
    if not chosen:
        raise InputError("no scan has both these subjects and sessions", file=source)
    if query:
        chosen = [s for s in chosen if matches(_described(s), query)]
        if not chosen:
            raise InputError("no scan fits the query for scans in the filter file", file=source)
    return chosen


def _described(scan: Scan) -> dict[str, str]:
    file = next(iter(scan.files), None)
    parsed = parse_name(file) if file is not None else None
    if file is None or parsed is None:
        return scan.entities
    return {**scan.entities, "suffix": parsed[1], "datatype": file.parent.name}


def label_image(scan: Scan, folder: Path, query: Query | None = None) -> Path | None:
    """The label image in `folder` (a data set or its derivatives) that belongs to a scan; None without one.

    It has the suffix ``dseg`` (or the query's), and of subject, session, run and the like no other value than the scan.
    The one that shares most of them is taken: labels without a session serve all sessions of a subject.

    Raises
    ------
    InputError
        If several fit alike.
    """
    wanted = {"suffix": "dseg", **(query or {})}
    best = belonging(scan, folder, lambda entities: matches(entities, wanted))
    if len(best) > 1:
        names = ", ".join(p.name for p in best[:4])
        raise InputError(
            f"{len(best)} label images fit scan {scan.name}: {names}",
            file=folder,
            fix='Choose with --bids-filter-file, such as {"dseg": {"desc": "aseg"}}',
        )
    return best[0] if best else None


def belonging(scan: Scan, folder: Path, fits: Callable[[Mapping[str, str]], bool]) -> list[Path]:
    """The images in a BIDS folder that belong to a scan and fit (entities with suffix and datatype).

    They have of subject, session, run and the like no other value than the scan. Those that share most of them are returned.
    """
    own = {k: v for k, v in scan.entities.items() if k not in ("part", "echo")}
    found: dict[int, list[Path]] = {}
    subject = folder / f"sub-{scan.entities.get('sub', '')}"
    for file in image_files(subject if subject.is_dir() else folder):
        entities, suffix = parse_name(file) or ({}, "")
        if entities.get("sub") != scan.entities.get("sub"):
            continue
        shared = {
            k: v for k, v in entities.items() if k in ("ses", "sample", "acq", "ce", "rec", "dir", "run")
        }
        if any(own.get(k) != v for k, v in shared.items()):
            continue
        if fits({**entities, "suffix": suffix, "datatype": file.parent.name}):
            found.setdefault(len(shared), []).append(file)
    return found[max(found)] if found else []


def participants(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a ``participants.tsv`` by subject label without ``sub-``; values n/a and empty ones are left out.

    Raises
    ------
    InputError
        If it cannot be read, has no column participant_id, or a participant twice.
    """
    text = textfile.read_text(path)
    out: dict[str, dict[str, str]] = {}
    reader = csv.DictReader(text.splitlines(), delimiter="\t")
    if "participant_id" not in (reader.fieldnames or ()):
        raise InputError(
            "there is no column participant_id", file=path, fix="Separate columns by tabs, as BIDS asks"
        )
    for row in reader:
        label = (row.pop("participant_id") or "").strip().removeprefix("sub-")
        if label in out:
            raise InputError(f"participant sub-{label} is there twice", file=path, fix="Keep one row each")
        out[label] = {k: v.strip() for k, v in row.items() if k and v and v.strip() not in ("", "n/a", "N/A")}
    return out


def age_of(row: Mapping[str, str] | None) -> float | None:
    """The age in years of a participant's row; None if it is no number (such as 89+)."""
    try:
        return float((row or {}).get("age", ""))
    except ValueError:
        return None
