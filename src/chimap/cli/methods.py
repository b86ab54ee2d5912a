"""List the methods of every stage, or of one, with their parameters and papers."""

from __future__ import annotations

import argparse
import json
import textwrap
import typing
from typing import Any

from chimap import registry
from chimap.errors import InputError
from chimap.pipeline.measure import plain

SUMMARY = "list the methods, their parameters and papers"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("stage", nargs="?", help=f"one of: {', '.join(registry.STAGES)}")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Print."""
    if args.stage is not None and args.stage not in registry.STAGES:
        raise InputError(
            f"there is no stage {args.stage!r}", fix=f"Choose one of: {', '.join(registry.STAGES)}"
        )
    stages = [args.stage] if args.stage else list(registry.STAGES)
    table = {s: [describe(m) for m in registry.methods(s).values()] for s in stages}  # type: ignore[arg-type]
    if args.json:
        print(json.dumps(table, indent=2))
        return 0
    for stage, methods in table.items():
        print(stage)
        for m in methods:
            default = "  (default)" if m["default"] else ""
            print(f"  {m['name']}{default}")
            print(textwrap.indent(textwrap.fill(m["summary"], 100), "      "))
            for doi in m["references"]:
                print(f"      https://doi.org/{doi}")
            if m["starts_from"]:
                print(f"      starts from the {m['starts_from']}, in place of the stages before")
            if m["inputs"]:
                print(f"      uses if given: {', '.join(m['inputs'])}")
            for p in m["parameters"]:
                head = f"      {p['flag']} {p['type']} = {p['default']}"
                print(head)
                if p["help"]:
                    print(textwrap.indent(textwrap.fill(p["help"], 92), "          "))
        print()
    return 0


def describe(method: registry.Method) -> dict[str, Any]:
    """A method as plain values."""
    from chimap.cli._flags import flag

    return {
        "name": method.name,
        "summary": method.summary,
        "default": method.stage.default == method.name,
        "starts_from": method.of,
        "references": list(method.references),
        "inputs": list(method.inputs),
        "parameters": [
            {
                "name": p.name,
                "flag": flag(p.name),
                "type": _type(p.type),
                "default": plain(p.default),
                "help": p.help,
            }
            for p in method.parameters
        ],
    }


def _type(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(str(c) for c in typing.get_args(kind))
    return (
        kind.__name__
        if isinstance(kind, type) and not typing.get_args(kind)
        else str(kind).replace("typing.", "")
    )
