"""What a folder of results holds: its scans, their maps with unit and range, their reports."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimap.errors import InputError
from chimap.io.sidecar import beside, stem

_NAMES: dict[str, tuple[str, tuple[float, float] | None]] = {
    "Chimap": ("Susceptibility", (-0.1, 0.2)),
    "desc-unreferenced_Chimap": ("Susceptibility before referencing", (-0.1, 0.2)),
    "desc-local_fieldmap": ("Local field", (-0.05, 0.05)),
    "desc-localnoise_fieldmap": ("Noise of the local field", None),
    "desc-total_fieldmap": ("Total field", None),
    "desc-noise_fieldmap": ("Noise of the total field", None),
    "R2starmap": ("R2*", None),
    "T2starmap": ("T2*", None),
    "desc-combined_T2starw": ("Magnitude", None),
    "desc-brain_mask": ("Brain mask", None),
    "desc-valid_mask": ("Valid mask", None),
    "desc-excluded_dseg": ("Voxels without a usable field", None),
    "dseg": ("Labels", None),
}
"""Name after the scan's: title, and the window in the file's unit where it is always the same."""

_OF_THE_MAP = {"desc", "part", "echo", "label", "res", "den", "stat", "atlas", "seg", "space"}
"""BIDS entities that tell maps of one scan apart; the others tell scans apart."""

_LABELS = re.compile(r"(dseg|aseg|labels?|segmentation|parcellation|lesions|rois?)$", re.I)
_MASK = re.compile(r"mask$", re.I)
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class MapFile:
    """One NIfTI file as the page knows it: `key` names it, never its path on the disk."""

    key: str
    path: Path
    root: Path
    title: str
    kind: str
    unit: str
    susceptibility: bool = False
    window: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, str]:
        """What the page is told."""
        return {"key": self.key, "title": self.title, "kind": self.kind, "file": self.path.name}


@dataclass
class ScanEntry:
    """The files of one folder that share the entities of one scan."""

    name: str
    folder: str
    subject: str
    session: str
    maps: list[MapFile] = field(default_factory=list)
    methods: dict[str, str] = field(default_factory=dict)
    reference: str = ""
    report: str = ""

    def to_dict(self) -> dict[str, Any]:
        """What the page is told."""
        known = {"subject": self.subject, "session": self.session, "methods": self.methods}
        return {
            "name": self.name,
            "folder": self.folder,
            **known,
            "reference": self.reference,
            "report": self.report,
            "maps": [m.to_dict() for m in self.maps],
        }


@dataclass
class Catalogue:
    """All scans under the folders, and the files by key. `refused` counts what is left out: links that lead
    elsewhere, names that are no text."""

    scans: list[ScanEntry]
    maps: dict[str, MapFile]
    reports: dict[str, tuple[Path, Path]]
    refused: int


def read_catalogue(roots: Sequence[Path]) -> Catalogue:
    """Look through folders of results.

    Parameters
    ----------
    roots : paths
        Folders of `chimap run`, or folders above or below them.

    Raises
    ------
    InputError
        If one is missing or is not a folder.
    """
    found = Catalogue([], {}, {}, 0)
    for number, root in enumerate(roots):
        if not root.is_dir():
            what = "this is a file, not a folder" if root.exists() else "there is no such folder"
            raise InputError(what, file=root, fix="Give the folder that chimap run wrote into")
        home = root.resolve()
        # Two folders of the same name are told apart by number.
        title = home.name if len(roots) == 1 else f"{number + 1}: {home.name}"
        _read_root(found, home, number, title)
    found.scans.sort(key=lambda s: (not s.report, s.folder, s.subject, s.session, s.name))
    return found


def inside(path: Path, root: Path) -> bool:
    """Whether a file, links followed, is a plain file under `root`."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return real.is_relative_to(root) and real.is_file()


def _is_text(path: Path) -> bool:
    """Whether a name can be written to the page: on the disk names are bytes, and may be none."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def label_table(entry: MapFile) -> Path | None:
    """The table with the names of a label image: beside it, or that of its suffix in the folders up to the root."""
    folders = [f for f in entry.path.parents if f.is_relative_to(entry.root)]
    suffix = stem(entry.path).rpartition("_")[2]
    tables = [entry.path.with_name(f"{stem(entry.path)}.tsv"), *(f / f"{suffix}.tsv" for f in folders)]
    return next((t for t in tables if inside(t, entry.root)), None)


def sidecar_of(path: Path, root: Path) -> dict[str, Any]:
    """The JSON beside a file; empty if there is none under `root` that can be read."""
    if not inside(path.with_name(stem(path) + ".json"), root):
        return {}
    try:
        return beside(path)
    except InputError:  # A map can be looked at without it.
        return {}


def _read_root(found: Catalogue, root: Path, number: int, title: str) -> None:
    for folder, below, names in os.walk(root):
        below[:] = sorted(b for b in below if not b.startswith("."))
        here = Path(folder)
        found.refused += sum((here / b).is_symlink() for b in below)  # os.walk does not go there
        entries: dict[str, ScanEntry] = {}
        for name in sorted(n for n in names if not n.startswith(".")):
            path = here / name
            nifti, report = name.lower().endswith(_NIFTI), name.endswith("_report.html")
            if not nifti and not report:
                continue
            if not inside(path, root) or not _is_text(path):
                found.refused += 1
                continue
            key = f"{number}/{path.relative_to(root).as_posix()}"
            scan_name, rest = _split(name.removesuffix("_report.html") if report else stem(path))
            entry = entries.setdefault(scan_name, _scan(scan_name, here, root, title))
            if report:
                entry.report = key
                found.reports[key] = (path, root)
            else:
                _add_map(entry, key, path, root, rest)
                found.maps[key] = entry.maps[-1]
        for entry in entries.values():
            entry.maps.sort(key=_order)
            found.scans += [entry] if entry.maps else []


def _split(name: str) -> tuple[str, str]:
    """Entities of the scan, and what follows: sub-01_run-1_desc-local_fieldmap to sub-01_run-1, desc-local_fieldmap."""
    if not name.startswith("sub-"):
        return "", name
    scan: list[str] = []
    rest: list[str] = []
    for part in name.split("_"):
        entity, dash, _ = part.partition("-")
        (scan if dash and entity not in _OF_THE_MAP else rest).append(part)
    return "_".join(scan), "_".join(rest)


def _scan(name: str, here: Path, root: Path, title: str) -> ScanEntry:
    entities = dict(p.partition("-")[::2] for p in name.split("_"))
    below = [p for p in here.relative_to(root).parts if not p.startswith(("sub-", "ses-"))]
    parts = below[:-1] if name and below[-1:] == ["anat"] else below
    return ScanEntry(
        name or "files", "/".join([title, *parts]), entities.get("sub", ""), entities.get("ses", "")
    )


def _add_map(entry: ScanEntry, key: str, path: Path, root: Path, rest: str) -> None:
    sidecar = sidecar_of(path, root)
    known, window = _NAMES.get(rest, ("", None))
    kind = "mask" if _MASK.search(rest) else "labels" if _LABELS.search(rest) else "map"
    of_chi = rest.lower().endswith("chimap")
    # BIDS has susceptibility in ppm; maps of other programs may come without a sidecar.
    unit = str(sidecar.get("Units") or ("ppm" if of_chi else ""))
    susceptibility = of_chi and unit == "ppm"
    if (of_chi and not susceptibility) or kind != "map":
        window = None
    unit = "" if kind != "map" or unit in ("arbitrary", "label") else unit
    title = known or (rest if entry.name == "files" else rest.replace("_", " ")) or path.name
    entry.maps.append(MapFile(key, path, root, title, kind, unit, susceptibility, window))
    record = sidecar.get("Chimap")
    if isinstance(record, dict) and record.get("method"):
        entry.methods[str(record.get("stage", ""))] = str(record["method"])
    if rest == "Chimap":
        with contextlib.suppress(KeyError, TypeError):
            entry.reference = str(sidecar["Reference"]["name"])


def _order(entry: MapFile) -> tuple[int, str]:
    """The known maps as listed above, then masks, labels and others by name."""
    titles = [t for t, _ in _NAMES.values()]
    return (titles.index(entry.title) if entry.title in titles else len(titles), entry.title)


def describe(found: Catalogue) -> str:
    """The catalogue as JSON for the page."""
    return json.dumps({"scans": [s.to_dict() for s in found.scans], "refused": found.refused})
