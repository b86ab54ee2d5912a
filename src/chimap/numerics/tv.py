"""Total variation: the proximal step of ADMM and its adjoint, fused into two passes over the volume.

The scaled dual variable of ``z = grad x`` is the projection of ``p = grad x + u`` on a ball of radius
`tau`, so ``p`` is all that has to be stored: ``u = proj(p)`` and ``z = p - u``. The radius is one number, or a volume
where the weight of the total variation differs from voxel to voxel. Gradients are forward differences per mm with
periodic ends, the same operator that `gradient_power` gives in k-space.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.numerics.fft import frequencies
from chimap.numerics.threads import jit, slabs
from chimap.types import Volume


def gradient_power(shape: Sequence[int], voxel_size: Sequence[float]) -> Volume:
    """Half-spectrum of ``grad^T grad``: the squared modulus of the forward differences, in 1/mm^2."""
    total = np.float32(0)
    for f, h in zip(frequencies(shape, voxel_size), voxel_size, strict=True):
        total = total + ((2 - 2 * np.cos(2 * np.pi * f * np.float32(h))) / np.float32(h) ** 2).astype(
            np.float32
        )
    return np.asarray(total)


def tv_update(x: Volume, p: np.ndarray, tau: float | Volume, inverse_h: np.ndarray, relax: float) -> None:
    """``p <- relax * grad x + (1 - relax) * z_old + proj(p)`` in place; `p` is (3, x, y, z)."""
    slabs(_update, x.shape[0], x, p, _radius(tau), inverse_h, np.float32(relax))


def tv_adjoint(p: np.ndarray, tau: float | Volume, inverse_h: np.ndarray, out: Volume) -> None:
    """``out <- grad^T (z - u)`` with ``u = proj(p)``, ``z = p - u``."""
    slabs(_adjoint, out.shape[0], p, _radius(tau), inverse_h, out)


def total_variation(x: Volume, voxel_size: Sequence[float], weight: float | Volume = 1.0) -> float:
    """Sum over the voxels of `weight` times the norm of the gradient per mm."""
    squares = sum(((np.roll(x, -1, axis) - x) / h) ** 2 for axis, h in enumerate(voxel_size))
    return float((weight * np.sqrt(squares)).sum(dtype=np.float64))


def _radius(tau: float | Volume) -> Volume:
    """As the kernels take it: a volume, or one of a single voxel."""
    return np.ascontiguousarray(np.reshape(tau, (1, 1, 1)) if np.ndim(tau) == 0 else tau, dtype=np.float32)


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,:,::1], f4[:,:,::1], f4[::1], f4)")
def _update(start, stop, x, p, tau, ih, relax):
    nx, ny, nz = x.shape
    many = 1 if tau.size > 1 else 0
    one = np.float32(1)
    keep = one - relax
    for i in range(start, stop):
        i1 = i + 1 if i + 1 < nx else 0
        for j in range(ny):
            j1 = j + 1 if j + 1 < ny else 0
            for k in range(nz):
                k1 = k + 1 if k + 1 < nz else 0
                c = x[i, j, k]
                p0, p1, p2 = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
                n = np.sqrt(p0 * p0 + p1 * p1 + p2 * p2)
                t = tau[many * i, many * j, many * k]
                s = t / n if n > t else one  # u = s p, z = (1 - s) p
                s += keep * (one - s)
                p[0, i, j, k] = relax * (x[i1, j, k] - c) * ih[0] + s * p0
                p[1, i, j, k] = relax * (x[i, j1, k] - c) * ih[1] + s * p1
                p[2, i, j, k] = relax * (x[i, j, k1] - c) * ih[2] + s * p2


@jit("void(i8, i8, f4[:,:,:,::1], f4[:,:,::1], f4[::1], f4[:,:,::1])")
def _adjoint(start, stop, p, tau, ih, out):
    _, nx, ny, nz = p.shape
    many = 1 if tau.size > 1 else 0
    one = np.float32(1)
    two = np.float32(2)
    # q = z - u = (1 - 2 s) p; rolling factors of the neighbours behind keep this to one pass.
    plane = np.empty((ny, nz), np.float32)
    behind = start - 1 if start > 0 else nx - 1
    for j in range(ny):
        for k in range(nz):
            a, b, c = p[0, behind, j, k], p[1, behind, j, k], p[2, behind, j, k]
            n = np.sqrt(a * a + b * b + c * c)
            t = tau[many * behind, many * j, many * k]
            plane[j, k] = (one - two * (t / n if n > t else one)) * a
    row = np.empty(nz, np.float32)
    for i in range(start, stop):
        for k in range(nz):
            a, b, c = p[0, i, ny - 1, k], p[1, i, ny - 1, k], p[2, i, ny - 1, k]
            n = np.sqrt(a * a + b * b + c * c)
            t = tau[many * i, many * (ny - 1), many * k]
            row[k] = (one - two * (t / n if n > t else one)) * b
        for j in range(ny):
            a, b, c = p[0, i, j, nz - 1], p[1, i, j, nz - 1], p[2, i, j, nz - 1]
            n = np.sqrt(a * a + b * b + c * c)
            t = tau[many * i, many * j, many * (nz - 1)]
            last = (one - two * (t / n if n > t else one)) * c
            for k in range(nz):
                a, b, c = p[0, i, j, k], p[1, i, j, k], p[2, i, j, k]
                n = np.sqrt(a * a + b * b + c * c)
                t = tau[many * i, many * j, many * k]
                s = one - two * (t / n if n > t else one)
                a *= s
                b *= s
                c *= s
                out[i, j, k] = (plane[j, k] - a) * ih[0] + (row[k] - b) * ih[1] + (last - c) * ih[2]
                plane[j, k] = a
                row[k] = b
                last = c
