r"""Regularised least squares for one complex volume that several stacks were measured of.

.. math:: \min_u \tfrac12 \sum_s a_s \| A_s (c_s u) - y_s \|^2 + \lambda \sum_v \sqrt{|\nabla u|_v^2 + \delta^2}

The gradient's norm is taken over the three directions and over real and imaginary part together, so both are smoothed with one
weight, and no phase is ever unwrapped. The weights are those of the last estimate (lagged diffusivity, Vogel and Oman 1996,
doi:10.1137/0917016); for fixed weights it is one linear system, solved by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.threads import jit, slabs
from chimap.stacks._model import Model
from chimap.types import Volume


def solve(
    models: Sequence[Model],
    data: Sequence[np.ndarray],
    turns: Sequence[np.ndarray | None],
    shares: Sequence[float | Volume],
    start: np.ndarray,
    *,
    lam: float,
    delta: float,
    rounds: int,
    iterations: int,
    tolerance: float,
    told: Callable[[int], None],
) -> np.ndarray:
    """The complex volume u. `shares` are the a_s (one number, or a volume on the stack's grid); `turns` the c_s.

    `lam` and `delta` are in the unit of the data. Each of the `rounds` updates the weights and takes at most `iterations`
    steps. Memory: about eight complex volumes beside data and turns.
    """
    right = np.zeros(start.shape, np.complex64)
    for m, y, c, a in zip(models, data, turns, shares, strict=True):
        right += _conjugate(c, m.adjoint(np.asarray(a * y, np.complex64)))
    u = start
    for n in range(rounds):
        weight = gradient_weights(u, lam, delta)

        def normal(flat: Volume, weight: Volume = weight) -> Volume:
            x = flat.view(np.complex64)
            out = smoothing(x, weight)
            for m, c, a in zip(models, turns, shares, strict=True):
                y = m.forward(x if c is None else x * c)
                out += _conjugate(c, m.adjoint(np.asarray(a * y, np.complex64)))
            return out.view(np.float32)

        found = conjugate_gradients(
            normal,
            right.view(np.float32),
            start=u.view(np.float32),
            tolerance=tolerance,
            iterations=iterations,
        )
        u = found.x.view(np.complex64)
        told(n + 1)
    return u


def _conjugate(turn: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    return x if turn is None else x * turn.conj()


def gradient_weights(u: np.ndarray, lam: float, delta: float) -> Volume:
    """``lam / sqrt(|grad u|^2 + delta^2)``; differences of neighbours, none across the border."""
    out = np.empty(u.shape, np.float32)
    slabs(_weights, u.shape[0], u, np.float32(lam), np.float32(delta), out)
    return out


def smoothing(u: np.ndarray, weight: Volume) -> np.ndarray:
    """``grad^T weight grad u``."""
    out = np.empty(u.shape, np.complex64)
    slabs(_smoothing, u.shape[0], u, weight, out)
    return out


@jit("void(i8, i8, c8[:,:,::1], f4, f4, f4[:,:,::1])")
def _weights(start, stop, u, lam, delta, out):  # pragma: no cover - compiled
    nx, ny, nz = u.shape
    for i in range(start, stop):
        for j in range(ny):
            for k in range(nz):
                c = u[i, j, k]
                s = delta * delta
                if i + 1 < nx:
                    d = u[i + 1, j, k] - c
                    s += d.real * d.real + d.imag * d.imag
                if j + 1 < ny:
                    d = u[i, j + 1, k] - c
                    s += d.real * d.real + d.imag * d.imag
                if k + 1 < nz:
                    d = u[i, j, k + 1] - c
                    s += d.real * d.real + d.imag * d.imag
                out[i, j, k] = lam / np.sqrt(s)


@jit("void(i8, i8, c8[:,:,::1], f4[:,:,::1], c8[:,:,::1])")
def _smoothing(start, stop, u, w, out):  # pragma: no cover - compiled
    nx, ny, nz = u.shape
    for i in range(start, stop):
        for j in range(ny):
            for k in range(nz):
                c = u[i, j, k]
                s = np.complex64(0)
                if i + 1 < nx:
                    s += w[i, j, k] * (c - u[i + 1, j, k])
                if j + 1 < ny:
                    s += w[i, j, k] * (c - u[i, j + 1, k])
                if k + 1 < nz:
                    s += w[i, j, k] * (c - u[i, j, k + 1])
                if i > 0:
                    s += w[i - 1, j, k] * (c - u[i - 1, j, k])
                if j > 0:
                    s += w[i, j - 1, k] * (c - u[i, j - 1, k])
                if k > 0:
                    s += w[i, j, k - 1] * (c - u[i, j, k - 1])
                out[i, j, k] = s
