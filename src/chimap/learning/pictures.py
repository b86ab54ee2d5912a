"""Pictures of held-out samples during training."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from chimap.learning.tasks.base import Panel


def write_panels(path: Path, rows: list[list[Panel]]) -> None:
    """One row of images a sample."""
    columns = max(len(r) for r in rows)
    figure = Figure(figsize=(2.2 * columns, 2.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for a in line:
            a.axis("off")
        for (title, image, (low, high)), a in zip(row, line, strict=False):
            a.imshow(image.T, cmap="gray", vmin=low, vmax=high, origin="lower")
            a.set_title(title, fontsize=8)
    figure.savefig(path, dpi=90)
