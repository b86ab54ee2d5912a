"""Charts of the group report as inline SVG: one dot a scan, which leads to its report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.report.svg import Axis, escape

_LINE = 30
_LEFT, _RIGHT = 190.0, 690.0


@dataclass(frozen=True)
class Dot:
    """One scan's value in a row of a chart."""

    scan: str
    value: float
    link: str = ""
    outlier: bool = False


def strip_chart(rows: Sequence[tuple[str, Sequence[Dot]]], unit: str, title: str) -> str:
    """Each row's values as dots over its box (quartiles, median); outliers are rings. "" without values."""
    rows = [(name, dots) for name, dots in rows if dots]
    values = [d.value for _, dots in rows for d in dots]
    if not values:
        return ""
    low, high = min(values), max(values)
    pad = 0.04 * (high - low) or 0.5 * abs(low) or 1.0
    nice = Axis.nice(low - pad, high + pad, 7)
    axis = Axis(nice.low, nice.high, nice.ticks, _LEFT, _RIGHT)
    base = _LINE * len(rows) + 6
    parts = []
    if low < 0 < high:
        parts.append(f'<line class="zero" x1="{axis.at(0):.1f}" x2="{axis.at(0):.1f}" y1="2" y2="{base}"/>')
    for n, (name, dots) in enumerate(rows):
        y = _LINE * n + 18
        parts.append(f'<text class="name" x="{_LEFT - 12}" y="{y + 4}">{escape(name)}</text>')
        parts.append(_box([d.value for d in dots], axis, y))
        parts += [_dot(d, axis, y + _offset(i, len(dots)), unit) for i, d in enumerate(dots)]
    return (
        f'<svg class="chart group" viewBox="0 0 700 {base + 40}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}{axis.svg(base, unit)}</svg>"
    )


def _box(values: Sequence[float], axis: Axis, y: float) -> str:
    a, m, b = (axis.at(float(v)) for v in np.percentile(values, (25, 50, 75)))
    return (
        f'<rect class="box" x="{a:.1f}" y="{y - 9}" width="{b - a:.1f}" height="18"/>'
        f'<line class="median" x1="{m:.1f}" x2="{m:.1f}" y1="{y - 9}" y2="{y + 9}"/>'
    )


def _offset(index: int, of: int) -> float:
    """Dots of one row side by side, the same in every run: multiples of the golden ratio spread evenly."""
    return 0.0 if of == 1 else 13 * (math.modf(index * 0.6180339887)[0] - 0.5)


def _dot(dot: Dot, axis: Axis, y: float, unit: str) -> str:
    text = escape(f"{dot.scan}: {dot.value:.4g} {unit}".strip() + (", outlier" if dot.outlier else ""))
    kind = "dot out" if dot.outlier else "dot"
    circle = f'<circle class="{kind}" cx="{axis.at(dot.value):.1f}" cy="{y:.1f}" r="{4.5 if dot.outlier else 3}"><title>{text}</title></circle>'
    return f'<a href="{escape(dot.link)}">{circle}</a>' if dot.link else circle
