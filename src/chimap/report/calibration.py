"""Figures of a calibration: susceptibility over concentration, its residuals, and agreement of repeated scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chimap.quantify.calibration import Calibration
from chimap.quantify.repeatability import Repeatability
from chimap.report.plots import GREY, INK, RED, SERIES, Panel, document, limits_of

_SPREAD = {"mean_ppb": "sd_ppb", "field_ppb": "field_se_ppb"}


def calibration_figure(found: Calibration, rows: Sequence[Mapping[str, Any]], value: str = "mean_ppb") -> str:
    """The line through the vials of all scans with the known one dashed, and the residuals. SVG."""
    x = np.array([r["concentration_mm"] for r in rows], float)
    y = np.array([r[value] for r in rows], float)
    sd = np.array([r.get(_SPREAD[value]) or 0.0 for r in rows], float)
    scans = list(dict.fromkeys(r["scan"] for r in rows))
    span = limits_of(x, zero=True)
    ends = np.array(span)
    left = Panel(
        span,
        limits_of(y - sd, y + sd, zero=True),
        title="Susceptibility over concentration",
        x_label="concentration [mmol/L]",
        y_label="susceptibility against water [ppb]",
    )
    left.line(ends, found.intercept + found.slope * ends, INK)
    low, high = found.slope_ci_scale
    left.band(ends, found.intercept + low * ends, found.intercept + high * ends, GREY)
    if found.expected is not None:
        left.line(ends, found.expected * ends, GREY, dash="5 4")
    right = Panel(
        span,
        limits_of(found.residuals, zero=True),
        title="Residuals",
        x_label="concentration [mmol/L]",
        y_label="measured minus line [ppb]",
        width=360,
    )
    right.across(0.0)
    for n, scan in enumerate(scans):
        use = np.array([r["scan"] == scan for r in rows])
        colour = SERIES[n % len(SERIES)]
        left.bars(x[use], (y - sd)[use], (y + sd)[use], colour)
        left.points(x[use], y[use], colour)
        right.points(x[use], np.asarray(found.residuals)[use], colour)
        if len(scans) > 1:
            left.note(str(scan), colour)
    left.note(f"slope {found.slope:.1f} ({low:.1f} to {high:.1f}) ppb per mmol/L")
    if found.expected is not None:
        left.note(f"known: {found.expected:.1f}", GREY)
    left.note(f"R2 {found.r2:.5f}")
    about = f"Calibration: slope {found.slope:.1f} ppb per mmol/L over {found.points} points"
    return document([left, right], about)


def agreement_figure(found: Repeatability, unit: str = "ppb") -> str:
    """Bland-Altman chart: difference over mean, bias and limits of agreement with their intervals. SVG."""
    x, y = np.asarray(found.means), np.asarray(found.differences)
    span = limits_of(x)
    panel = Panel(
        span,
        limits_of(y, found.lower_ci, found.upper_ci, zero=True),
        title="Agreement of repeated scans",
        x_label=f"mean of two scans [{unit}]",
        y_label=f"later minus earlier [{unit}]",
        width=560,
    )
    for value, interval, colour in (
        (found.bias, found.bias_ci, SERIES[0]),
        (found.limits[0], found.lower_ci, RED),
        (found.limits[1], found.upper_ci, RED),
    ):
        panel.band(span, (interval[0],) * 2, (interval[1],) * 2, colour)
        panel.across(value, colour, dash="5 4")
        panel.label(span[0] + 0.8 * (span[1] - span[0]), value, f"{value:+.2f}", colour)
    panel.across(0.0)
    panel.points(x, y, SERIES[0])
    about = f"Bland-Altman: bias {found.bias:.2f} {unit}, limits {found.limits[0]:.2f} to {found.limits[1]:.2f} {unit}"
    return document([panel], about)
