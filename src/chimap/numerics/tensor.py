r"""The field of a susceptibility tensor: how anisotropic susceptibility makes field.

Along the unit vector h of B0, in the frame of the object,

.. math:: f(h) = h^T Y h, \qquad \hat Y(k) = \tfrac13 \hat X - \tfrac12 (K \hat X + \hat X K), \qquad K = k k^T / |k|^2

which is :math:`\tfrac13 h^T \hat X h - (h \cdot k)\, k^T \hat X h / |k|^2` of Liu 2010, doi:10.1002/mrm.22482. The tensor Y does not
know h: one set of transforms serves any number of directions, and for a symmetric X the map from X to Y is its own adjoint.

Inside the package a symmetric tensor is six volumes, component first, with its off-diagonal ones times :math:`\sqrt 2`, so that
sums of squares are those of the matrix. Arrays for users are plain, component last. The order is xx, xy, xz, yy, yz, zz.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.errors import InputError
from chimap.numerics.fft import frequencies, irfftn, next_fast_shape, rfftn
from chimap.numerics.threads import jit, slabs
from chimap.types import Volume

COMPONENTS = ("xx", "xy", "xz", "yy", "yz", "zz")
"""Order of the components of a symmetric tensor, as in diffusion imaging."""
_ROWS, _COLUMNS = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 1, 2, 2])
SCALE = np.where(_ROWS == _COLUMNS, 1.0, np.sqrt(2.0)).astype(np.float32)
"""What the components are multiplied with inside."""
TRACE = np.where(_ROWS == _COLUMNS, 1 / np.sqrt(3.0), 0.0).astype(np.float32)
"""Unit vector of the isotropic part, in scaled components."""


def to_matrix(tensor: np.ndarray) -> np.ndarray:
    """(..., 6) components to (..., 3, 3) matrices."""
    out = np.empty((*tensor.shape[:-1], 3, 3), tensor.dtype)
    out[..., _ROWS, _COLUMNS] = tensor
    out[..., _COLUMNS, _ROWS] = tensor
    return out


def from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Symmetric part of (..., 3, 3) matrices as (..., 6) components."""
    half = matrix[..., _ROWS, _COLUMNS] + matrix[..., _COLUMNS, _ROWS]
    return half * half.dtype.type(0.5)


def scaled(tensor: np.ndarray) -> np.ndarray:
    """Component last and plain, to component first and scaled, (6, x, y, z) float32 (a new array)."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(tensor, np.float32) * SCALE, -1, 0))


def plain(stack: np.ndarray) -> np.ndarray:
    """The way back: (x, y, z, 6)."""
    return np.ascontiguousarray(np.moveaxis(stack, 0, -1) / SCALE)


def directions_of(directions: object) -> np.ndarray:
    """Unit vectors, (n, 3) float64.

    Raises
    ------
    InputError
        If they are not n rows of three finite numbers, none of them all zero.
    """
    d = np.atleast_2d(np.asarray(directions, dtype=float))
    if d.ndim != 2 or d.shape[1] != 3 or not len(d) or not np.isfinite(d).all():
        raise InputError(f"directions of B0 have shape {d.shape}; three finite numbers a scan are expected")
    norm = np.linalg.norm(d, axis=1, keepdims=True)
    if (norm < 1e-6).any():
        raise InputError("a direction of B0 is zero", fix="Give unit vectors along the voxel axes")
    return d / norm


def design(directions: np.ndarray) -> np.ndarray:
    """(n, 6) rows that take the scaled components of Y to the field along each direction."""
    outer = directions[:, :, None] * directions[:, None, :]
    return (from_matrix(outer) * SCALE).astype(np.float32)


class TensorKernel:
    """The map from X to Y on a periodic grid, with arrays of its own for the spectra."""

    def __init__(self, shape: Sequence[int], voxel_size: Sequence[float]):
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        f = [a.ravel() for a in frequencies(shape, voxel_size)]
        # At a Nyquist frequency +k and -k are one: the odd factor averages to zero, as in `dipole_kernel`.
        odd = [np.where(np.abs(a) >= 0.5 / d * (1 - 1e-6), 0, a) for a, d in zip(f, voxel_size, strict=True)]
        self.axes = tuple(np.ascontiguousarray(a, np.float32) for a in (*f, *odd))
        self._half = (*self.shape[:2], self.shape[2] // 2 + 1)

    def apply(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Y of a symmetric X, both (6, x, y, z) and scaled; also X's gradient from that of Y."""
        spectra = np.empty((6, *self._half), np.complex64)
        for c in range(6):
            spectra[c] = rfftn(x[c])
        slabs(_symmetric, self.shape[0], spectra, *self.axes)
        out = np.empty(x.shape, np.float32) if out is None else out
        for c in range(6):
            out[c] = irfftn(spectra[c], self.shape)
        return out

    def apply_nine(self, x: np.ndarray) -> np.ndarray:
        """Y, (6, x, y, z), of a tensor without symmetry, (9, x, y, z) row by row: that of sym(X/3 - K X)."""
        spectra = np.stack([rfftn(x[c]) for c in range(9)])
        slabs(_nine, self.shape[0], spectra, *self.axes)
        return np.stack([irfftn(spectra[c], self.shape) for c in range(6)])

    def adjoint_nine(self, y: np.ndarray) -> np.ndarray:
        """The adjoint of `apply_nine`: (9, x, y, z)."""
        spectra = np.empty((9, *self._half), np.complex64)
        for c in range(6):
            spectra[c] = rfftn(y[c])
        slabs(_nine_adjoint, self.shape[0], spectra, *self.axes)
        return np.stack([irfftn(spectra[c], self.shape) for c in range(9)])


def tensor_field(
    tensor: np.ndarray, directions: object, voxel_size: Sequence[float], *, pad: float = 2.0
) -> Volume:
    """Relative field in ppm (Lorentz-corrected) of a susceptibility tensor, for any number of directions of B0.

    Parameters
    ----------
    tensor : (x, y, z, 6) float32
        Components xx, xy, xz, yy, yz, zz in ppm, along the voxel axes. Outside the grid it is 0.
    directions : (n, 3)
        Directions of B0 along the voxel axes, in the frame of the object; normalised here.
    voxel_size : 3 float
        In mm.
    pad : float
        Factor by which each axis is enlarged against wrap-around (1: periodic).

    Returns
    -------
    (x, y, z, n) float32

    Notes
    -----
    12 transforms, whatever the number of directions. An isotropic tensor makes the field of `forward_field`. Liu 2010,
    doi:10.1002/mrm.22482.
    """
    tensor = np.asarray(tensor, np.float32)
    if tensor.ndim != 4 or tensor.shape[3] != 6:
        raise InputError(f"the tensor has shape {tensor.shape}; (x, y, z, 6) is expected")
    rows = design(directions_of(directions))
    inner = tensor.shape[:3]
    shape = next_fast_shape([int(np.ceil(n * pad)) for n in inner])
    x = np.zeros((6, *shape), np.float32)
    corner = tuple(slice(0, n) for n in inner)
    x[:, *corner] = scaled(tensor)
    y = TensorKernel(shape, voxel_size).apply(x, out=x)[:, *corner]
    out = np.zeros((*inner, len(rows)), np.float32)
    for n, row in enumerate(rows):
        for c in range(6):
            out[..., n] += row[c] * y[c]
    return out


_AXES = "f4[::1], f4[::1], f4[::1], f4[::1], f4[::1], f4[::1]"
_ROOT = np.float32(np.sqrt(2.0))


@jit("UniTuple(f4, 6)(f4, f4, f4, f4, f4, f4)")
def _projector(a, b, c, p, q, r):
    """``k k^T / |k|^2`` of a frequency and its odd factors."""
    k2 = a * a + b * b + c * c
    s = np.float32(1) / k2 if k2 > 0 else np.float32(0)
    return a * a * s, p * q * s, p * r * s, b * b * s, q * r * s, c * c * s


@jit(f"void(i8, i8, c8[:,:,:,::1], {_AXES})")
def _symmetric(start, stop, x, f0, f1, f2, o0, o1, o2):
    """``X/3 - (K X + X K)/2`` in place, scaled components; 0 at k = 0."""
    third, half, root = np.float32(1 / 3), np.float32(0.5), _ROOT
    inv = np.float32(1) / root
    for i in range(start, stop):
        for j in range(x.shape[2]):
            for k in range(x.shape[3]):
                k00, k01, k02, k11, k12, k22 = _projector(f0[i], f1[j], f2[k], o0[i], o1[j], o2[k])
                a, b, c = x[0, i, j, k], x[1, i, j, k] * inv, x[2, i, j, k] * inv
                d, e, f = x[3, i, j, k], x[4, i, j, k] * inv, x[5, i, j, k]
                t = third if k00 + k11 + k22 > 0 else np.float32(0)
                x[0, i, j, k] = t * a - (k00 * a + k01 * b + k02 * c)
                x[1, i, j, k] = root * (t * b - half * ((k00 + k11) * b + k01 * (a + d) + k02 * e + k12 * c))
                x[2, i, j, k] = root * (t * c - half * ((k00 + k22) * c + k02 * (a + f) + k01 * e + k12 * b))
                x[3, i, j, k] = t * d - (k01 * b + k11 * d + k12 * e)
                x[4, i, j, k] = root * (t * e - half * ((k11 + k22) * e + k12 * (d + f) + k01 * c + k02 * b))
                x[5, i, j, k] = t * f - (k02 * c + k12 * e + k22 * f)


@jit(f"void(i8, i8, c8[:,:,:,::1], {_AXES})")
def _nine(start, stop, x, f0, f1, f2, o0, o1, o2):
    """``sym(X/3 - K X)`` of nine components, its six scaled ones put into the first six in place."""
    third, half, root = np.float32(1 / 3), np.float32(0.5), _ROOT
    for i in range(start, stop):
        for j in range(x.shape[2]):
            for k in range(x.shape[3]):
                k00, k01, k02, k11, k12, k22 = _projector(f0[i], f1[j], f2[k], o0[i], o1[j], o2[k])
                t = third if k00 + k11 + k22 > 0 else np.float32(0)
                a0, a1, a2 = t - k00, t - k11, t - k22
                x00, x01, x02 = x[0, i, j, k], x[1, i, j, k], x[2, i, j, k]
                x10, x11, x12 = x[3, i, j, k], x[4, i, j, k], x[5, i, j, k]
                x20, x21, x22 = x[6, i, j, k], x[7, i, j, k], x[8, i, j, k]
                y01 = a0 * x01 - k01 * x11 - k02 * x21 + a1 * x10 - k01 * x00 - k12 * x20
                y02 = a0 * x02 - k01 * x12 - k02 * x22 + a2 * x20 - k02 * x00 - k12 * x10
                y12 = a1 * x12 - k01 * x02 - k12 * x22 + a2 * x21 - k02 * x01 - k12 * x11
                x[0, i, j, k] = a0 * x00 - k01 * x10 - k02 * x20
                x[1, i, j, k] = root * half * y01
                x[2, i, j, k] = root * half * y02
                x[3, i, j, k] = a1 * x11 - k01 * x01 - k12 * x21
                x[4, i, j, k] = root * half * y12
                x[5, i, j, k] = a2 * x22 - k02 * x02 - k12 * x12


@jit(f"void(i8, i8, c8[:,:,:,::1], {_AXES})")
def _nine_adjoint(start, stop, x, f0, f1, f2, o0, o1, o2):
    """``Y/3 - K Y``, nine components, of the six scaled ones in the first six, in place."""
    third, inv = np.float32(1 / 3), np.float32(1) / _ROOT
    for i in range(start, stop):
        for j in range(x.shape[2]):
            for k in range(x.shape[3]):
                k00, k01, k02, k11, k12, k22 = _projector(f0[i], f1[j], f2[k], o0[i], o1[j], o2[k])
                t = third if k00 + k11 + k22 > 0 else np.float32(0)
                a0, a1, a2 = t - k00, t - k11, t - k22
                a, b, c = x[0, i, j, k], x[1, i, j, k] * inv, x[2, i, j, k] * inv
                d, e, f = x[3, i, j, k], x[4, i, j, k] * inv, x[5, i, j, k]
                x[0, i, j, k] = a0 * a - k01 * b - k02 * c
                x[1, i, j, k] = a0 * b - k01 * d - k02 * e
                x[2, i, j, k] = a0 * c - k01 * e - k02 * f
                x[3, i, j, k] = a1 * b - k01 * a - k12 * c
                x[4, i, j, k] = a1 * d - k01 * b - k12 * e
                x[5, i, j, k] = a1 * e - k01 * c - k12 * f
                x[6, i, j, k] = a2 * c - k02 * a - k12 * b
                x[7, i, j, k] = a2 * e - k02 * b - k12 * d
                x[8, i, j, k] = a2 * f - k02 * c - k12 * e
