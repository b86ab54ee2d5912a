"""Charts as SVG files of their own: points, lines, bands and joint histograms in panels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from chimap.report.svg import Axis, escape

INK, GRID, BLUE, RED, GREY = "#222222", "#e2e2e2", "#2b6cb0", "#d9480f", "#8a8a8a"
SERIES = ("#2b6cb0", "#d9480f", "#2f855a", "#6b46c1", "#b7791f", "#097f8c")
# Dark blue to yellow by way of green: even steps of lightness, readable without colour vision.
_HEAT = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def limits_of(*values: object, pad: float = 0.06, zero: bool = False) -> tuple[float, float]:
    """The range of all finite numbers with some room, never empty; `zero`: 0 is in it."""
    found = [np.asarray(v, float).ravel() for v in values]
    every = np.concatenate([v[np.isfinite(v)] for v in found] + ([np.zeros(1)] if zero else []))
    if not every.size:
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    room = pad * (high - low) or abs(low) * 0.1 or 1.0
    return low - room, high + room


class Panel:
    """A chart with two number axes; `add` things in the units of the axes, then hand it to `document`."""

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        title: str = "",
        x_label: str = "",
        y_label: str = "",
        width: int = 440,
        height: int = 320,
    ):
        self.width, self.height = width, height
        self.title, self.x_label, self.y_label = title, x_label, y_label
        across, up = Axis.nice(*x, 6), Axis.nice(*y, 6)
        self.x = Axis(*x, across.ticks, 66.0, width - 14.0)
        self.y = Axis(*y, up.ticks, height - 48.0, 34.0)
        self.parts: list[str] = []
        self.notes: list[tuple[str, str]] = []

    def points(self, x: Iterable[float], y: Iterable[float], colour: str = BLUE, radius: float = 4.0) -> None:
        """Dots."""
        self.parts += [
            f'<circle cx="{self.x.at(a):.1f}" cy="{self.y.at(b):.1f}" r="{radius}" fill="{colour}" fill-opacity="0.8"/>'
            for a, b in zip(x, y)
            if math.isfinite(a) and math.isfinite(b)
        ]

    def bars(
        self, x: Iterable[float], low: Iterable[float], high: Iterable[float], colour: str = BLUE
    ) -> None:
        """Upright error bars."""
        self.parts += [
            f'<line x1="{self.x.at(a):.1f}" x2="{self.x.at(a):.1f}" y1="{self.y.at(b):.1f}" y2="{self.y.at(c):.1f}" stroke="{colour}"/>'
            for a, b, c in zip(x, low, high)
        ]

    def line(
        self,
        x: Iterable[float],
        y: Iterable[float],
        colour: str = BLUE,
        *,
        dash: str = "",
        width: float = 1.6,
    ) -> None:
        """A line through points."""
        path = "L".join(f"{self.x.at(a):.1f} {self.y.at(b):.1f}" for a, b in zip(x, y))
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>')

    def across(self, y: float, colour: str = GREY, *, dash: str = "") -> None:
        """A level line over the whole width."""
        self.line((self.x.low, self.x.high), (y, y), colour, dash=dash, width=1.2)

    def band(
        self, x: Iterable[float], low: Iterable[float], high: Iterable[float], colour: str = BLUE
    ) -> None:
        """The area between two lines."""
        ahead = [f"{self.x.at(a):.1f} {self.y.at(b):.1f}" for a, b in zip(x, low)]
        back = [f"{self.x.at(a):.1f} {self.y.at(b):.1f}" for a, b in zip(x, high)][::-1]
        self.parts.append(f'<path d="M{"L".join(ahead + back)}Z" fill="{colour}" fill-opacity="0.15"/>')

    def heat(self, counts: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray) -> None:
        """A joint histogram, colours by the logarithm of the count, empty cells left out."""
        top = math.log1p(float(counts.max())) or 1.0
        for i, j in zip(*np.nonzero(counts)):
            left, right = self.x.at(x_edges[i]), self.x.at(x_edges[i + 1])
            below, above = self.y.at(y_edges[j]), self.y.at(y_edges[j + 1])
            self.parts.append(
                f'<rect x="{left:.1f}" y="{above:.1f}" width="{right - left + 0.3:.1f}" height="{below - above + 0.3:.1f}" '
                f'fill="{heat_colour(math.log1p(float(counts[i, j])) / top)}"/>'
            )

    def label(self, x: float, y: float, text: str, colour: str = INK) -> None:
        """Small text to the upper right of a point."""
        self.parts.append(
            f'<text x="{self.x.at(x) + 7:.1f}" y="{self.y.at(y) - 4:.1f}" fill="{colour}" font-size="11">{escape(text)}</text>'
        )

    def note(self, text: str, colour: str = INK) -> None:
        """A line of the legend, in the upper left corner."""
        self.notes.append((text, colour))

    def svg(self, left: float, name: str) -> str:
        """The panel with its axes, moved `left` to the right; `name` sets its clip path apart from others'."""
        x, y, mid = self.x, self.y, (self.x.left + self.x.right) / 2
        grid = "".join(
            f'<line x1="{x.at(t):.1f}" x2="{x.at(t):.1f}" y1="{y.left}" y2="{y.right}" stroke="{GRID}"/>'
            f'<text x="{x.at(t):.1f}" y="{y.left + 16}" text-anchor="middle">{t:g}</text>'
            for t in x.ticks
        ) + "".join(
            f'<line x1="{x.left}" x2="{x.right}" y1="{y.at(t):.1f}" y2="{y.at(t):.1f}" stroke="{GRID}"/>'
            f'<text x="{x.left - 6}" y="{y.at(t) + 4:.1f}" text-anchor="end">{t:g}</text>'
            for t in y.ticks
        )
        box = f'x="{x.left}" y="{y.right}" width="{x.right - x.left}" height="{y.left - y.right}"'
        middle = (y.left + y.right) / 2
        words = (
            f'<text x="{mid:.1f}" y="20" text-anchor="middle" font-size="13" font-weight="600">{escape(self.title)}</text>'
            f'<text x="{mid:.1f}" y="{y.left + 36}" text-anchor="middle">{escape(self.x_label)}</text>'
            f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(self.y_label)}</text>'
        )
        legend = "".join(
            f'<text x="{x.left + 8}" y="{y.right + 16 + 15 * n}" fill="{c}" font-size="11" paint-order="stroke" stroke="white" stroke-width="3">{escape(t)}</text>'
            for n, (t, c) in enumerate(self.notes)
        )
        return (
            f'<g transform="translate({left} 0)"><clipPath id="{name}"><rect {box}/></clipPath>{grid}'
            f'<g clip-path="url(#{name})">{"".join(self.parts)}</g>'
            f'<rect {box} fill="none" stroke="{GREY}"/>{words}{legend}</g>'
        )


def heat_colour(share: float) -> str:
    """Colour of a value from 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(_HEAT) - 1)
    n = min(int(place), len(_HEAT) - 2)
    mix = [round(a + (b - a) * (place - n)) for a, b in zip(_HEAT[n], _HEAT[n + 1])]
    return "#" + "".join(f"{c:02x}" for c in mix)


def document(panels: Sequence[Panel], about: str) -> str:
    """An SVG file with the panels side by side; `about` is its description."""
    width, height = sum(p.width for p in panels), max(p.height for p in panels)
    body, left = "", 0
    for n, panel in enumerate(panels):
        body += panel.svg(left, f"clip{n}")
        left += panel.width
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(about)}" font-family="sans-serif" font-size="12" fill="{INK}">'
        f'<rect width="{width}" height="{height}" fill="white"/>{body}</svg>\n'
    )
