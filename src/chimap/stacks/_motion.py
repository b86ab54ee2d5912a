"""Rigid motion between scans: Gauss-Newton on magnitudes, coarse to fine, with the gain of the one against the other fitted too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from chimap.stacks._shears import Shears, shears
from chimap.stacks.scan import Grid, Motion
from chimap.types import Mask, Volume

Predict = Callable[[Motion], Volume]
"""The magnitude that is expected of a head that lies there."""

_REACH_MM = 60.0
_WIDTHS = (2.0, 0.7)


def register(
    fixed: Volume,
    moved: Volume,
    grid: Grid,
    valid: Mask,
    *,
    own: np.ndarray | None = None,
    widths: Sequence[float] = _WIDTHS,
) -> Motion:
    """The motion that takes magnitude `fixed` on `grid` to `moved`; compared where `valid`.

    `own` is the affine of `moved`, of the same shape and voxel size, where it is not that of `grid`. Both are smoothed with a
    Gaussian, whose standard deviation in voxels goes through `widths`.
    """
    motion = Motion(centre_mm=_triple(grid.centre_mm))
    for width in widths:
        a, b = (
            ndimage.gaussian_filter(v, width, mode="nearest").astype(np.complex64) for v in (fixed, moved)
        )

        def predict(m: Motion, a: np.ndarray = a) -> Volume:
            return moved_to(a, grid, m, own).real

        inner = valid & ndimage.binary_erosion(valid, iterations=max(1, round(width)), border_value=0)
        motion = align(predict, b.real, inner if inner.any() else valid, grid.voxel_mm, motion)
    return motion


def moved_to(x: np.ndarray, grid: Grid, motion: Motion, own: np.ndarray | None = None) -> np.ndarray:
    """A complex volume as it looks when the head has moved (on the affine `own`, else that of the grid)."""
    return between(grid.shape, grid.affine, grid.affine if own is None else own, motion).forward(x)


def between(shape: Sequence[int], first: np.ndarray, other: np.ndarray, motion: Motion) -> Shears:
    """From an image with affine `first` to the same image with affine `other` of a head that has moved."""
    back = np.linalg.inv(first) @ np.linalg.inv(motion.matrix) @ other
    return shears(shape, back[:3, :3], back[:3, 3])


def align(
    predict: Predict,
    measured: Volume,
    weight: Volume | Mask,
    voxel_mm: float,
    start: Motion,
    *,
    iterations: int = 12,
    tolerance: float = 3e-3,
) -> Motion:
    """Gauss-Newton from `start`: the motion whose prediction, times a gain that is linear in space, fits `measured` best.

    Derivatives are differences over a tenth of a voxel. What differs by more than three robust standard deviations counts
    less (Huber). It ends when an update is below `tolerance` voxels (turns: at 60 mm from the centre).
    """
    index = np.nonzero(weight)
    values = measured[index].astype(np.float64)
    place = np.stack([i / max(1, n - 1) - 0.5 for i, n in zip(index, measured.shape, strict=True)])
    w0 = np.asarray(weight, np.float32)[index].astype(np.float64)
    unit = 0.1 * voxel_mm
    p = np.array([*start.shift_mm, *(np.deg2rad(start.turn_deg) * _REACH_MM)])

    def at(q: np.ndarray) -> np.ndarray:
        return predict(_motion(q, start))[index].astype(np.float64)

    slopes: list[np.ndarray] = []
    for n in range(iterations):
        here = at(p)
        gains = np.stack([here, *(here * x for x in place)], 1)
        w = w0
        fit = np.linalg.lstsq((gains * w[:, None]).T @ gains, (gains * w[:, None]).T @ values, rcond=None)[0]
        gain = fit[0] + fit[1:] @ place
        residual = values - gain * here
        spread = 1.4826 * float(np.median(np.abs(residual))) * 3 + 1e-12
        w = w0 / np.maximum(1, np.abs(residual) / spread)
        if n < 2:  # near the end they hardly change
            slopes = [(at(p + unit * e) - here) / unit for e in np.eye(6)]
        design = np.concatenate([np.stack([gain * s for s in slopes], 1), gains], 1)
        normal = (design * w[:, None]).T @ design
        scale = np.sqrt(np.diag(normal)) + 1e-30
        step = np.linalg.lstsq(
            normal / scale / scale[:, None], (design * w[:, None]).T @ residual / scale, rcond=1e-10
        )[0]
        step = (step / scale)[:6]
        # A step far beyond what the derivative was taken for is cut.
        largest = float(np.abs(step).max())
        p = p + step * min(1.0, 2 * voxel_mm / max(largest, 1e-12))
        if largest < tolerance * voxel_mm:
            break
    return _motion(p, start)


def _motion(p: np.ndarray, like: Motion) -> Motion:
    return Motion(_triple(p[:3]), _triple(np.rad2deg(p[3:] / _REACH_MM)), like.centre_mm)


def _triple(v: np.ndarray) -> tuple[float, float, float]:
    return float(v[0]), float(v[1]), float(v[2])
