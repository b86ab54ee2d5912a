"""Names of input files that stay true when the results are moved, and that do not tell where the input lay."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chimap.io.bids import root_of
from chimap.io.safe import write_json

LINK = "raw"
"""Name of the input data set in BIDS URIs."""


def names_of(files: Iterable[Path], out_dir: Path) -> dict[Path, str]:
    """What to call input files in sidecars and reports.

    Files below `out_dir` (converted DICOM) and files of a BIDS data set that holds `out_dir` or lies beside it get BIDS URIs:
    ``bids::work/...`` and ``bids:raw:sub-01/...``. Files of other data sets are named relative to them, loose files relative to
    the folder that they share. No name begins with a path of the machine.
    """
    out = Path(os.path.abspath(out_dir))
    names: dict[Path, str] = {}
    loose = []
    for file in files:
        path = Path(os.path.abspath(file))
        root = data_set_of(path)
        if path.is_relative_to(out):
            names[file] = f"bids::{path.relative_to(out).as_posix()}"
        elif root is not None:
            relative = path.relative_to(root).as_posix()
            names[file] = f"bids:{LINK}:{relative}" if _near(root, out) else relative
        else:
            loose.append(file)
    if loose:
        shared = os.path.commonpath([os.path.abspath(Path(f).parent) for f in loose])
        names |= {f: Path(os.path.relpath(os.path.abspath(f), shared)).as_posix() for f in loose}
    return names


def data_set_of(path: Path) -> Path | None:
    """The BIDS data set that a file is part of, None for a loose file."""
    root = root_of(path.parent)
    return root if (root / "dataset_description.json").is_file() else None


def link_inputs(files: Iterable[Path], out_dir: Path) -> None:
    """Say in ``dataset_description.json`` which data set ``bids:raw:`` means: its place relative to the results."""
    out = Path(os.path.abspath(out_dir))
    path = out / "dataset_description.json"
    roots = {data_set_of(Path(os.path.abspath(f))) for f in files}
    near = sorted(r for r in roots if r is not None and r != out and _near(r, out))
    if not near or not path.is_file():
        return
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return  # Someone's own file: it is theirs to repair.
    if isinstance(values, dict) and LINK not in (values.get("DatasetLinks") or {}):
        links = {**(values.get("DatasetLinks") or {}), LINK: Path(os.path.relpath(near[0], out)).as_posix()}
        write_json(path, {**values, "DatasetLinks": links})


def finding_with(finding: dict[str, Any], names: dict[Path, str]) -> dict[str, Any]:
    """A finding whose file has its name from `names`, else only its last part; also where its text says the path."""
    out = dict(finding)
    by_text = {str(p): n for p, n in names.items()}
    for key in ("what", "fix"):
        out[key] = without_paths(str(out.get(key) or ""), names)
    if out.get("file"):
        out["file"] = by_text.get(str(out["file"]), Path(str(out["file"])).name)
    return out


def without_paths(text: str, names: dict[Path, str]) -> str:
    """A text with the paths of input files replaced by their names."""
    for path in sorted(names, key=lambda p: len(str(p)), reverse=True):
        text = text.replace(str(path), names[path])
    return text


def _near(root: Path, out: Path) -> bool:
    """Whether results lie in the data set or beside it, so that both move together."""
    return out.is_relative_to(root) or (out.is_relative_to(root.parent) and root.parent != Path(root.anchor))
