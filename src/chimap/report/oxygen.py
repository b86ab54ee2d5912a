"""Veins on the map, coloured by their oxygen: three projections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from chimap.quantify.oxygen import Blood, oxygen_of, reliable
from chimap.quantify.veins import Segment
from chimap.report.orient import Orientation, bounding_box
from chimap.report.saved import file_bytes

_RANGE = (40.0, 90.0)
"""SvO2 in per cent from the first to the last colour."""
_VIEWS = (
    ("axial, from below", 2, 0, 1),
    ("coronal, from the front", 1, 0, 2),
    ("sagittal, from the left", 0, 1, 2),
)


def vein_figure(
    chi_ppm: np.ndarray,
    segments: Sequence[Segment],
    blood: Blood,
    affine: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    window_ppm: float = 0.3,
    kind: str = "png",
) -> bytes:
    """Maximum projections of a susceptibility map with the middle lines of its veins.

    Parameters
    ----------
    chi_ppm : (x, y, z)
        Map in ppm.
    segments : sequence of Segment
        Lines in mm along the voxel axes.
    blood : Blood
        For the saturation.
    affine : (4, 4)
        Voxel index to mm.
    mask : (x, y, z) bool, optional
        The brain.
    window_ppm : float
        Projections are grey from 0 to this.
    kind : {"png", "svg"}

    Returns
    -------
    bytes
        The file. Reliable segments are coloured by saturation from 40 to 90 % and numbered, the others thin and white. In the axial and
        coronal view the patient's left is on the right.
    """
    orientation = Orientation.of(affine, chi_ppm.shape)
    shown = np.where(np.isfinite(chi_ppm) if mask is None else mask, chi_ppm, np.float32(0))
    chi = orientation.turn(shown)
    step = orientation.voxel_mm
    box = bounding_box(chi != 0, (1, 1, 1)) or tuple(slice(0, n) for n in chi.shape)
    back = np.linalg.inv(orientation.to_index)
    voxel = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    figure = Figure(figsize=(13.5, 5.4), dpi=110, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    norm, colours = Normalize(*_RANGE), colormaps["turbo_r"]
    panels = figure.subplots(1, 3)
    low = np.array([b.start for b in box])
    for panel, (title, away, across, up) in zip(panels, _VIEWS, strict=True):
        part = chi[box].max(axis=away)
        if across > up:
            part = part.T
        width, height = (part.shape[0] * step[across], part.shape[1] * step[up])
        flip = across == 0
        extent = (0.0, float(width), 0.0, float(height))
        panel.imshow(part.T[::-1, :: -1 if flip else 1], cmap="gray", vmin=0, vmax=window_ppm, extent=extent, interpolation="nearest")  # fmt: skip
        for s in segments:
            index = s.line_mm / voxel
            turned = (back[:3, :3] @ index.T).T + back[:3, 3]
            place = (turned - low + 0.5) * step
            x = width - place[:, across] if flip else place[:, across]
            y = place[:, up]
            if reliable(s, blood):
                panel.plot(x, y, color="white", linewidth=0.6, alpha=0.6)
                continue
            colour = colours(norm(100 * oxygen_of(s.chi_ppm, s.chi_se, blood).svo2))
            panel.plot(x, y, color=colour, linewidth=2.4)
            panel.text(
                x[len(x) // 2] + 1.5, y[len(x) // 2], str(s.number), color=colour, fontsize=8, fontweight="bold",
                path_effects=[Stroke(linewidth=2.0, foreground="black"), Normal()],
            )  # fmt: skip
        panel.set_axis_off()
        panel.set_aspect("equal")
        panel.set_xlim(0, width)
        panel.set_ylim(0, height)
        panel.set_title(title, color="#d0d0d0", fontsize=10)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=panels, shrink=0.75, pad=0.01)
    bar.set_label("SvO$_2$ in %", color="#d0d0d0")
    bar.ax.tick_params(colors="#d0d0d0")
    figure.suptitle(
        f"Highest susceptibility along each line of sight, 0 to {1000 * window_ppm:.0f} ppb; white: not reliable",
        color="#d0d0d0", fontsize=10,
    )  # fmt: skip
    return file_bytes(figure, kind, facecolor="black")
