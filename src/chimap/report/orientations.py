"""Pictures for several head orientations: what they know of k-space, and how well the scans lie on each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from chimap.orientation.conditioning import conditioning, strength
from chimap.report.figures import PLANES, robust_window
from chimap.report.orient import Orientation, centre_index
from chimap.report.saved import file_bytes

_SAMPLES = 241
_WORST = 20.0
_FIELD_MM = 24.0


def conditioning_figure(
    directions: Sequence[Sequence[float]] | np.ndarray,
    extra: Sequence[float] | None = None,
    *,
    kind: str = "png",
) -> bytes:
    """How much noise is amplified along each direction of k-space, as a map of half the sphere, seen along B0 of the first scan.

    Parameters
    ----------
    directions : (n, 3)
        B0 in the head (right, front, up).
    extra : 3 float, optional
        A further direction: a second map shows what it would add.
    kind : {"png", "svg"}

    Returns
    -------
    bytes
        The file. The map keeps areas (Lambert); colours are 1 / strength, from 1 to 20 and more.
    """
    b = np.asarray(directions, float)
    sets = [(b, "these orientations")]
    if extra is not None:
        sets.append((np.concatenate([b, [np.asarray(extra, float)]]), "with the best further one (star)"))
    axes = _frame(b[0])
    figure = Figure(figsize=(0.6 + 4.9 * len(sets), 5.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    line = np.linspace(-1.02, 1.02, _SAMPLES)
    x, y = np.meshgrid(line, line)
    r2 = x * x + y * y
    # The rim of the half sphere lies at radius 1 of Lambert's map, scaled by 1 / sqrt(2).
    z = 1 - r2
    side = np.sqrt(np.maximum(2 - r2, 0))
    k = np.stack([x * side, y * side, z], axis=-1) @ axes
    image = None
    for panel, (shown, title) in zip(np.atleast_1d(figure.subplots(1, len(sets))), sets):
        gain = 1 / np.maximum(strength(k, shown), 1e-6)
        image = panel.imshow(
            np.where(r2 <= 1, gain, np.nan), extent=(-1.02, 1.02, -1.02, 1.02), origin="lower",
            norm=LogNorm(1, _WORST), cmap="magma",
        )  # fmt: skip
        local = shown @ axes.T
        local = np.where(local[:, 2:] < 0, -local, local)
        at = local[:, :2] / np.sqrt(1 + local[:, 2:])
        panel.plot(*at[: len(b)].T, "o", color="white", markeredgecolor="black", markersize=9)
        for n, (u, v) in enumerate(at[: len(b)]):
            panel.annotate(str(n + 1), (u, v), color="black", fontsize=7, ha="center", va="center")
        if len(shown) > len(b):
            panel.plot(*at[-1], "*", color="#7fe0ff", markeredgecolor="black", markersize=14)
        found = conditioning(shown)
        number = f"{found.number:.3g}" if np.isfinite(found.number) else "infinite"
        panel.set_title(
            f"{title}\ncondition number {number}, noise gain {found.noise_gain:.2f}", fontsize=10, pad=16
        )
        panel.set_axis_off()
        for text, u, v in (("R", 1.05, 0), ("L", -1.05, 0), ("A", 0, 1.05), ("P", 0, -1.05)):
            panel.text(u, v, text, ha="center", va="center", fontsize=9, color="#606060")
    assert image is not None
    bar = figure.colorbar(image, ax=figure.axes[: len(sets)], shrink=0.7, extend="max")
    bar.set_label("noise amplification along this direction of k-space")
    return file_bytes(figure, kind)


def registration_figure(
    reference: np.ndarray,
    others: Sequence[np.ndarray],
    names: Sequence[str],
    affine: np.ndarray,
    mask: np.ndarray,
) -> bytes:
    """A chequerboard of the reference's magnitude and each other one's after registration, in three planes, as PNG.

    Edges that go on from field to field lie on each other. Arrays are (x, y, z) on the grid of `affine`.
    """
    orientation = Orientation.of(affine, reference.shape)
    inside = orientation.turn(mask)
    index = centre_index(inside)
    first = _scaled(orientation.turn(reference), inside)
    size = np.asarray(orientation.voxel_mm)
    board = sum(
        ((np.arange(n) * v) // _FIELD_MM).astype(int).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, v) in enumerate(zip(first.shape, size))
    )
    rows = len(others)
    figure = Figure(figsize=(11, 0.3 + 3.6 * rows), dpi=90, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    panels = np.reshape(figure.subplots(rows, 3), (rows, 3))
    for row, other, name in zip(panels, others, names):
        mixed = np.where(np.asarray(board) % 2 == 0, first, _scaled(orientation.turn(other), inside))
        for panel, (plane, h, v, n, _) in zip(row, PLANES):
            pick: list[slice | int] = [slice(None)] * 3
            pick[n] = index[n]
            picture = mixed[tuple(pick)].T[::-1, ::-1]
            extent = (0.0, float(mixed.shape[h] * size[h]), 0.0, float(mixed.shape[v] * size[v]))
            panel.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent)
            panel.set_axis_off()
            panel.set_title(f"{name}, {plane.lower()}", color="#d0d0d0", fontsize=8)
    return file_bytes(figure, facecolor="black")


def _scaled(volume: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.asarray(volume, np.float32) / np.float32(max(robust_window(volume, inside)[1], 1e-30))


def _frame(b: np.ndarray) -> np.ndarray:
    """Rows: right, front, and `b`, orthonormal."""
    up = b / np.linalg.norm(b)
    right = np.array([1.0, 0, 0]) - up[0] * up
    if np.linalg.norm(right) < 0.1:
        right = np.array([0, 1.0, 0]) - up[1] * up
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up])
