"""What the commands share that choose parameters by themselves."""

from __future__ import annotations

import argparse
from typing import Any

from chimap.cli import _stage, _start
from chimap.tuning import Tuning


def noise_of(args: argparse.Namespace, start: _start.Start) -> dict[str, Any]:
    """The noise map that was given: rules use it even where the method does not."""
    if not args.noise or "noise" in start.arrays:
        return {}
    return {"noise": _stage.read(args.noise, (start.like, start.data.shape[:3]))}


def sentence(found: Tuning) -> str:
    """The choice in a line."""
    note = f"; {found.note}" if found.note else ""
    return f"{found.parameter} = {found.value:g} by rule {found.rule} ({found.runs} runs of {found.method}{note})"
