"""List the networks that come with the package, or show the model card of one: what it was trained on, its scores, its failures."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

from chimap.errors import InputError
from chimap.networks import cards
from chimap.networks.text import card_text

SUMMARY = "list the networks and their model cards"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="NAME",
        help="a network, or the path of an ONNX file with its card beside it",
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="the networks of this folder in place of those of the package"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Print."""
    folder = Path(args.folder) if args.folder else None
    if folder is not None and not folder.is_dir():
        raise InputError("there is no such folder", file=folder, fix="Check the path")
    if args.model is not None:
        path = cards.find(args.model, folder)
        card = cards.card_of(path)
        if card is None:
            raise InputError("there is no model card beside it", file=path, fix=f"Write {path.stem}.json")
        print(json.dumps(card.to_dict(), indent=2, ensure_ascii=False) if args.json else card_text(card))
        return 0
    found = {name: cards.card_of(cards.find(name, folder)) for name in cards.names(folder)}
    if args.json:
        print(json.dumps({n: c and c.to_dict() for n, c in found.items()}, indent=2, ensure_ascii=False))
        return 0
    if not found:
        print(
            f"There are no networks in {folder}."
            if folder
            else "This version of chimap comes without networks."
        )
    for name, card in found.items():
        print(f"{name}: {card.task if card else 'no model card'}")
        if card:
            print(textwrap.indent(textwrap.fill(card.summary, 100), "    "))
    return 0
