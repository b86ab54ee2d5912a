"""Pictures: a map in three planes as PNG, a histogram and a region chart as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from chimap.report.orient import Orientation, bounding_box, centre_index
from chimap.report.saved import file_bytes
from chimap.report.svg import Axis, escape

# Name, horizontal axis, vertical axis, normal; letters at the picture's left, right, bottom, top.
# Patient's left is on the right of the picture (radiological), the face looks left.
PLANES = (
    ("Axial", 0, 1, 2, "RLPA"),
    ("Coronal", 0, 2, 1, "RLIS"),
    ("Sagittal", 1, 2, 0, "APIS"),
)
OUTLINE = "#ffb000"
_MARGIN_MM = 9.0
_LEAST_SHOWN = 20


def colour_map(name: str) -> Colormap:
    """A matplotlib colour map, or ``labels``: 0 is clear, every whole number another colour."""
    if name == "labels":
        colours = [
            tuple(c) for source in ("tab20", "tab20b") for c in matplotlib.colormaps[source](np.arange(20))
        ]
        return ListedColormap([(0.0, 0.0, 0.0, 1.0), *(colours * 7)[:255]])
    if name not in matplotlib.colormaps:
        raise ValueError(f"no colour map {name!r}")
    return matplotlib.colormaps[name]


def robust_window(volume: np.ndarray, mask: np.ndarray | None = None) -> tuple[float, float]:
    """The 1st and 99th percentile inside the mask, rounded to two digits of their distance.

    Where no value is negative the window begins at 0. Without a mask, of the voxels that are not 0. Long
    samples are thinned out evenly.
    """
    values = sample(volume, mask)
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (1, 99)))
    if high <= low:
        span = abs(low) or 1.0
        return low - span / 2, low + span / 2
    if low > 0 and values.min() >= 0:
        low = 0.0
    digit = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    ends = math.floor(low / digit) * digit, math.ceil(high / digit) * digit
    return float(f"{ends[0]:.6g}"), float(f"{ends[1]:.6g}")


def sample(volume: np.ndarray, mask: np.ndarray | None = None, most: int = 400_000) -> np.ndarray:
    """At most about `most` finite values inside the mask (1-D), the same ones every time."""
    if mask is None:
        step = max(1, round((volume.size / (4 * most)) ** (1 / 3)))
        values = volume[::step, ::step, ::step]
        values = values[values != 0]
    else:
        step = max(1, round((np.count_nonzero(mask) / most) ** (1 / 3)))
        values = volume[::step, ::step, ::step][mask[::step, ::step, ::step]]
    return values[np.isfinite(values)]


def three_plane(
    volume: np.ndarray,
    affine: np.ndarray,
    *,
    window: tuple[float, float] | None = None,
    mask: np.ndarray | None = None,
    unit: str = "",
    scale: float = 1.0,
    colormap: str = "gray",
    centre: tuple[int, int, int] | None = None,
    under: np.ndarray | None = None,
    width_px: int = 1100,
) -> bytes:
    """A map in three planes, with the mask's outline and a colour bar, as PNG.

    Parameters
    ----------
    volume, mask
        (x, y, z) on the grid of `affine` (voxel index to mm); cropped to what is not zero or inside the mask.
    window
        (low, high) in units of `volume`; None for `robust_window`.
    unit, scale
        Written at the colour bar, whose numbers are those of `volume` times `scale`.
    centre
        Index of the voxel where the planes meet; None for the middle of the mask.
    under
        (x, y, z), drawn in grey below labels.

    Returns
    -------
    bytes
        PNG, `width_px` wide, black around the slices.
    """
    orientation = Orientation.of(affine, volume.shape)
    turned = orientation.turn(volume)
    outline = None if mask is None else orientation.turn(mask)
    ground = None if under is None else orientation.turn(under)
    ground_top = 1.0 if under is None else robust_window(under, mask)[1]
    window = window or robust_window(volume, mask)
    inside = turned != 0 if outline is None or not outline.any() else (turned != 0) | outline
    x, y, z = (math.ceil(_MARGIN_MM / v) for v in orientation.voxel_mm)
    box = bounding_box(inside, (x, y, z)) or tuple(slice(0, n) for n in turned.shape)
    if centre is None:
        index = centre_index(outline if outline is not None and outline.any() else inside)
    else:
        index = orientation.turned_index(centre)
    size_mm = [(s.stop - s.start) * v for s, v in zip(box, orientation.voxel_mm)]

    gap, bar, foot = 0.02, 0.085, 0.09
    wide = sum(size_mm[h] for _, h, *_ in PLANES)
    per_mm = (width_px * (1 - bar - 3 * gap)) / wide
    tall = max(size_mm[v] for _, _, v, *_ in PLANES) * per_mm
    height_px = tall * (1 + foot) + 16
    figure = Figure(figsize=(width_px / 100, height_px / 100), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    colours = colour_map(colormap)
    limits = (-0.5, 255.5) if colormap == "labels" else (window[0] * scale, window[1] * scale)
    left = gap
    for name, h, v, n, letters in PLANES:
        width, height = size_mm[h] * per_mm / width_px, size_mm[v] * per_mm / height_px
        bottom = (tall * foot + 8 + (tall - size_mm[v] * per_mm) / 2) / height_px
        axes = figure.add_axes((left, bottom, width, height))
        axes.set_axis_off()
        pick: list[Any] = list(box)
        pick[n] = index[n]
        # The slice's own axes come in ascending order, horizontal before vertical.
        picture = turned[tuple(pick)].T[::-1, ::-1].astype(np.float32) * np.float32(scale)
        if outline is not None:
            # Zero outside the mask means "not computed": black, whatever the window.
            picture[(picture == 0) & ~outline[tuple(pick)].T[::-1, ::-1]] = np.nan
        extent = (0.0, size_mm[h], 0.0, size_mm[v])
        if ground is not None:
            picture[picture == 0] = np.nan
            axes.imshow(
                ground[tuple(pick)].T[::-1, ::-1], cmap="gray", vmin=0, vmax=ground_top, extent=extent, aspect="auto"
            )  # fmt: skip
        axes.imshow(
            picture, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent, aspect="auto",
            interpolation="nearest" if colormap == "labels" else "antialiased",
        )  # fmt: skip
        if outline is not None:
            edge = outline[tuple(pick)].T[:, ::-1]
            if edge.any() and not edge.all():
                padded = np.pad(edge, 1).astype(np.float32)
                dx, dy = size_mm[h] / edge.shape[1], size_mm[v] / edge.shape[0]
                x = (np.arange(padded.shape[1]) - 0.5) * dx
                y = (np.arange(padded.shape[0]) - 0.5) * dy
                axes.contour(x, y, padded, [0.5], colors=[OUTLINE], linewidths=0.9)
        axes.set_xlim(0, size_mm[h])
        axes.set_ylim(0, size_mm[v])
        for text, x, y in zip(letters, (0.01, 0.99, 0.5, 0.5), (0.5, 0.5, 0.01, 0.99)):
            axes.text(
                x, y, text, color="#9fd0ff", fontsize=10, transform=axes.transAxes, clip_on=False,
                path_effects=[Stroke(linewidth=2.5, foreground="black"), Normal()],
                ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
                va="bottom" if y < 0.1 else "top" if y > 0.9 else "center",
            )  # fmt: skip
        position = orientation.affine @ (*index, 1)
        axis = "zyx"[(2, 1, 0).index(n)]
        figure.text(
            left + width / 2, 6 / height_px, f"{name}  {axis} = {position[n]:.0f} mm",
            color="#d0d0d0", fontsize=10, ha="center", va="bottom",
        )  # fmt: skip
        left += width + gap
    if colormap != "labels":
        _colour_bar(figure, left + 0.002, colours, limits, unit)
    return file_bytes(figure, facecolor="black")


def _colour_bar(
    figure: Figure, left: float, colours: Colormap, limits: tuple[float, float], unit: str
) -> None:
    axes = figure.add_axes((left, 0.2, 0.012, 0.6))
    axes.imshow(
        np.linspace(1, 0, 256)[:, None],
        cmap=colours,
        aspect="auto",
        extent=(0.0, 1.0, *limits),
        vmin=0,
        vmax=1,
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(Axis.nice(*limits, 5).ticks)
    axes.set_ylim(*limits)
    axes.tick_params(colors="#d0d0d0", labelsize=9, length=3)
    for spine in axes.spines.values():
        spine.set_color("#808080")
    if unit:
        axes.set_title(unit, color="#d0d0d0", fontsize=10, pad=8)


def histogram(
    volume: np.ndarray,
    mask: np.ndarray | None,
    *,
    window: tuple[float, float],
    unit: str = "",
    scale: float = 1.0,
    title: str = "",
    bins: int = 120,
) -> str:
    """The distribution inside the mask as inline SVG in the page's own colours; ``""`` if there are no values.

    The axis is the window widened by half on each side; what lies beyond is counted in the text under it.
    """
    values = sample(volume, mask) * np.float32(scale)
    if values.size == 0:
        return ""
    low, high = window[0] * scale, window[1] * scale
    span = high - low
    start, stop = max(low - span / 2, float(values.min())), min(high + span / 2, float(values.max()))
    if stop <= start:
        start, stop = low, high
    counts, edges = np.histogram(values, bins=bins, range=(start, stop))
    axis = Axis(start, stop, Axis.nice(start, stop, 6).ticks, 12.0, 408.0)
    top, base = 10.0, 112.0
    peak = max(int(counts.max()), 1)
    path = [f"M{axis.at(start):.1f} {base:.0f}"]
    for count, a, b in zip(counts, edges[:-1], edges[1:]):
        y = base - (base - top) * count / peak
        path.append(f"L{axis.at(a):.1f} {y:.1f}L{axis.at(b):.1f} {y:.1f}")
    path.append(f"L{axis.at(stop):.1f} {base:.0f}Z")
    low_px, high_px = (axis.at(min(max(v, start), stop)) for v in (low, high))
    q = np.percentile(values, (5, 50, 95))
    beyond = 100 * float(np.mean((values < start) | (values > stop)))
    note = (
        f"mean {values.mean(dtype=np.float64):.4g}, SD {values.std(dtype=np.float64):.4g}, median {q[1]:.4g}, "
        f"5 to 95 %: {q[0]:.4g} to {q[2]:.4g} {unit}"
    )
    if beyond >= 0.1:
        note += f"; {beyond:.1f} % beyond the axis"
    shade = f'<rect class="window" x="{low_px:.1f}" y="{top}" width="{high_px - low_px:.1f}" height="{base - top}"/>'
    return (
        f'<svg class="chart" viewBox="0 0 420 150" role="img" aria-label="{escape(f"Histogram of {title}: {note}")}">'
        f'{shade}<path class="bars" d="{"".join(path)}"/>{axis.svg(base, unit)}</svg>'
        f'<p class="note">{escape(note.strip())}</p>'
    )


def region_chart(regions: Sequence[Mapping[str, Any]]) -> str:
    """Each region in ppb as inline SVG: its distribution as a violin where there is one, mean and SD as dot and bar, truth as a
    hollow diamond. Regions of fewer than 20 voxels, whose extremes would squeeze the axis, are left out where there are others."""
    rows = [r for r in regions if r.get("mean_ppb") is not None and math.isfinite(r["mean_ppb"])]
    rows = [r for r in rows if r.get("voxels", _LEAST_SHOWN) >= _LEAST_SHOWN] or rows
    if not rows:
        return ""
    spread = [(r["mean_ppb"], r.get("sd_ppb") or 0.0, r.get("truth_ppb")) for r in rows]
    ends = [m + s * d for m, s, _ in spread for d in (-1, 1)] + [t for *_, t in spread if t is not None]
    ends += [e for r in rows if r.get("density") for e in r["density"]["ends_ppb"]]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    pad = 0.04 * ((high - low) or 1.0)
    axis = Axis.nice(low - pad, high + pad, 7)
    axis = Axis(low - pad, high + pad, axis.ticks, 170.0, 590.0)
    line, base = 22, 22 * len(rows) + 8
    parts = [f'<line class="zero" x1="{axis.at(0):.1f}" x2="{axis.at(0):.1f}" y1="4" y2="{base}"/>']
    for n, (row, (mean, sd, truth)) in enumerate(zip(rows, spread)):
        y = line * n + 16
        x = axis.at(mean)
        parts.append(f'<text class="name" x="160" y="{y + 4}">{escape(str(row["name"]))}</text>')
        if row.get("density"):
            parts.append(_violin(row["density"], axis, y))
        parts.append(
            f'<line class="spread" x1="{axis.at(mean - sd):.1f}" x2="{axis.at(mean + sd):.1f}" y1="{y}" y2="{y}"/>'
        )
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y}" r="4.5"/>')
        if truth is not None:
            t = axis.at(truth)
            parts.append(
                f'<path class="truth" d="M{t:.1f} {y - 7}L{t + 6:.1f} {y}L{t:.1f} {y + 7}L{t - 6:.1f} {y}Z"/>'
            )
    label = (
        "Distribution of susceptibility in each region in ppb: mean as a dot, one standard deviation as a bar"
    )
    return (
        f'<svg class="chart regions" viewBox="0 0 600 {base + 40}" role="img" aria-label="{label}">'
        f"{''.join(parts)}{axis.svg(base, 'ppb')}</svg>"
    )


def _violin(density: Mapping[str, Any], axis: Axis, y: float) -> str:
    """The distribution of one region as a closed curve about the height `y`."""
    low, high = density["ends_ppb"]
    heights = density["height"]
    xs = [axis.at(low + (high - low) * (i + 0.5) / len(heights)) for i in range(len(heights))]
    upper = [f"{x:.1f} {y - 10 * h:.1f}" for x, h in zip(xs, heights)]
    lower = [f"{x:.1f} {y + 10 * h:.1f}" for x, h in zip(xs[::-1], heights[::-1])]
    return f'<path class="violin" d="M{"L".join([*upper, *lower])}Z"/>'
