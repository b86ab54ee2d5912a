"""Figures of correlations: joint histograms of voxels, scatter of regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.quantify.correlation import Correlation
from chimap.report.plots import BLUE, GREY, RED, Panel, document, limits_of

_WHITE = "#ffffff"


def pair_figure(
    names: tuple[str, str],
    units: tuple[str, str],
    voxels: Correlation,
    histogram: tuple[np.ndarray, np.ndarray, np.ndarray],
    regions: Correlation | None,
    points: Sequence[tuple[float, float, str]] = (),
) -> str:
    """Joint histogram of two maps with the regression line; beside it the regions' means, where there are any. SVG."""
    labels = [f"{n} [{u}]" if u else n for n, u in zip(names, units)]
    counts, x_edges, y_edges = histogram
    span = (float(x_edges[0]), float(x_edges[-1]))
    left = Panel(
        span,
        (float(y_edges[0]), float(y_edges[-1])),
        title="Voxels (colour: logarithm of their number)",
        x_label=labels[0],
        y_label=labels[1],
        width=500,
        height=400,
    )
    left.heat(counts, x_edges, y_edges)
    _line(left, span, voxels)
    left.note(_said(voxels))
    panels = [left]
    if regions is not None and points:
        x, y = [p[0] for p in points], [p[1] for p in points]
        span = limits_of(x)
        right = Panel(
            span,
            limits_of(y),
            title="Means of regions",
            x_label=labels[0],
            y_label=labels[1],
            width=460,
            height=400,
        )
        _line(right, span, regions)
        right.points(x, y, BLUE)
        # More names than these hide each other.
        for a, b, name in points if len(points) <= 20 else ():
            right.label(a, b, name, GREY)
        right.note(_said(regions))
        panels.append(right)
    return document(panels, f"{names[1]} over {names[0]}: {_said(voxels)}")


def _line(panel: Panel, span: tuple[float, float], c: Correlation) -> None:
    y = [c.intercept + c.slope * v for v in span]
    panel.line(span, y, _WHITE, width=4)
    panel.line(span, y, RED, width=2)


def _said(c: Correlation) -> str:
    return f"r = {c.r:.3f} ({c.r_ci[0]:.3f} to {c.r_ci[1]:.3f}), slope {c.slope:.4g}, n = {c.n}, effective {c.n_effective:.0f}"
