"""Total generalised variation beside an ADMM iteration: slope field, its duals, in three passes over the volume.

For ``a1 |grad x - v| + a0 |E v|``, with E the symmetrised gradient by backward differences: the first term is split as in
`chimap.numerics.tv` (``p`` holds copy plus dual of ``grad x - v``), the second is treated by a primal-dual step with its
dual ``w`` (xx, yy, zz, xy, xz, yz; in units of the penalty) kept in a ball, which needs no transforms.
"""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit, slabs
from chimap.types import Volume


def add_divergence(v: np.ndarray, inverse_h: np.ndarray, out: Volume) -> None:
    """``out <- out + grad^T v``."""
    slabs(_add_divergence, out.shape[0], v, inverse_h, out)


def slope_step(
    x: Volume,
    p: np.ndarray,
    v: np.ndarray,
    bar: np.ndarray,
    w: np.ndarray,
    tau: float,
    ratio: float,
    inverse_h: np.ndarray,
) -> None:
    """One gradient step of the slope `v` in place, and its extrapolation `bar`.

    `tau` is the radius of the first term's dual; `ratio` the penalty of the second term over that of the first, in mm^2.
    """
    length = 1 / (1 + ratio * 4 * float((inverse_h**2).sum()))
    slabs(
        _slope, x.shape[0], x, p, v, bar, w, np.float32(tau), np.float32(ratio), np.float32(length), inverse_h
    )


def dual_step(
    x: Volume,
    p: np.ndarray,
    v: np.ndarray,
    bar: np.ndarray,
    w: np.ndarray,
    tau: float,
    tau2: float,
    inverse_h: np.ndarray,
) -> None:
    """``p <- grad x - v + proj(p)`` and ``w <- proj(w + E bar)`` with radii `tau` (1/mm) and `tau2` (1/mm^2) in ppm."""
    slabs(_dual, x.shape[0], x, p, v, bar, w, np.float32(tau), np.float32(tau2), inverse_h)


@jit("void(i8, i8, f4[:,:,:,::1], f4[::1], f4[:,:,::1])")
def _add_divergence(start, stop, v, ih, out):
    _, nx, ny, nz = v.shape
    for i in range(start, stop):
        i0 = i - 1 if i > 0 else nx - 1
        for j in range(ny):
            j0 = j - 1 if j > 0 else ny - 1
            for k in range(nz):
                k0 = k - 1 if k > 0 else nz - 1
                out[i, j, k] += (
                    (v[0, i0, j, k] - v[0, i, j, k]) * ih[0]
                    + (v[1, i, j0, k] - v[1, i, j, k]) * ih[1]
                    + (v[2, i, j, k0] - v[2, i, j, k]) * ih[2]
                )


@jit(
    "void(i8, i8, f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4, f4, f4, f4[::1])"
)
def _slope(start, stop, x, p, v, bar, w, tau, ratio, length, ih):
    nx, ny, nz = x.shape
    one = np.float32(1)
    two = np.float32(2)
    for i in range(start, stop):
        i1 = i + 1 if i + 1 < nx else 0
        for j in range(ny):
            j1 = j + 1 if j + 1 < ny else 0
            for k in range(nz):
                k1 = k + 1 if k + 1 < nz else 0
                c = x[i, j, k]
                p0, p1, p2 = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
                n = np.sqrt(p0 * p0 + p1 * p1 + p2 * p2)
                s = one - two * (tau / n if n > tau else one)  # copy minus dual is s p
                # E^T w by forward differences (the adjoint of backward ones is minus the forward ones).
                a = (
                    (w[0, i1, j, k] - w[0, i, j, k]) * ih[0]
                    + (w[3, i, j1, k] - w[3, i, j, k]) * ih[1]
                    + (w[4, i, j, k1] - w[4, i, j, k]) * ih[2]
                )
                b = (
                    (w[3, i1, j, k] - w[3, i, j, k]) * ih[0]
                    + (w[1, i, j1, k] - w[1, i, j, k]) * ih[1]
                    + (w[5, i, j, k1] - w[5, i, j, k]) * ih[2]
                )
                d = (
                    (w[4, i1, j, k] - w[4, i, j, k]) * ih[0]
                    + (w[5, i, j1, k] - w[5, i, j, k]) * ih[1]
                    + (w[2, i, j, k1] - w[2, i, j, k]) * ih[2]
                )
                v0, v1, v2 = v[0, i, j, k], v[1, i, j, k], v[2, i, j, k]
                e0 = length * ((x[i1, j, k] - c) * ih[0] - v0 - s * p0 + ratio * a)
                e1 = length * ((x[i, j1, k] - c) * ih[1] - v1 - s * p1 + ratio * b)
                e2 = length * ((x[i, j, k1] - c) * ih[2] - v2 - s * p2 + ratio * d)
                v[0, i, j, k] = v0 + e0
                v[1, i, j, k] = v1 + e1
                v[2, i, j, k] = v2 + e2
                bar[0, i, j, k] = v0 + two * e0
                bar[1, i, j, k] = v1 + two * e1
                bar[2, i, j, k] = v2 + two * e2


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4, f4, f4[::1])")
def _dual(start, stop, x, p, v, bar, w, tau, tau2, ih):
    nx, ny, nz = x.shape
    one = np.float32(1)
    half = np.float32(0.5)
    two = np.float32(2)
    for i in range(start, stop):
        i1 = i + 1 if i + 1 < nx else 0
        i0 = i - 1 if i > 0 else nx - 1
        for j in range(ny):
            j1 = j + 1 if j + 1 < ny else 0
            j0 = j - 1 if j > 0 else ny - 1
            for k in range(nz):
                k1 = k + 1 if k + 1 < nz else 0
                k0 = k - 1 if k > 0 else nz - 1
                c = x[i, j, k]
                p0, p1, p2 = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
                n = np.sqrt(p0 * p0 + p1 * p1 + p2 * p2)
                s = tau / n if n > tau else one
                p[0, i, j, k] = (x[i1, j, k] - c) * ih[0] - v[0, i, j, k] + s * p0
                p[1, i, j, k] = (x[i, j1, k] - c) * ih[1] - v[1, i, j, k] + s * p1
                p[2, i, j, k] = (x[i, j, k1] - c) * ih[2] - v[2, i, j, k] + s * p2
                b0, b1, b2 = bar[0, i, j, k], bar[1, i, j, k], bar[2, i, j, k]
                xx = w[0, i, j, k] + (b0 - bar[0, i0, j, k]) * ih[0]
                yy = w[1, i, j, k] + (b1 - bar[1, i, j0, k]) * ih[1]
                zz = w[2, i, j, k] + (b2 - bar[2, i, j, k0]) * ih[2]
                xy = w[3, i, j, k] + half * (
                    (b1 - bar[1, i0, j, k]) * ih[0] + (b0 - bar[0, i, j0, k]) * ih[1]
                )
                xz = w[4, i, j, k] + half * (
                    (b2 - bar[2, i0, j, k]) * ih[0] + (b0 - bar[0, i, j, k0]) * ih[2]
                )
                yz = w[5, i, j, k] + half * (
                    (b2 - bar[2, i, j0, k]) * ih[1] + (b1 - bar[1, i, j, k0]) * ih[2]
                )
                n = np.sqrt(xx * xx + yy * yy + zz * zz + two * (xy * xy + xz * xz + yz * yz))
                s = tau2 / n if n > tau2 else one
                w[0, i, j, k] = s * xx
                w[1, i, j, k] = s * yy
                w[2, i, j, k] = s * zz
                w[3, i, j, k] = s * xy
                w[4, i, j, k] = s * xz
                w[5, i, j, k] = s * yz
