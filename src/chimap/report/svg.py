"""The little that charts in SVG need: a number axis with round ticks."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass


def escape(text: str) -> str:
    """Text made safe inside HTML and its attributes."""
    return html.escape(text, quote=True)


@dataclass(frozen=True)
class Axis:
    """A horizontal number axis from `low` to `high`, drawn from `left` to `right` in the picture's units."""

    low: float
    high: float
    ticks: tuple[float, ...]
    left: float = 0.0
    right: float = 1.0

    @classmethod
    def nice(cls, low: float, high: float, about: int) -> Axis:
        """Ticks at 1, 2 or 5 times a power of ten, `about` so many, none outside."""
        if not (math.isfinite(low) and math.isfinite(high) and high > low):
            raise ValueError(f"no axis from {low} to {high}")
        rough = (high - low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
        return cls(low, high, tuple(round(n * step, 12) for n in range(first, last + 1)))

    def at(self, value: float) -> float:
        """Where a value is drawn."""
        return self.left + (self.right - self.left) * (value - self.low) / (self.high - self.low)

    def svg(self, y: float, unit: str) -> str:
        """The axis with its ticks at height `y`, the unit below."""
        marks = "".join(
            f'<line x1="{self.at(t):.1f}" x2="{self.at(t):.1f}" y1="{y}" y2="{y + 4}"/>'
            f'<text x="{self.at(t):.1f}" y="{y + 17}">{t:g}</text>'
            for t in self.ticks
        )
        middle = (self.left + self.right) / 2
        return (
            f'<g class="axis"><line x1="{self.left}" x2="{self.right}" y1="{y}" y2="{y}"/>{marks}'
            f'<text x="{middle:.1f}" y="{y + 33}">{escape(unit)}</text></g>'
        )


_STYLE = (
    "text{fill:#1b2530;text-anchor:middle;font:11px sans-serif}.name{text-anchor:end}.axis line{stroke:#55616e}"
    ".violin{fill:#1f6fb2;fill-opacity:.18;stroke:#1f6fb2}.zero{stroke:#d3dae1}.spread{stroke:#1f6fb2;stroke-width:2.5;opacity:.55}"
    ".dot{fill:#1f6fb2}.truth{fill:none;stroke:#1b2530;stroke-width:1.6}"
)


def standalone(svg: str) -> str:
    """A chart of the report as a file of its own: with name space, colours and a white ground."""
    head, _, rest = svg.partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f'{head}><style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{rest}\n'
