"""What somebody needs to make the same maps again, as one block of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from chimap.report.data import ReportData


def reproduction_text(data: ReportData) -> str:
    """Command, versions, hashes of inputs and outputs, and every parameter, in lines of plain text."""
    parts = ["# Command", data.command or "(not known)", "", "# Versions"]
    software = {"chimap": data.version, **data.software}
    parts += [f"{name} {value}" for name, value in software.items()]
    for title, files in (("Inputs", data.inputs), ("Outputs", data.outputs)):
        if files:
            parts += ["", f"# {title} (SHA-256)", *_hashes(files)]
    if data.stages:
        parts += ["", "# Methods and parameters"]
        parts += [f"{s.stage} {s.method} {_json(s.parameters)}" for s in data.stages]
    return "\n".join(parts) + "\n"


def _hashes(files: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"{f.get('sha256') or '-'}  {f['file']}" for f in files]


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
