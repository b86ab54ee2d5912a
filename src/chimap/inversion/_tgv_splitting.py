"""Total generalised variation beside an ADMM iteration: slope field and its duals, in two passes over the volume.

For ``a1 |grad x - v| + a0 |E v|``, with E the symmetrised gradient by backward differences: the first term is split as in
`chimap.numerics.tv` (``p`` holds copy plus dual of ``grad x - v``), the second is treated by a primal-dual step with its
dual ``w`` (xx, yy, zz, xy, xz, yz; in units of the penalty) kept in a ball, which needs no transforms.

`counted` says where the terms count: bit 0 the first, bit 1 the second. Without it they do everywhere; where they do not,
the gradient is free and there is no slope.
"""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import get_threads, jit, slabs
from chimap.types import Mask, Volume

EVERYWHERE = np.full((1, 1, 1), 3, np.uint8)


def counted_inside(inside: Mask) -> np.ndarray:
    """(x, y, z) uint8: where differences to the next voxels stay in the mask, and those of the slopes there do too."""
    first = inside.copy()
    for axis in range(3):
        first &= np.roll(inside, -1, axis)
    second = first.copy()
    for axis in range(3):
        second &= np.roll(first, 1, axis)
    return first.astype(np.uint8) + np.uint8(2) * second


def tgv_adjoint(
    p: np.ndarray,
    v: np.ndarray,
    tau: float,
    inverse_h: np.ndarray,
    out: Volume,
    counted: np.ndarray = EVERYWHERE,
) -> None:
    """``out <- grad^T (z - u + v)`` with copy and dual of ``grad x - v`` from `p`."""
    slabs(_adjoint, out.shape[0], p, v, np.float32(tau), counted, inverse_h, out)


def tgv_step(
    x: Volume,
    p: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    tau: float,
    tau2: float,
    ratio: float,
    inverse_h: np.ndarray,
    counted: np.ndarray = EVERYWHERE,
) -> None:
    """All but the map's step, in place.

    One gradient step of the slope `v`; with its extrapolation ``b = 2 v_new - v_old``, ``w <- proj(w + E b)``; and
    ``p <- grad x - v_new + proj(p)``.

    Parameters
    ----------
    tau, tau2 : float
        Radii of the duals of the first (ppm/mm) and the second term (ppm/mm^2).
    ratio : float
        Penalty of the second term over that of the first, in mm^2.
    """
    nx, plane = x.shape[0], x.shape[1:]
    length = np.float32(1 / (1 + ratio * 4 * float((inverse_h**2).sum())))
    radius, radius2, penalty = np.float32(tau), np.float32(tau2), np.float32(ratio)
    # Plane by plane from front to back: the extrapolation lives for two planes. A part of the volume needs from its
    # neighbours the extrapolation of the plane before, and the duals of the plane behind as they were.
    edges = np.linspace(0, nx, min(get_threads(), nx) + 1).astype(np.int64)
    parts = len(edges) - 1
    before = np.empty((parts, 3, *plane), np.float32)
    behind = np.empty((parts, 3, *plane), np.float32)
    for n, start in enumerate(edges[:-1]):
        behind[n - 1] = w[[0, 3, 4], start]
        last = int(start) - 1 if start else nx - 1
        _slope(last, x, p, v, w, behind[n - 1], before[n], radius, penalty, length, inverse_h, counted, False)
    slabs(
        _steps, parts, edges, x, p, v, w, before, behind, radius, radius2, penalty, length, inverse_h, counted
    )


@jit("void(i8, i8, f4[:,:,:,::1], f4[:,:,:,::1], f4, u1[:,:,::1], f4[::1], f4[:,:,::1])")
def _adjoint(start, stop, p, v, tau, counted, ih, out):
    _, nx, ny, nz = p.shape
    many = 1 if counted.size > 1 else 0
    # Each voxel gives to itself and to the one after it on each axis; a plane's first giver lies in the plane before.
    for i in range(start, stop):
        for j in range(ny):
            for k in range(nz):
                out[i, j, k] = np.float32(0)
    for i in range(start - 1, stop):
        here = i if i >= 0 else nx - 1
        to = i + 1 if i + 1 < nx else 0
        for j in range(ny):
            j1 = j + 1 if j + 1 < ny else 0
            for k in range(nz):
                a, b, c = p[0, here, j, k], p[1, here, j, k], p[2, here, j, k]
                if counted[many * here, many * j, many * k] & 1:
                    n = np.sqrt(a * a + b * b + c * c)
                    s = np.float32(1) - np.float32(2) * (tau / n if n > tau else np.float32(1))
                    a, b, c = s * a, s * b, s * c
                a = (a + v[0, here, j, k]) * ih[0]
                if i + 1 < stop:
                    out[to, j, k] += a
                if i >= start:
                    b = (b + v[1, here, j, k]) * ih[1]
                    c = (c + v[2, here, j, k]) * ih[2]
                    out[i, j, k] -= a + b + c
                    out[i, j1, k] += b
                    out[i, j, k + 1 if k + 1 < nz else 0] += c


@jit(
    "void(i8, f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1], f4, f4, f4, f4[::1],"
    " u1[:,:,::1], b1)"
)
def _slope(i, x, p, v, w, behind, bar, tau, ratio, length, ih, counted, keep):
    """Step of the slope in plane `i`, kept or not, and its extrapolation; `behind`: components xx, xy, xz of ``w[:, i + 1]``."""
    nx, ny, nz = x.shape
    many = 1 if counted.size > 1 else 0
    one, two, zero = np.float32(1), np.float32(2), np.float32(0)
    i1 = i + 1 if i + 1 < nx else 0
    for j in range(ny):
        j1 = j + 1 if j + 1 < ny else 0
        for k in range(nz):
            k1 = k + 1 if k + 1 < nz else 0
            if not counted[many * i, many * j, many * k] & 1:
                bar[0, j, k] = zero
                bar[1, j, k] = zero
                bar[2, j, k] = zero
                continue
            c = x[i, j, k]
            p0, p1, p2 = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
            n = np.sqrt(p0 * p0 + p1 * p1 + p2 * p2)
            s = one - two * (tau / n if n > tau else one)  # copy minus dual is s p
            # E^T w by forward differences (the adjoint of backward ones is minus the forward ones).
            a = (
                (behind[0, j, k] - w[0, i, j, k]) * ih[0]
                + (w[3, i, j1, k] - w[3, i, j, k]) * ih[1]
                + (w[4, i, j, k1] - w[4, i, j, k]) * ih[2]
            )
            b = (
                (behind[1, j, k] - w[3, i, j, k]) * ih[0]
                + (w[1, i, j1, k] - w[1, i, j, k]) * ih[1]
                + (w[5, i, j, k1] - w[5, i, j, k]) * ih[2]
            )
            d = (
                (behind[2, j, k] - w[4, i, j, k]) * ih[0]
                + (w[5, i, j1, k] - w[5, i, j, k]) * ih[1]
                + (w[2, i, j, k1] - w[2, i, j, k]) * ih[2]
            )
            v0, v1, v2 = v[0, i, j, k], v[1, i, j, k], v[2, i, j, k]
            e0 = length * ((x[i1, j, k] - c) * ih[0] - v0 - s * p0 + ratio * a)
            e1 = length * ((x[i, j1, k] - c) * ih[1] - v1 - s * p1 + ratio * b)
            e2 = length * ((x[i, j, k1] - c) * ih[2] - v2 - s * p2 + ratio * d)
            bar[0, j, k] = v0 + two * e0
            bar[1, j, k] = v1 + two * e1
            bar[2, j, k] = v2 + two * e2
            if keep:
                v[0, i, j, k] = v0 + e0
                v[1, i, j, k] = v1 + e1
                v[2, i, j, k] = v2 + e2


@jit(
    "void(i8, f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1], f4, f4, f4[::1],"
    " u1[:,:,::1])"
)
def _dual(i, x, p, v, w, bar, before, tau, tau2, ih, counted):
    """Steps of `p` and `w` in plane `i` from the extrapolation there and in the plane before."""
    nx, ny, nz = x.shape
    many = 1 if counted.size > 1 else 0
    one, half, two = np.float32(1), np.float32(0.5), np.float32(2)
    i1 = i + 1 if i + 1 < nx else 0
    for j in range(ny):
        j1 = j + 1 if j + 1 < ny else 0
        j0 = j - 1 if j > 0 else ny - 1
        for k in range(nz):
            k1 = k + 1 if k + 1 < nz else 0
            k0 = k - 1 if k > 0 else nz - 1
            c = x[i, j, k]
            here = counted[many * i, many * j, many * k]
            s = np.float32(0)
            p0, p1, p2 = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
            if here & 1:
                n = np.sqrt(p0 * p0 + p1 * p1 + p2 * p2)
                s = tau / n if n > tau else one
            p[0, i, j, k] = (x[i1, j, k] - c) * ih[0] - v[0, i, j, k] + s * p0
            p[1, i, j, k] = (x[i, j1, k] - c) * ih[1] - v[1, i, j, k] + s * p1
            p[2, i, j, k] = (x[i, j, k1] - c) * ih[2] - v[2, i, j, k] + s * p2
            if not here & 2:
                continue
            b0, b1, b2 = bar[0, j, k], bar[1, j, k], bar[2, j, k]
            xx = w[0, i, j, k] + (b0 - before[0, j, k]) * ih[0]
            yy = w[1, i, j, k] + (b1 - bar[1, j0, k]) * ih[1]
            zz = w[2, i, j, k] + (b2 - bar[2, j, k0]) * ih[2]
            xy = w[3, i, j, k] + half * ((b1 - before[1, j, k]) * ih[0] + (b0 - bar[0, j0, k]) * ih[1])
            xz = w[4, i, j, k] + half * ((b2 - before[2, j, k]) * ih[0] + (b0 - bar[0, j, k0]) * ih[2])
            yz = w[5, i, j, k] + half * ((b2 - bar[2, j0, k]) * ih[1] + (b1 - bar[1, j, k0]) * ih[2])
            n = np.sqrt(xx * xx + yy * yy + zz * zz + two * (xy * xy + xz * xz + yz * yz))
            s = tau2 / n if n > tau2 else one
            w[0, i, j, k] = s * xx
            w[1, i, j, k] = s * yy
            w[2, i, j, k] = s * zz
            w[3, i, j, k] = s * xy
            w[4, i, j, k] = s * xz
            w[5, i, j, k] = s * yz


@jit(
    "void(i8, i8, i8[::1], f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4, f4,"
    " f4, f4, f4[::1], u1[:,:,::1])"
)
def _steps(first, last, edges, x, p, v, w, before, behind, tau, tau2, ratio, length, ih, counted):
    _, ny, nz = x.shape
    next_ = np.empty((3, ny, nz), np.float32)
    for part in range(first, last):
        old = before[part]
        bar = np.empty((3, ny, nz), np.float32)
        for i in range(edges[part], edges[part + 1]):
            if i + 1 < edges[part + 1]:
                next_[0] = w[0, i + 1]
                next_[1] = w[3, i + 1]
                next_[2] = w[4, i + 1]
                _slope(i, x, p, v, w, next_, bar, tau, ratio, length, ih, counted, True)
            else:
                _slope(i, x, p, v, w, behind[part], bar, tau, ratio, length, ih, counted, True)
            _dual(i, x, p, v, w, bar, old, tau, tau2, ih, counted)
            old, bar = bar, old
