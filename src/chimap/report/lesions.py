"""Lesions on the map, numbered: axial slices with outlines."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from chimap.report.orient import Orientation, bounding_box
from chimap.report.saved import file_bytes

COLOURS = {"haemorrhage": "#ff5a4f", "calcification": "#37c8ff", "uncertain": "#ffd23f"}
_SLAB_MM = 6.0
_PANELS = 20


def lesion_figure(
    chi_ppm: np.ndarray,
    labels: np.ndarray,
    kinds: Mapping[int, str],
    affine: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    window_ppm: float = 0.2,
    kind: str = "png",
) -> bytes:
    """Axial slices of a susceptibility map with every lesion's outline and number.

    Parameters
    ----------
    chi_ppm, labels : (x, y, z)
        Map in ppm, and the label image of the lesions.
    kinds : mapping
        Number to ``haemorrhage``, ``calcification`` or ``uncertain``: the outline's colour.
    affine : (4, 4)
        Voxel index to mm.
    mask : (x, y, z) bool, optional
        The brain, for the crop.
    window_ppm : float
        Grey from minus to plus this.
    kind : {"png", "svg"}

    Returns
    -------
    bytes
        The file. A panel shows the slice in the middle of a slab of 6 mm with the lesions of the slab, projected and numbered, and
        thin outlines of others that cross the slice; at most 20 slabs, those with the most lesions. The patient's left is on the right.
    """
    orientation = Orientation.of(affine, chi_ppm.shape)
    shown = chi_ppm if mask is None else np.where(mask, chi_ppm, np.float32(np.nan))
    chi, numbers = orientation.turn(shown), orientation.turn(labels)
    step = float(orientation.voxel_mm[2])
    box = bounding_box(np.isfinite(chi) & (chi != 0), (2, 2, 2))
    if box is None:
        box = (slice(0, chi.shape[0]), slice(0, chi.shape[1]), slice(0, chi.shape[2]))
    thick = max(1, round(_SLAB_MM / step))
    centres = {n: float(np.argwhere(numbers == n)[:, 2].mean()) for n in kinds if (numbers == n).any()}
    slabs: dict[int, list[int]] = {}
    for n, z in centres.items():
        slabs.setdefault(int(z // thick), []).append(n)
    chosen = sorted(sorted(slabs, key=lambda s: -len(slabs[s]))[:_PANELS])
    planes = [(s * thick + thick // 2, slabs[s]) for s in chosen] or [((box[2].start + box[2].stop) // 2, [])]
    columns = min(5, len(planes))
    rows = math.ceil(len(planes) / columns)
    width, height = ((box[a].stop - box[a].start) * orientation.voxel_mm[a] for a in (0, 1))
    figure = Figure(
        figsize=(3.0 * columns, 3.0 * rows * height / width + 0.5),
        dpi=110,
        facecolor="black",
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for a in axes:
        a.set_axis_off()
    for a, (z, here) in zip(axes, planes, strict=False):
        z = min(max(z, 0), chi.shape[2] - 1)
        part = chi[box[0], box[1], z].T[::-1, ::-1]
        extent = (0.0, float(width), 0.0, float(height))
        a.imshow(part, cmap="gray", vmin=-window_ppm, vmax=window_ppm, extent=extent, interpolation="nearest")
        crossing = {int(n) for n in np.unique(numbers[box[0], box[1], z]) if n in kinds}
        for n in sorted(crossing | set(here)):
            whole = numbers[box[0], box[1]] == n if n in here else numbers[box[0], box[1], z : z + 1] == n
            flat = whole.any(axis=2).T[:, ::-1]
            dx, dy = width / flat.shape[1], height / flat.shape[0]
            padded = np.pad(flat, 1).astype(np.float32)
            x = (np.arange(padded.shape[1]) - 0.5) * dx
            y = (np.arange(padded.shape[0]) - 0.5) * dy
            colour = COLOURS.get(kinds[n], "#ffffff")
            a.contour(x, y, padded, [0.5], colors=[colour], linewidths=1.2 if n in here else 0.7)
            if n not in here:
                continue
            rr, cc = np.nonzero(flat)
            a.text(
                (cc.max() + 1.5) * dx, (rr.max() + 1.5) * dy, str(n), color=colour, fontsize=9, fontweight="bold",
                path_effects=[Stroke(linewidth=2.2, foreground="black"), Normal()],
            )  # fmt: skip
        mm = (
            orientation.affine @ ((box[0].start + box[0].stop) / 2, (box[1].start + box[1].stop) / 2, z, 1)
        )[2]
        a.set_title(f"z = {mm:.0f} mm", color="#d0d0d0", fontsize=9)
        a.set_xlim(0, width)
        a.set_ylim(0, height)
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="", label=name)
        for name, colour in COLOURS.items()
        if name in kinds.values()
    ]
    missing = len(centres) - sum(len(h) for _, h in planes)
    note = f"R on the left; grey -{1000 * window_ppm:.0f} to {1000 * window_ppm:.0f} ppb"
    if missing:
        note += f"; {missing} more not shown"
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=3,
        title=note,
        frameon=False,
        fontsize=10,
        labelcolor="#d0d0d0",
    ).get_title().set_color("#d0d0d0")
    return file_bytes(figure, kind, facecolor="black")
