"""Conjugate gradients for symmetric positive (semi-)definite operators on volumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chimap.numerics.sums import dot
from chimap.types import Progress, Volume, silent


@dataclass(frozen=True)
class Solution:
    """What the iteration ended with: `residual` is the norm of b - A x relative to that of b."""

    x: Volume
    iterations: int
    residual: float
    converged: bool


def conjugate_gradients(
    operator: Callable[[Volume], Volume],
    b: Volume,
    *,
    start: Volume | None = None,
    precondition: Callable[[Volume], Volume] | None = None,
    tolerance: float = 1e-3,
    iterations: int = 100,
    stop: Callable[[Volume, Volume], bool] | None = None,
    progress: Progress = silent,
) -> Solution:
    """Solve ``A x = b`` for a symmetric positive semi-definite `operator`, in float32.

    Parameters
    ----------
    operator : callable
        ``A``; must not change its argument, and may reuse one array for its results.
    b : array of float32
        Right-hand side; not changed.
    start : array, optional
        First guess; zeros without it.
    precondition : callable, optional
        A symmetric positive definite approximation of the inverse of ``A``; same rules as `operator`.
    tolerance : float
        Stop when the norm of the residual falls below this share of the norm of `b`.
    iterations : int
        Most iterations.
    stop : callable, optional
        ``stop(x, residual)``: another reason to end.
    progress : callable
        Told of each iteration with ``residual=`` and ``converged=``.

    Returns
    -------
    Solution
    """
    x = np.zeros_like(b) if start is None else start.copy()
    r = b.copy() if start is None else b - operator(x)
    norm = _norm(b)
    if norm == 0:
        return Solution(np.zeros_like(b), 0, 0.0, True)
    z = precondition(r) if precondition else r
    p = z.copy()
    rz = dot(r, z)
    done, residual, converged = 0, _norm(r) / norm, False
    while done < iterations:
        converged = residual <= tolerance or (stop is not None and stop(x, r))
        if converged or rz <= 0:
            break
        q = operator(p)
        curvature = dot(p, q)
        if curvature <= 0:  # the operator's null space, reached by rounding
            break
        step = np.float32(rz / curvature)
        x += step * p
        r -= step * q
        z = precondition(r) if precondition else r
        rz, before = dot(r, z), rz
        p *= np.float32(rz / before)
        p += z
        residual = _norm(r) / norm
        done += 1
        progress(done, iterations, residual=residual, converged=residual <= tolerance)
    else:
        converged = residual <= tolerance
    return Solution(x, done, residual, converged)


def _norm(a: Volume) -> float:
    return float(np.sqrt(dot(a, a)))
