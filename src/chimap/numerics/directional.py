r"""Directional total variation: edges that run along those of a guide image cost little.

In each voxel the penalty is :math:`|P \nabla x|` with :math:`P = I - v v^T`, where ``v`` points along the guide's gradient
and is shorter than 1. As in `chimap.numerics.tv` the scaled dual variable ``u`` of ``z = grad x`` is the projection of
``p = grad x + u`` on a convex set, here the ellipsoid ``tau P B`` (B: the unit ball), so ``p`` alone is stored.
Ehrhardt and Betcke 2016, doi:10.1137/15M1047325.
"""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit, slabs
from chimap.types import Volume

STEPS = 4
"""Newton steps of the projection; they converge quadratically from below."""


def directional_update(
    x: Volume, p: np.ndarray, v: np.ndarray, tau: float, inverse_h: np.ndarray, relax: float
) -> None:
    """``p <- relax * grad x + (1 - relax) * z_old + u`` in place; `p` and `v` are (3, x, y, z)."""
    slabs(_update, x.shape[0], x, p, v, np.float32(tau), inverse_h, np.float32(relax))


def directional_adjoint(p: np.ndarray, v: np.ndarray, tau: float, inverse_h: np.ndarray, out: Volume) -> None:
    """``out <- grad^T (z - u)`` with ``u`` the projection of `p` and ``z = p - u``."""
    slabs(_adjoint, out.shape[0], p, v, np.float32(tau), inverse_h, out)


@jit("UniTuple(f4, 3)(f4, f4, f4, f4, f4, f4, f4)")
def _split(p0, p1, p2, v0, v1, v2, tau):
    """The proximal point ``z`` of ``tau |P z|`` at ``p``."""
    one = np.float32(1)
    n2 = v0 * v0 + v1 * v1 + v2 * v2
    along = np.float32(0)  # p along v
    e0 = e1 = e2 = np.float32(0)
    if n2 > np.float32(1e-12):
        n = np.sqrt(n2)
        e0, e1, e2 = v0 / n, v1 / n, v2 / n
        along = p0 * e0 + p1 * e1 + p2 * e2
    b0, b1, b2 = p0 - along * e0, p1 - along * e1, p2 - along * e2
    q = one - n2
    cross = np.sqrt(b0 * b0 + b1 * b1 + b2 * b2)
    a = q * abs(along)
    ta = tau * q * q
    # r = |P z| solves (a / (r + ta))^2 + (cross / (r + tau))^2 = 1; no positive solution: z = 0.
    if (a / ta) ** 2 + (cross / tau) ** 2 <= one:
        return np.float32(0), np.float32(0), np.float32(0)
    r = max(np.float32(0), a - ta, cross - tau)
    for _ in range(STEPS):
        ra, rb = one / (r + ta), one / (r + tau)
        ga, gb = (a * ra) ** 2, (cross * rb) ** 2
        g = ga + gb
        # Newton on 1 / sqrt(g) - 1, nearly linear in r.
        r += g * (np.sqrt(g) - one) / (ga * ra + gb * rb)
    fa, fb = r / (r + ta), r / (r + tau)
    return fa * along * e0 + fb * b0, fa * along * e1 + fb * b1, fa * along * e2 + fb * b2


@jit("UniTuple(f4, 3)(f4[:,:,:,::1], f4[:,:,:,::1], f4, i8, i8, i8)")
def _at(p, v, tau, i, j, k):
    return _split(
        p[0, i, j, k], p[1, i, j, k], p[2, i, j, k], v[0, i, j, k], v[1, i, j, k], v[2, i, j, k], tau
    )


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4, f4[::1], f4)")
def _update(start, stop, x, p, v, tau, ih, relax):
    nx, ny, nz = x.shape
    keep = np.float32(1) - relax
    for i in range(start, stop):
        i1 = i + 1 if i + 1 < nx else 0
        for j in range(ny):
            j1 = j + 1 if j + 1 < ny else 0
            for k in range(nz):
                k1 = k + 1 if k + 1 < nz else 0
                c = x[i, j, k]
                p0, p1, p2 = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
                z0, z1, z2 = _split(p0, p1, p2, v[0, i, j, k], v[1, i, j, k], v[2, i, j, k], tau)
                # keep z + u = p - relax z
                p[0, i, j, k] = relax * (x[i1, j, k] - c) * ih[0] + keep * z0 + p0 - z0
                p[1, i, j, k] = relax * (x[i, j1, k] - c) * ih[1] + keep * z1 + p1 - z1
                p[2, i, j, k] = relax * (x[i, j, k1] - c) * ih[2] + keep * z2 + p2 - z2


@jit("void(i8, i8, f4[:,:,:,::1], f4[:,:,:,::1], f4, f4[::1], f4[:,:,::1])")
def _adjoint(start, stop, p, v, tau, ih, out):
    _, nx, ny, nz = p.shape
    two = np.float32(2)
    # z - u = 2 z - p; what the neighbours behind contribute is kept from when they were visited.
    plane = np.empty((ny, nz), np.float32)
    row = np.empty(nz, np.float32)
    first = start - 1 if start > 0 else nx - 1
    for m in range(start - 1, stop):
        i = first if m < start else m
        for k in range(nz):
            row[k] = two * _at(p, v, tau, i, ny - 1, k)[1] - p[1, i, ny - 1, k]
        for j in range(ny):
            last = two * _at(p, v, tau, i, j, nz - 1)[2] - p[2, i, j, nz - 1]
            for k in range(nz):
                z0, z1, z2 = _at(p, v, tau, i, j, k)
                a = two * z0 - p[0, i, j, k]
                b = two * z1 - p[1, i, j, k]
                c = two * z2 - p[2, i, j, k]
                if m >= start:
                    out[i, j, k] = (plane[j, k] - a) * ih[0] + (row[k] - b) * ih[1] + (last - c) * ih[2]
                plane[j, k] = a
                row[k] = b
                last = c
