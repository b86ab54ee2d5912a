"""Normal iron by age with a scan's own regions on it, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chimap.quantify.iron import ADULT, ADULTS, OLDEST, hallgren_region, normal_iron
from chimap.report.svg import Axis, escape

_COLOURS = {"globus pallidus": "#c0392b", "putamen": "#1f6fb2", "caudate": "#2e8b57"}
_TOP, _BASE, _LEFT, _RIGHT = 14.0, 300.0, 60.0, 560.0


def iron_chart(rows: Sequence[Mapping[str, Any]], age_years: float | None = None) -> str:
    """The curves of Hallgren and Sourander (1958) for the nuclei among the rows, with the rows' iron on them.

    Parameters
    ----------
    rows : sequence of mapping
        With ``name`` and ``iron_mg_kg``, as `chimap.quantify.iron.iron_rows` gives them.
    age_years : float, optional
        Where dots go; without it, the rows are lines across all ages.

    Returns
    -------
    str
        Inline SVG; ``""`` where no row has a curve.
    """
    shown = []
    for row in rows:
        region = hallgren_region(str(row.get("name", "")))
        if region in _COLOURS and row.get("iron_mg_kg") is not None:
            shown.append((region, str(row["name"]), float(row["iron_mg_kg"])))
    if not shown:
        return ""
    regions = list(dict.fromkeys(region for region, *_ in shown))
    highest = max(1.25 * 10 * max(sum(ADULTS[r]) for r in regions), *(iron for *_, iron in shown))
    lowest = min(0.0, *(iron for *_, iron in shown))
    across = Axis(0.0, OLDEST, tuple(float(a) for a in range(0, 101, 20)), _LEFT, _RIGHT)
    # Picture heights grow downwards.
    up = Axis.nice(lowest, highest, 6)
    up = Axis(lowest, highest, up.ticks, _BASE, _TOP)
    ages = np.linspace(0.0, OLDEST, 81)
    parts = [
        f'<g class="axis"><line x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{_BASE}"/>',
        *(
            f'<line x1="{_LEFT - 4}" x2="{_LEFT}" y1="{up.at(t):.1f}" y2="{up.at(t):.1f}"/>'
            f'<text x="{_LEFT - 18}" y="{up.at(t) + 4:.1f}">{t:g}</text>'
            for t in up.ticks
        ),
        f'<text x="{_LEFT + 50}" y="{_TOP - 2}">iron [mg/kg wet]</text></g>',
    ]
    for region in regions:
        curve = normal_iron(region, ages)
        sd = 10 * ADULTS[region][1]
        # The standard deviation is that of people of 30 years and more.
        adult = [(a, c) for a, c in zip(ages, curve) if a >= ADULT]
        edge = [(a, c + sd) for a, c in adult] + [(a, max(c - sd, 0.0)) for a, c in adult[::-1]]
        colour = _COLOURS[region]
        parts.append(f'<path d="{_path(edge, across, up)}Z" fill="{colour}" fill-opacity="0.12"/>')
        line = _path(list(zip(ages, curve)), across, up)
        parts.append(f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        end = up.at(float(curve[-1]))
        parts.append(
            f'<text x="{_RIGHT + 6}" y="{end + 4:.1f}" style="text-anchor:start" fill="{colour}">{region}</text>'
        )
    for region, name, iron in shown:
        y, colour = up.at(iron), _COLOURS[region]
        title = f"<title>{escape(name)}: {iron:.0f} mg/kg</title>"
        if age_years is None:
            parts.append(
                f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-dasharray="5 4">{title}</line>'
            )
        else:
            x = across.at(min(max(age_years, 0.0), OLDEST))
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}" stroke="#fff">{title}</circle>'
            )
    label = "Normal iron of " + ", ".join(regions) + " by age, with the values of this scan"
    return (
        f'<svg class="chart" viewBox="0 0 690 350" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}{across.svg(_BASE, 'age [years]')}</svg>"
    )


def _path(points: Sequence[tuple[float, float]], across: Axis, up: Axis) -> str:
    return "M" + "L".join(f"{across.at(float(x)):.1f} {up.at(float(y)):.1f}" for x, y in points)
