"""Edge-weighted total variation: the element-wise steps of ADMM, fused.

As in `chimap.numerics.tv` the scaled dual of ``z = grad x`` is the part of ``p = grad x + u`` that shrinkage takes away,
so ``p`` alone is stored. Here components across an edge of the magnitude are left out of the norm, and are not shrunk.
"""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit, slabs
from chimap.types import Volume


def edge_update(
    x: Volume, p: np.ndarray, smooth: np.ndarray, tau: float, inverse_h: np.ndarray, relax: float
) -> None:
    """``p <- relax * grad x + (1 - relax) * z_old + u_old`` in place; `p` and `smooth` are (3, x, y, z)."""
    slabs(_update, x.shape[0], x, p, smooth, np.float32(tau), inverse_h, np.float32(relax))


def edge_adjoint(p: np.ndarray, smooth: np.ndarray, tau: float, inverse_h: np.ndarray, out: Volume) -> None:
    """``out <- grad^T (z - u)``."""
    slabs(_adjoint, out.shape[0], p, smooth, np.float32(tau), inverse_h, out)


@jit("UniTuple(f4,3)(f4, f4, f4, u1, f4)")
def _dual(a, b, c, s, tau):
    """What `p` is multiplied by to be the dual: its smooth components are projected on a ball of radius tau."""
    zero = np.float32(0)
    a = a if s & 1 else zero
    b = b if s & 2 else zero
    c = c if s & 4 else zero
    n = np.sqrt(a * a + b * b + c * c)
    f = tau / n if n > tau else np.float32(1)
    return (f if s & 1 else zero), (f if s & 2 else zero), (f if s & 4 else zero)


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,:,::1], u1[:,:,::1], f4, f4[::1], f4)")
def _update(start, stop, x, p, smooth, tau, ih, relax):
    nx, ny, nz = x.shape
    one = np.float32(1)
    keep = one - relax
    for i in range(start, stop):
        i1 = i + 1 if i + 1 < nx else 0
        for j in range(ny):
            j1 = j + 1 if j + 1 < ny else 0
            for k in range(nz):
                k1 = k + 1 if k + 1 < nz else 0
                c = x[i, j, k]
                a0, a1, a2 = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
                u0, u1, u2 = _dual(a0, a1, a2, smooth[i, j, k], tau)
                p[0, i, j, k] = relax * (x[i1, j, k] - c) * ih[0] + (u0 + keep * (one - u0)) * a0
                p[1, i, j, k] = relax * (x[i, j1, k] - c) * ih[1] + (u1 + keep * (one - u1)) * a1
                p[2, i, j, k] = relax * (x[i, j, k1] - c) * ih[2] + (u2 + keep * (one - u2)) * a2


@jit("void(i8, i8, f4[:,:,:,::1], u1[:,:,::1], f4, f4[::1], f4[:,:,::1])")
def _adjoint(start, stop, p, smooth, tau, ih, out):
    _, nx, ny, nz = p.shape
    one, two = np.float32(1), np.float32(2)
    # What the plane, row and voxel behind hand on is kept, so that each dual is computed once.
    plane = np.empty((ny, nz), np.float32)
    behind = start - 1 if start > 0 else nx - 1
    for j in range(ny):
        for k in range(nz):
            a = p[0, behind, j, k]
            u = _dual(a, p[1, behind, j, k], p[2, behind, j, k], smooth[behind, j, k], tau)
            plane[j, k] = (one - two * u[0]) * a
    row = np.empty(nz, np.float32)
    for i in range(start, stop):
        for k in range(nz):
            b = p[1, i, ny - 1, k]
            u = _dual(p[0, i, ny - 1, k], b, p[2, i, ny - 1, k], smooth[i, ny - 1, k], tau)
            row[k] = (one - two * u[1]) * b
        for j in range(ny):
            c = p[2, i, j, nz - 1]
            u = _dual(p[0, i, j, nz - 1], p[1, i, j, nz - 1], c, smooth[i, j, nz - 1], tau)
            last = (one - two * u[2]) * c
            for k in range(nz):
                a, b, c = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
                u = _dual(a, b, c, smooth[i, j, k], tau)
                a *= one - two * u[0]
                b *= one - two * u[1]
                c *= one - two * u[2]
                out[i, j, k] = (plane[j, k] - a) * ih[0] + (row[k] - b) * ih[1] + (last - c) * ih[2]
                plane[j, k] = a
                row[k] = b
                last = c


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], u1[:,:,::1], u1, f4, f4)")
def shared_data_step(start, stop, field, q, u, w2, target, part, mine, mu, relax):
    """Proximal step of ``w2 (z - target)^2 / 2`` where `part` is `mine`, and none elsewhere; ``q`` is ``z - u``.

    Parts do not overlap, and where a split field meets no data its dual is 0: all share one `u`, `w2` and `target`.
    """
    keep = np.float32(1) - relax
    for i in range(start, stop):
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                if part[i, j, k] == mine:
                    z = q[i, j, k] + u[i, j, k]
                    r = relax * field[i, j, k] + keep * z + u[i, j, k]
                    w = w2[i, j, k]
                    v = (w * target[i, j, k] + mu * r) / (w + mu)
                    u[i, j, k] = r - v
                    q[i, j, k] = v - (r - v)
                else:
                    q[i, j, k] = relax * field[i, j, k] + keep * q[i, j, k]
