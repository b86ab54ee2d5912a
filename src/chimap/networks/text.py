"""A model card for people, as plain text and as Markdown."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from chimap.networks.cards import Card, Channel, Ranges, Span

_RANGES = {
    "voxel_size_mm": ("voxel edges", "mm"),
    "anisotropy": ("longest over shortest voxel edge", ""),
    "b0_angle_deg": ("angle between B0 and the third voxel axis", "degrees"),
    "b0_t": ("field strength", "T"),
    "te_s": ("echo times", "s"),
    "echoes": ("number of echoes", ""),
    "snr": ("signal-to-noise ratio", ""),
    "noise_ppm": ("median noise of the field", "ppm"),
}


def span_text(span: Span, unit: str = "") -> str:
    """``0.5 to 2 mm``, or one number where both are the same."""
    low, high = (f"{v:.3g}" for v in span)
    return f"{low if low == high else f'{low} to {high}'} {unit}".strip()


def range_name(field: str) -> tuple[str, str]:
    """What a field of `Ranges` is called, and its unit."""
    return _RANGES[field]


def rows(card: Card) -> list[tuple[str, Sequence[str]]]:
    """Headings of a card, each with its lines; headings without lines are left out."""
    training = [card.training_data]
    for text, value in (
        ("Configuration: {}", card.config),
        ("Time: {:g} hours", card.hours),
        ("Machine: {}", card.machine),
        ("Seeds: {}", ", ".join(map(str, card.seeds))),
    ):
        training += [text.format(value)] if value else []
    file = [f"{card.parameters} weights"] if card.parameters else []
    file += [f"Context of {card.margin} voxels on each side, edges a multiple of {card.multiple}"]
    file += [f"{card.bytes_per_voxel} bytes of memory per voxel"]
    file += [f"SHA-256 {card.sha256}"] if card.sha256 else []
    found: list[tuple[str, Sequence[str]]] = [
        ("Task", [card.task]),
        ("Takes", [_channel(c) for c in card.inputs]),
        ("Gives", [_channel(c) for c in card.outputs]),
        ("Trained for", _ranges(card.ranges)),
        ("Scores", [_score(s) for s in card.scores]),
        ("Known failures", list(card.failures)),
        ("Training", training),
        ("Network", file),
        ("Licence", [card.licence]),
        ("Papers", [f"https://doi.org/{doi}" for doi in card.references]),
    ]
    return [(head, lines) for head, lines in found if lines]


def card_text(card: Card) -> str:
    """The card as plain text."""
    out = [card.name, textwrap.fill(card.summary, 100)]
    for head, lines in rows(card):
        out += ["", head]
        out += [
            textwrap.fill(line, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
            for line in lines
        ]
    return "\n".join(out)


def table(found: Sequence[Card]) -> str:
    """All cards as a Markdown table, then each card."""
    if not found:
        return "This version comes without networks."
    lines = ["| network | task | trained for | scores |", "|---|---|---|---|"]
    lines += [
        f"| [`{c.name}`](#{c.name.lower()}) | {_cell([c.task])} | {_cell(_ranges(c.ranges))} | {_cell([_score(s) for s in c.scores])} |"
        for c in found
    ]
    for c in found:
        lines += ["", f"### `{c.name}` {{: #{c.name.lower()} }}", "", c.summary]
        for head, items in rows(c):
            lines += ["", f"**{head}**", "", *(f"- {item}" for item in items)]
    return "\n".join(lines)


def _cell(items: Sequence[str]) -> str:
    return "<br>".join(items).replace("|", "\\|")


def _channel(channel: Channel) -> str:
    return f"{channel.name} [{channel.unit}]" if channel.unit else channel.name


def _ranges(ranges: Ranges) -> list[str]:
    values: dict[str, Any] = {f.name: getattr(ranges, f.name) for f in dataclasses.fields(ranges)}
    said = [f"{_RANGES[n][0]} {span_text(v, _RANGES[n][1])}" for n, v in values.items() if v is not None]
    return said if ranges.b0_angle_deg else [*said, "any direction of B0"]


def _score(score: Any) -> str:
    text = f"{score.measure} {score.value:g}{'' if score.unit == '%' else ' '}{score.unit}".rstrip()
    return f"{text} on {score.data}" + (f" ({score.compared})" if score.compared else "")
