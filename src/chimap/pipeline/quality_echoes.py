"""Quality numbers that come from the echoes of a scan: noise, ghosts, motion, and how well phase and decay fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.numerics.box import Box
from chimap.numerics.threads import get_threads
from chimap.pipeline.cubes import halved, high_frequency_sd
from chimap.types import Mask, Volume

_MOST_VOXELS = 100_000
_AIR = 0.1
_FEW = 300


def spread(mask: Mask, most: int = _MOST_VOXELS) -> tuple[np.ndarray, ...]:
    """Indices of at most so many voxels, spread evenly over a mask."""
    found = np.flatnonzero(mask)
    return np.unravel_index(found[:: max(1, -(-found.size // most))], mask.shape)


def noise_sd(volume: Volume, mask: Mask) -> float:
    """Standard deviation of what changes along all three axes at once, from voxel to voxel, in a mask."""
    box = Box.around(mask, fast=False).inner
    return high_frequency_sd(volume[box][np.newaxis], mask[box][np.newaxis])


@dataclass(frozen=True)
class Decay:
    """The decay with R2* that fits the echoes best within the bounding box of a mask: its size at TE = 0, and each echo's part of that."""

    box: tuple[slice, ...]
    size: Volume
    left: tuple[Volume, ...]

    @classmethod
    def of(cls, magnitude: Sequence[Volume], r2star: Volume, mask: Mask, acq: Acquisition) -> Decay:
        """Fit the size in each voxel."""
        box = Box.around(mask, fast=False).inner
        left = tuple(np.exp(np.float32(-t) * r2star[box]) for t in acq.te_s)
        top, square = np.zeros_like(left[0]), np.zeros_like(left[0])
        for d, m in zip(left, magnitude):
            top += d * m[box]
            square += d * d
        return cls(box, np.divide(top, square, out=top), left)


def decay_noise_sd(magnitude: Sequence[Volume], decay: Decay, mask: Mask) -> float:
    """As `noise_sd`, of what a decay with R2* does not explain in each echo: anatomy has gone from it. Infinite below three echoes."""
    if len(magnitude) < 3:
        return math.inf
    inside = mask[decay.box][np.newaxis]

    def of(echo: int) -> float:
        rest = magnitude[echo][decay.box] - decay.left[echo] * decay.size
        return high_frequency_sd(rest[np.newaxis], inside)

    return math.sqrt(sum(sd * sd for sd in _each(of, len(magnitude))) / (len(magnitude) - 2))


def _each(call: Callable[[int], float], echoes: int) -> list[float]:
    """What a call returns for each echo, echoes side by side."""
    with ThreadPoolExecutor(min(echoes, get_threads())) as pool:
        return list(pool.map(call, range(echoes)))


def snr(magnitude: Volume, mask: Mask, sd: float) -> float | None:
    """Median magnitude in the mask over the standard deviation of the noise."""
    return float(np.median(magnitude[mask])) / sd if sd > 0 else None


def ghost_percent(magnitude: Volume) -> float | None:
    """Ghosts in the air, in percent of the object's signal: the largest over the three axes.

    The object (voxels above a tenth of the 95th percentile, holes filled, two voxels wider, on a grid of twice the voxels) is shifted by half the field of
    view along an axis; where the shifted one covers air, the mean magnitude is compared with that of the other air (Giannelli
    et al., Eur J Radiol 2010 defined this ratio for echo-planar images). None where the air holds no signal, as in images masked by
    the scanner, or where there is too little of it.
    """
    # Ghosts are as large as the head: means of 2 x 2 x 2 voxels tell as much.
    magnitude = halved(magnitude)
    some = magnitude[magnitude > 0]
    if some.size < _FEW:
        return None
    seen = magnitude > _AIR * float(np.percentile(some, 95))
    inside = ndimage.binary_fill_holes(ndimage.binary_opening(seen))
    inside = ndimage.binary_dilation(inside)
    air = ~inside
    if np.count_nonzero(air & (magnitude > 0)) < 0.5 * max(int(np.count_nonzero(air)), 1):
        return None
    signal = float(np.mean(magnitude[inside])) if inside.any() else 0.0
    found = []
    for axis, n in enumerate(magnitude.shape):
        shifted = np.roll(inside, n // 2, axis)
        ghost, rest = shifted & air, ~shifted & air
        if min(np.count_nonzero(ghost), np.count_nonzero(rest)) >= _FEW and signal > 0:
            found.append(float(np.mean(magnitude[ghost]) - np.mean(magnitude[rest])) / signal)
    return 100 * max(found) if found else None


def echo_shift_mm(magnitude: Sequence[Volume], decay: Decay, mask: Mask, acq: Acquisition) -> float | None:
    """Largest displacement of an echo against what the others lead to expect, root mean square over the mask, in mm.

    What a decay with R2* does not explain in an echo is fitted, to first order, by a rigid motion of the decay, with a change of scale.
    Motion that is even over the echoes looks like decay and is not seen; what alternates or comes at once is. Smoothing by one voxel
    keeps noise from being taken for gradients. None with fewer than three echoes.
    """
    if acq.echoes < 3:
        return None
    at = spread(mask[decay.box])
    if at[0].size < _FEW:
        return None
    r = [(i - i.mean()) * v for i, v in zip((a.astype(np.float64) for a in at), acq.voxel_size_mm)]

    def moved(echo: int) -> float:
        expected = ndimage.gaussian_filter(decay.left[echo] * decay.size, 1.0)
        measured = ndimage.gaussian_filter(magnitude[echo][decay.box], 1.0)
        g = [_slope(expected, at, axis, v) for axis, v in enumerate(acq.voxel_size_mm)]
        turns = (r[1] * g[2] - r[2] * g[1], r[2] * g[0] - r[0] * g[2], r[0] * g[1] - r[1] * g[0])
        here = expected[at].astype(np.float64)
        t, w = np.split(_fit([*g, *turns, here, np.ones_like(here)], measured[at] - here)[:6], 2)
        path = (
            t[0] + w[1] * r[2] - w[2] * r[1],
            t[1] + w[2] * r[0] - w[0] * r[2],
            t[2] + w[0] * r[1] - w[1] * r[0],
        )
        return math.sqrt(float(sum(np.mean(m * m) for m in path)))

    return max(_each(moved, acq.echoes))


def _slope(volume: Volume, at: tuple[np.ndarray, ...], axis: int, step_mm: float) -> np.ndarray:
    """Central differences of some voxels along an axis, one-sided at the border, per mm."""
    low, high = (np.clip(at[axis] + k, 0, volume.shape[axis] - 1) for k in (-1, 1))
    before, after = (volume[(*at[:axis], k, *at[axis + 1 :])] for k in (low, high))
    return (after - before).astype(np.float64) / (np.maximum(high - low, 1) * step_mm)


def _fit(columns: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Coefficients of the columns by least squares, those of large residuals weighted down."""
    # Columns of one size: their products, which are all that is solved with, lose no digits that count.
    size = np.array([np.linalg.norm(c) or 1.0 for c in columns])
    a = np.stack([c / s for c, s in zip(columns, size)])
    weight = np.ones_like(values)
    for _ in range(3):
        weighted = a * weight
        fit = np.linalg.lstsq(weighted @ weighted.T, weighted @ (values * weight), rcond=None)[0]
        left = np.abs(values - fit @ a)
        # Signal that dephases near air and veins falls by no exponential, and must not count as motion.
        weight = 1 / np.maximum(1, left / max(2 * float(np.median(left)), 1e-30))
    return fit / size


def phase_fit(
    phase: np.ndarray, magnitude: np.ndarray, field_ppm: np.ndarray, acq: Acquisition, sd: float
) -> dict[str, float]:
    """How the phase of all echoes differs from an offset and a slope that is the total field; arrays (echo, voxel).

    The misfit of a voxel is the root mean square over the echoes, weighted by squared magnitude. ``phase_residual``: its root mean
    square over the voxels, in rad. ``phase_residual_noise``: that over what the noise `sd` explains. ``phase_misfit``: percentage of
    voxels whose misfit exceeds 3 times its noise plus 0.1 rad.
    """
    turned = [p - acq.rad_per_ppm(t) * field_ppm for p, t in zip(phase, acq.te_s)]
    power = magnitude.astype(np.float64) ** 2
    offset = np.angle(sum(w * np.exp(1j * p) for w, p in zip(power, turned)))
    square = sum(w * np.angle(np.exp(1j * (p - offset))) ** 2 for w, p in zip(power, turned))
    total = np.maximum(power.sum(axis=0), 1e-30)
    misfit = np.sqrt(square / total)
    # Offset and slope are fitted: two numbers of each voxel's echoes are not free.
    noise = sd * np.sqrt(max(acq.echoes - 2, 0) / total)
    out = {
        "phase_residual_rad": math.sqrt(float(np.mean(misfit**2))),
        "phase_misfit_percent": 100 * float(np.mean(misfit > 3 * noise + 0.1)),
    }
    if sd > 0 and acq.echoes > 2:
        out["phase_residual_over_noise"] = float(np.median(misfit) / max(np.median(noise), 1e-30))
    return out


def decay_fit(magnitude: np.ndarray, r2star: np.ndarray, acq: Acquisition, sd: float) -> dict[str, float]:
    """How the magnitude differs from a decay with R2*, arrays (echo, voxel); its size at TE = 0 is fitted.

    ``r2star_residual_percent``: median over voxels of the root mean square difference over the echoes, in percent of the first echo.
    ``r2star_misfit_percent``: percentage of voxels where it exceeds 3 times the noise plus 5 % of the first echo.
    """
    decay = np.exp(-np.outer(acq.te_s, r2star))
    size = (decay * magnitude).sum(axis=0) / np.maximum((decay * decay).sum(axis=0), 1e-30)
    misfit = np.sqrt(np.mean((magnitude - decay * size) ** 2, axis=0))
    first = np.maximum(magnitude[0], 1e-30)
    return {
        "r2star_residual_percent": 100 * float(np.median(misfit / first)),
        "r2star_misfit_percent": 100 * float(np.mean(misfit > 3 * sd + 0.05 * first)),
    }
