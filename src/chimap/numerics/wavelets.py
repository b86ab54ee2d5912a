"""Orthonormal wavelets in three dimensions: Daubechies' filters, axis after axis, with periodic ends.

The transform works on arrays whose axes are divisible by ``2^levels``. Coefficients stay in an array of the input's
shape: the low-pass part of a level in its lower half on each axis.
"""

from __future__ import annotations

import numpy as np

from chimap.types import Volume

FILTERS = {
    1: (0.7071067811865476, 0.7071067811865476),
    2: (0.48296291314469025, 0.836516303737469, 0.22414386804185735, -0.12940952255092145),
    4: (
        0.23037781330885523,
        0.7148465705525415,
        0.6308807679295904,
        -0.02798376941698385,
        -0.18703481171888114,
        0.030841381835986965,
        0.032883011666982945,
        -0.010597401784997278,
    ),
}
"""Low-pass filters by their number of vanishing moments (Daubechies 1988, doi:10.1002/cpa.3160410705)."""


def forward(x: Volume, levels: int, moments: int = 2) -> Volume:
    """Wavelet coefficients of `x`, a new array of its shape."""
    out = x.astype(np.float32, copy=True)
    for level in range(levels):
        part = out[tuple(slice(0, n >> level) for n in x.shape)]
        for axis in range(3):
            part[...] = _analyse(part, axis, moments)
    return out


def inverse(coefficients: Volume, levels: int, moments: int = 2) -> Volume:
    """The array that has these coefficients; the transform is orthonormal, so this is also the adjoint."""
    out = coefficients.astype(np.float32, copy=True)
    for level in reversed(range(levels)):
        part = out[tuple(slice(0, n >> level) for n in out.shape)]
        for axis in range(3):
            part[...] = _synthesise(part, axis, moments)
    return out


def _pair(moments: int) -> tuple[np.ndarray, np.ndarray]:
    low = np.array(FILTERS[moments], np.float32)
    high = low[::-1].copy()
    high[1::2] *= -1
    return low, high


def _analyse(x: Volume, axis: int, moments: int) -> Volume:
    low, high = _pair(moments)
    even, odd = _phases(x, axis)
    out = np.empty_like(x)
    half = x.shape[axis] // 2
    a, d = _part(out, axis, 0, half), _part(out, axis, half, 2 * half)
    a[...] = 0
    d[...] = 0
    # sum_n h[n] x[2 k + n]: even taps meet the even samples, odd taps the odd ones, n // 2 pairs ahead.
    for n in range(len(low)):
        ahead = np.roll(odd if n % 2 else even, -(n // 2), axis)
        a += low[n] * ahead
        d += high[n] * ahead
    return out


def _synthesise(c: Volume, axis: int, moments: int) -> Volume:
    low, high = _pair(moments)
    half = c.shape[axis] // 2
    a, d = _part(c, axis, 0, half), _part(c, axis, half, 2 * half)
    out = np.zeros_like(c)
    phases = _phases(out, axis)
    for n in range(len(low)):
        phases[n % 2][...] += np.roll(low[n] * a + high[n] * d, n // 2, axis)
    return out


def _phases(x: Volume, axis: int) -> tuple[Volume, Volume]:
    """Views of the even and of the odd samples."""
    cut = [slice(None)] * x.ndim
    out = []
    for start in (0, 1):
        cut[axis] = slice(start, None, 2)
        out.append(x[tuple(cut)])
    return out[0], out[1]


def _part(x: Volume, axis: int, start: int, stop: int) -> Volume:
    cut = [slice(None)] * x.ndim
    cut[axis] = slice(start, stop)
    return x[tuple(cut)]
