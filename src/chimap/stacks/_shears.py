"""Rigid motion of a complex volume by four Fourier-interpolated shears: exact for what the grid can hold, and unitary.

Each shear shifts the lines along one axis by an amount that is linear in the two other indices, which is a phase ramp on
their spectra. All of the interpolation is by the periodic sinc, so white noise stays white, and the adjoint is the inverse.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft

from chimap.numerics.threads import get_threads, jit, slabs

_NOTHING = 1e-9
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True)
class Shears:
    """``out(i) = x(matrix i + shift)`` for voxel indices i, on a grid that is padded with zeros by `pad` on both sides.

    Volumes are (x, y, z) complex64 of `shape`. `steps` are (axis, (row of 3), offset): line shifts in voxels, in the order
    in which they are applied to the volume.
    """

    shape: tuple[int, int, int]
    steps: tuple[tuple[int, tuple[float, float, float], float], ...]
    pad: tuple[int, int, int]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The moved volume."""
        return self._run(x, self.steps, 1.0)

    def adjoint(self, x: np.ndarray) -> np.ndarray:
        """The volume moved back: the adjoint of `forward`."""
        return self._run(x, self.steps[::-1], -1.0)

    def _run(self, x: np.ndarray, steps: Sequence[tuple], sign: float) -> np.ndarray:
        if not steps:
            return x.copy()
        inner = tuple(slice(p, p + n) for p, n in zip(self.pad, self.shape, strict=True))
        out = np.zeros(
            [scipy.fft.next_fast_len(n + 2 * p) for n, p in zip(self.shape, self.pad)], np.complex64
        )
        out[inner] = x
        for axis, row, offset in steps:
            # Indices of the padded grid start `pad` voxels before those of the volume.
            start = offset - sum(r * p for r, p in zip(row, self.pad, strict=True))
            out = shear(out, axis, row, start, sign)
        return np.ascontiguousarray(out[inner])


def shear(x: np.ndarray, axis: int, row: Sequence[float], offset: float, sign: float = 1.0) -> np.ndarray:
    """``out(i) = x(i + sign (row . i + offset) e_axis)``, periodic; `x` may be used as scratch space."""
    one, two = (a for a in range(3) if a != axis)
    n = x.shape[axis]
    f = scipy.fft.fftfreq(n) * 2 * np.pi * sign
    first = np.exp(1j * f[:, None] * (row[one] * np.arange(x.shape[one]) + offset)).astype(np.complex64)
    second = np.exp(1j * f[:, None] * (row[two] * np.arange(x.shape[two]))).astype(np.complex64)
    spectrum = scipy.fft.fft(x, axis=axis, workers=get_threads(), overwrite_x=True)
    slabs(_turn, x.shape[0], np.ascontiguousarray(spectrum), axis, first, second)
    return scipy.fft.ifft(spectrum, axis=axis, workers=get_threads(), overwrite_x=True)


@jit("void(i8, i8, c8[:,:,::1], i8, c8[:,::1], c8[:,::1])")
def _turn(start, stop, spectrum, axis, first, second):  # pragma: no cover - compiled
    _, ny, nz = spectrum.shape
    for i in range(start, stop):
        for j in range(ny):
            for k in range(nz):
                if axis == 0:
                    w = first[i, j] * second[i, k]
                elif axis == 1:
                    w = first[j, i] * second[j, k]
                else:
                    w = first[k, i] * second[k, j]
                spectrum[i, j, k] *= w


def shears(shape: Sequence[int], matrix: np.ndarray, shift: np.ndarray) -> Shears:
    """Four shears that make ``out(i) = x(matrix i + shift)``; `matrix` has determinant 1, as a rotation on cubic voxels.

    Of the six orders the one with the smallest shears is taken (Welling, Eddy and Young 2006,
    doi:10.1016/j.gmod.2005.11.004). Rotations of up to about 45 degrees are meant.
    """
    matrix, shift = np.asarray(matrix, float), np.asarray(shift, float)
    n = np.asarray(shape)
    if np.abs((matrix - np.eye(3)) * n).max() < _NOTHING:
        steps = [(a, np.zeros(3), float(shift[a])) for a in range(3) if abs(shift[a]) > _NOTHING]
    else:
        rows = min(
            (_factors(matrix, order) for order in _ORDERS), key=lambda r: max(np.abs(s[1]).max() for s in r)
        )
        steps = _with_shift(rows, shift)
    corners = np.array(list(itertools.product(*((0, m - 1) for m in n))), float)
    reach = np.abs(corners @ (matrix - np.eye(3)).T + shift).max(0)
    # In between, a shear may reach further than the motion does.
    for axis, row, offset in steps:
        reach[axis] = max(reach[axis], np.abs(corners @ np.asarray(row) + offset).max())
    pad = tuple(int(min(math.ceil(r) + 2, m)) if steps else 0 for r, m in zip(reach, n, strict=True))
    order = tuple((a, (float(r[0]), float(r[1]), float(r[2])), float(o)) for a, r, o in steps)
    return Shears((int(n[0]), int(n[1]), int(n[2])), order, (pad[0], pad[1], pad[2]))


def _factors(m: np.ndarray, order: tuple[int, int, int]) -> list[tuple[int, np.ndarray]]:
    """``m = S_p' S_q S_r S_p``, each 1 plus a row: the rows in this order, infinite where there is no such product."""
    p, q, r = order
    last = np.zeros(3)  # of S_p on the right
    last[r] = _ratio(m[r, r] - 1, m[r, p])
    if not np.isfinite(last[r]):
        return [(p, np.full(3, np.inf))]
    rows_q = np.zeros(3)
    rows_q[r] = m[q, r] - m[q, p] * last[r]
    rows_q[p] = m[q, p] - rows_q[r] * m[r, p]
    last[q] = _ratio(m[q, q] - 1 - rows_q[r] * m[r, q], rows_q[p])
    if not np.isfinite(last[q]):
        return [(p, np.full(3, np.inf))]
    rows_r = np.zeros(3)
    rows_r[p] = m[r, p]
    rows_r[q] = m[r, q] - m[r, p] * last[q]
    rows = [(q, rows_q), (r, rows_r), (p, last)]
    product = np.eye(3)
    for axis, row in rows:
        product = product @ _matrix(axis, row)
    left = m @ np.linalg.inv(product)
    if np.abs(np.delete(left, p, 0) - np.delete(np.eye(3), p, 0)).max() > 1e-6 or abs(left[p, p] - 1) > 1e-6:
        return [(p, np.full(3, np.inf))]
    first = left[p].copy()
    first[p] = 0
    return [(p, first), *rows]


def _ratio(a: float, b: float) -> float:
    if abs(b) > 1e-14:
        return a / b
    return 0.0 if abs(a) < 1e-14 else math.inf


def _matrix(axis: int, row: np.ndarray) -> np.ndarray:
    out = np.eye(3)
    out[axis] += row
    return out


def _with_shift(rows: list[tuple[int, np.ndarray]], shift: np.ndarray) -> list[tuple[int, np.ndarray, float]]:
    """Offsets of the first three of the four shears, such that the product moves the origin to `shift`."""
    product = np.eye(3)
    columns = []
    for axis, row in rows[:3]:
        columns.append(product[:, axis].copy())
        product = product @ _matrix(axis, row)
    offsets = np.linalg.solve(np.stack(columns, 1), shift)
    steps = [(a, r, float(o)) for (a, r), o in zip(rows, [*offsets, 0.0], strict=True)]
    return [s for s in steps if np.abs(s[1]).max() > 1e-12 or abs(s[2]) > 1e-12]
