"""The echoes side by side: magnitude, phase, and what of the phase the field does not explain."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from chimap.acquisition import Acquisition
from chimap.report.orient import Orientation, bounding_box, centre_index
from chimap.report.saved import file_bytes

_ROWS = ("magnitude", "phase", "unexplained phase")
_MISFIT_RAD = 1.0
_AIR = 0.1
_COLUMNS = 12
_CARPET = 1500
_LINES = 300


@dataclass(frozen=True)
class Echoes:
    """One axial slice of each echo, and a carpet of voxels.

    Attributes
    ----------
    te_s : tuple of float
    voxel_mm : (2,) float
        Across and up.
    z_mm : float
    magnitude, phase, misfit : (x, y, echo) float32
        Right and front; phase in rad as measured; misfit [rad]: phase minus that of the field and of an offset the same for all
        echoes, NaN outside the mask. Phase is NaN where there is no signal. Magnitude may be None.
    carpet : (voxel, echo) float32
        Misfit of voxels spread over the mask, the deepest first.
    rms_rad : (echo,) float
        Root mean square of the misfit over voxels spread evenly over the mask.
    """

    te_s: tuple[float, ...]
    voxel_mm: tuple[float, float]
    z_mm: float
    magnitude: np.ndarray | None
    phase: np.ndarray
    misfit: np.ndarray
    carpet: np.ndarray
    rms_rad: np.ndarray

    def rows(self) -> list[dict[str, float]]:
        """One dict an echo: ``te_ms`` and ``rms_rad``."""
        return [
            {"te_ms": 1000 * t, "rms_rad": float(r)} for t, r in zip(self.te_s, self.rms_rad, strict=True)
        ]

    @property
    def worst(self) -> int | None:
        """The echo (from 1) whose misfit stands out: twice the median of the others and above 0.3 rad; None without one."""
        if len(self.rms_rad) < 3:
            return None
        e = int(np.argmax(self.rms_rad))
        others = float(np.median(np.delete(self.rms_rad, e)))
        return e + 1 if self.rms_rad[e] > max(2 * others, 0.3) else None


def echoes_of(
    phase: np.ndarray,
    magnitude: np.ndarray | None,
    field_ppm: np.ndarray,
    mask: np.ndarray,
    acq: Acquisition,
    affine: np.ndarray,
    *,
    sign: int = 1,
) -> Echoes:
    """Gather what the pictures of the echoes need.

    Parameters
    ----------
    phase, magnitude : (x, y, z, echo) float32
        Phase in rad. All echoes weigh the same without a magnitude.
    field_ppm : (x, y, z) float32
        Total field.
    mask : (x, y, z) bool
    sign : {1, -1}
        -1 if the scan's phase falls with the field.
    """
    orientation = Orientation.of(affine, mask.shape)
    rate = np.array([sign * acq.rad_per_ppm(t) for t in acq.te_s], np.float32)

    def turned(volumes: np.ndarray, k: int) -> np.ndarray:
        return np.stack([orientation.turn(volumes[..., e])[:, :, k] for e in range(acq.echoes)], axis=-1)

    inside = orientation.turn(mask)
    k = centre_index(inside)[2]
    box = bounding_box(inside, (4, 4, 0)) or tuple(slice(0, n) for n in inside.shape)
    across, up = box[0], box[1]
    flat_phase = turned(phase, k)[across, up]
    flat_magnitude = None if magnitude is None else turned(magnitude, k)[across, up]
    field = orientation.turn(field_ppm)[across, up, k]
    misfit = _misfit(flat_phase, flat_magnitude, field, rate)
    around = ~inside[across, up, k]
    misfit[around] = np.nan
    if flat_magnitude is not None and not around.all():
        # Where there is no signal, phase is noise.
        level = float(np.median(flat_magnitude[~around][:, 0]))
        flat_phase[around & (flat_magnitude[..., 0] < _AIR * level)] = np.nan

    chosen = _spread(mask)
    voxels = _misfit(phase[chosen], None if magnitude is None else magnitude[chosen], field_ppm[chosen], rate)
    depth = _depth(chosen, mask, acq.voxel_size_mm)
    return Echoes(
        acq.te_s,
        (float(orientation.voxel_mm[0]), float(orientation.voxel_mm[1])),
        float((orientation.affine @ (*centre_index(inside)[:2], k, 1))[2]),
        flat_magnitude,
        flat_phase,
        misfit,
        voxels[np.argsort(-depth, kind="stable")],
        np.sqrt(np.mean(voxels**2, axis=0)) if len(voxels) else np.zeros(acq.echoes),
    )


def _misfit(
    phase: np.ndarray, magnitude: np.ndarray | None, field: np.ndarray, rate: np.ndarray
) -> np.ndarray:
    """Phase (..., echo) minus rate times field minus the offset that the echoes agree on, within +-pi."""
    rest = np.exp(1j * (phase - field[..., None] * rate)).astype(np.complex64)
    weight = 1.0 if magnitude is None else magnitude.astype(np.float32) ** 2
    offset = (weight * rest).sum(axis=-1, keepdims=True)
    return np.angle(rest * offset.conj()).astype(np.float32)


def _spread(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of about `_CARPET` voxels of the mask, evenly spread, the same ones every time."""
    found = np.flatnonzero(mask)
    take = found[np.linspace(0, len(found) - 1, min(_CARPET, len(found))).astype(int)]
    return np.unravel_index(take, mask.shape)


def _depth(
    chosen: tuple[np.ndarray, ...], mask: np.ndarray, voxel_mm: tuple[float, float, float]
) -> np.ndarray:
    """How deep voxels lie in the mask, from 1 at its centre of mass to about 0 at its rim (distance by the mask's extent)."""
    if not len(chosen[0]):
        return np.zeros(0)
    centre = centre_index(mask)
    off = [(c - m) * v for c, m, v in zip(chosen, centre, voxel_mm, strict=True)]
    extent = [max(float(np.abs(o).max()), 1e-6) for o in off]
    return 1 - np.sqrt(sum((o / e) ** 2 for o, e in zip(off, extent, strict=True)))


def echo_picture(echoes: Echoes, width_px: int = 1100) -> bytes:
    """Magnitude, phase and unexplained phase of each echo in an axial slice, as PNG: rows by columns of echoes.

    Of more than 12 echoes, 12 evenly spread ones are shown, the first and the last among them.
    """
    count = len(echoes.te_s)
    shown = np.unique(np.linspace(0, count - 1, min(count, _COLUMNS)).round().astype(int))
    stacks = [
        (name, stack)
        for name, stack in zip(_ROWS, (echoes.magnitude, echoes.phase, echoes.misfit), strict=True)
        if stack is not None
    ]
    nx, ny = echoes.phase.shape[:2]
    aspect = (ny * echoes.voxel_mm[1]) / (nx * echoes.voxel_mm[0])
    left, right, gap, top = 26.0, 58.0, 4.0, 20.0
    cell = (width_px - left - right - gap * (len(shown) - 1)) / len(shown)
    cell = min(cell, 200.0)
    wide, tall = left + right + len(shown) * (cell + gap) - gap, top + len(stacks) * (cell * aspect + gap)
    figure = Figure(figsize=(wide / 100, tall / 100), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    for row, (name, stack) in enumerate(stacks):
        low, high, colours = _window(name, stack[np.isfinite(echoes.misfit[..., 0])])
        bottom = tall - top - (row + 1) * (cell * aspect + gap)
        for column, e in enumerate(shown):
            x = left + column * (cell + gap)
            axes = figure.add_axes((x / wide, bottom / tall, cell / wide, cell * aspect / tall))
            axes.set_axis_off()
            axes.imshow(
                stack[::-1, ::-1, e].T, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="antialiased"
            )  # fmt: skip
            if row == 0:
                text = f"{e + 1}: {1000 * echoes.te_s[e]:.3g} ms"
                figure.text(
                    (x + cell / 2) / wide, 1 - 4 / tall, text, color="#d0d0d0", fontsize=9, ha="center", va="top"
                )  # fmt: skip
        figure.text(
            11 / wide, (bottom + cell * aspect / 2) / tall, name, color="#d0d0d0", fontsize=9, rotation=90, ha="center", va="center"
        )  # fmt: skip
        if name != "magnitude":
            bar = figure.add_axes(
                ((wide - right + 6) / wide, (bottom + 8) / tall, 10 / wide, (cell * aspect - 16) / tall)
            )
            _bar(bar, low, high, colours)
    return file_bytes(figure, facecolor="black")


def echo_carpet(echoes: Echoes, width_px: int = 520) -> bytes:
    """The carpet as PNG: a column an echo, a row a voxel, the deepest at the top; colour: unexplained phase."""
    rows = echoes.carpet
    if len(rows) > _LINES:
        rows = rows[: len(rows) // _LINES * _LINES : len(rows) // _LINES]
    figure = Figure(figsize=(width_px / 100, 3.2), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.06, 0.13, 0.8, 0.83))
    low, high, colours = _window("unexplained phase", rows)
    count = len(echoes.te_s)
    axes.imshow(rows, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    axes.set_yticks([])
    axes.set_ylabel("rim  ←  voxels  →  centre", color="#d0d0d0", fontsize=9)
    some = np.unique(np.linspace(0, count - 1, min(count, _COLUMNS)).round().astype(int))
    axes.set_xticks(some, [f"{1000 * echoes.te_s[e]:.3g}" for e in some])
    axes.tick_params(colors="#d0d0d0", labelsize=9, length=0)
    axes.set_xlabel("echo time [ms]", color="#d0d0d0", fontsize=9, labelpad=1)
    for e in range(1, count):
        axes.axvline(e - 0.5, color="black", linewidth=1.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _bar(figure.add_axes((0.885, 0.2, 0.02, 0.65)), low, high, colours)
    return file_bytes(figure, facecolor="black")


def _window(name: str, stack: np.ndarray) -> tuple[float, float, str]:
    if name == "magnitude":
        return 0.0, 1.1 * float(np.percentile(stack, 99)) if stack.size else 1.0, "gray"
    # The phase returns to itself: so must its colours.
    return (-np.pi, np.pi, "twilight") if name == "phase" else (-_MISFIT_RAD, _MISFIT_RAD, "RdBu_r")


def _bar(axes: matplotlib.axes.Axes, low: float, high: float, colours: str) -> None:
    axes.imshow(
        np.linspace(1, 0, 128)[:, None],
        cmap=matplotlib.colormaps[colours],
        aspect="auto",
        extent=(0, 1, low, high),
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    if high > 3:
        axes.set_yticks([low, 0, high], ["−π", "0", "π rad"])
    else:
        axes.set_yticks([low, 0, high], [f"−{high:g}", "0", f"{high:g} rad"])
    axes.tick_params(colors="#d0d0d0", labelsize=8, length=2)
