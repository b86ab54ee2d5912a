"""Harmonic functions that fit a field: in holes from their rim, in balls from the part that is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume


def fill_harmonic(
    field: Volume, holes: Mask, mask: Mask, voxel_size: Sequence[float], *, iterations: int = 60
) -> Volume:
    """A copy of `field` whose `holes` solve the Laplace equation, with the rest of `mask` as boundary values.

    Gauss-Seidel with over-relaxation on the hole voxels alone; neighbours outside `mask` are left out (no flux).
    Small holes, the usual case, are solved to rounding. A hole that touches no known voxel stays 0.
    """
    known = mask & ~holes
    out = np.where(known, field, np.float32(0))
    at = np.ascontiguousarray(np.argwhere(holes & mask), dtype=np.int32)
    if at.size and known.any():
        weights = (1 / np.asarray(voxel_size, np.float32) ** 2).astype(np.float32)
        _relax(out, known, at, weights, iterations)
    return out


@jit("void(f4[:,:,::1], b1[:,:,::1], i4[:,::1], f4[::1], i8)")
def _relax(x, known, at, w, iterations):
    """Sweeps over the voxels `at`; they become `known`, and so count as neighbours, once they have a value."""
    shape = x.shape
    index = np.empty(3, np.int64)
    for sweep in range(iterations):
        for n in range(at.shape[0]):
            # Backwards every second time: symmetric sweeps carry values both ways.
            m = n if sweep % 2 == 0 else at.shape[0] - 1 - n
            total = np.float32(0)
            weight = np.float32(0)
            for axis in range(3):
                for side in (-1, 1):
                    index[0], index[1], index[2] = at[m, 0], at[m, 1], at[m, 2]
                    index[axis] += side
                    if 0 <= index[axis] < shape[axis] and known[index[0], index[1], index[2]]:
                        total += w[axis] * x[index[0], index[1], index[2]]
                        weight += w[axis]
            i, j, k = at[m, 0], at[m, 1], at[m, 2]
            if weight > 0:
                omega = np.float32(1.5) if known[i, j, k] else np.float32(1)
                x[i, j, k] += omega * (total / weight - x[i, j, k])
                known[i, j, k] = True


def fit_harmonic(
    field: Volume,
    weight: Volume,
    wanted: Mask,
    voxel_size: Sequence[float],
    radius_mm: float,
    *,
    degree: int = 3,
    ridge: float = 1e-4,
) -> tuple[Volume, Mask]:
    r"""The harmonic part of a field, from polynomials fitted in balls that may lie partly outside the data.

    Where a ball lies inside the data entirely, its least-squares harmonic polynomial has the ball's mean as its value at
    the centre; where it does not, the fit goes on being right for every harmonic field up to `degree`, which a
    mean over the part inside is not.

    Parameters
    ----------
    field : (x, y, z) float32
        The field, in any unit.
    weight : (x, y, z) float32
        Weight of each voxel, 0 to 1; 0 where nothing is known.
    wanted : (x, y, z) bool
        Where the values are wanted, known or not.
    voxel_size : 3 float
        In mm.
    radius_mm : float
        Radius of the balls.
    degree : int
        Highest degree, 1 to 3: 4, 9 or 16 coefficients.
    ridge : float
        Penalty on all but the constant, relative to the number of voxels in a ball.

    Returns
    -------
    values : (x, y, z) float32
        The fit where it is wanted and known well enough, 0 elsewhere.
    valid : (x, y, z) bool
        Where that is: with a total weight of at least two voxels a coefficient.

    Notes
    -----
    Balls are centred on every second voxel; between them the neighbouring polynomials are interpolated.
    """
    if degree not in (1, 2, 3):
        raise ValueError(f"degree {degree}: 1, 2 or 3")
    half = [int(radius_mm / v + 1e-6) for v in voxel_size]
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in half), indexing="ij"), -1).reshape(-1, 3)
    scaled = offsets * np.asarray(voxel_size) / radius_mm
    inside = (scaled**2).sum(1) <= 1 + 1e-6
    offsets, scaled = np.ascontiguousarray(offsets[inside], dtype=np.int32), scaled[inside]
    basis = solid_harmonics(scaled, degree)
    n = basis.shape[1]
    rows, columns = np.tril_indices(n)
    products = np.ascontiguousarray(basis[:, rows] * basis[:, columns])
    near = np.stack(np.meshgrid(*([-1, 0, 1],) * 3, indexing="ij"), -1).reshape(-1, 3)
    at_near = solid_harmonics(near * np.asarray(voxel_size) / radius_mm, degree).reshape(3, 3, 3, n)

    # A lattice of centres: those whose neighbourhood has a voxel that is wanted.
    number = np.full(tuple(s // 2 + 2 for s in field.shape), -1, np.int32)
    voxels = np.ascontiguousarray(np.argwhere(wanted), dtype=np.int32)
    for corner in np.ndindex(2, 2, 2):
        number[tuple(((voxels + corner) // 2).T)] = 0
    centres = np.ascontiguousarray(np.argwhere(number == 0), dtype=np.int32)
    number[number == 0] = np.arange(len(centres))
    coefficients = np.zeros((len(centres), n), np.float32)
    weights = np.zeros(len(centres), np.float32)
    field, weight = np.ascontiguousarray(field), np.ascontiguousarray(weight)
    slabs(
        _fit_balls,
        len(centres),
        field,
        weight,
        centres,
        offsets,
        products,
        basis,
        ridge,
        coefficients,
        weights,
    )
    values = np.zeros((2, len(voxels)), np.float32)
    slabs(_blend, len(voxels), voxels, number, coefficients, weights, 2.0 * n, at_near, values)
    out = np.zeros(field.shape, np.float32)
    valid = np.zeros(field.shape, bool)
    out[wanted], valid[wanted] = values[0], values[1] > 0
    return out, valid


def solid_harmonics(points: np.ndarray, degree: int) -> Volume:
    """Real harmonic polynomials up to `degree` (0 to 3) at points (n, 3) of about unit size: (n, (degree+1)^2)."""
    x, y, z = points.T
    xx, yy, zz = x * x, y * y, z * z
    terms = [np.ones_like(x)]
    if degree >= 1:
        terms += [x, y, z]
    if degree >= 2:
        terms += [x * y, y * z, x * z, (xx - yy) / 2, (2 * zz - xx - yy) / 3]
    if degree >= 3:
        terms += [
            z * (2 * zz - 3 * xx - 3 * yy) / 3,
            x * (4 * zz - xx - yy) / 3,
            y * (4 * zz - xx - yy) / 3,
            z * (xx - yy),
            2 * x * y * z,
            x * (xx - 3 * yy) / 2,
            y * (3 * xx - yy) / 2,
        ]
    return np.stack(terms, axis=1).astype(np.float32)


@jit(
    "void(i8, i8, f4[:,:,::1], f4[:,:,::1], i4[:,::1], i4[:,::1], f4[:,::1], f4[:,::1], f8, f4[:,::1], f4[::1])"
)
def _fit_balls(start, stop, field, weight, centres, offsets, products, basis, ridge, coefficients, weights):
    """Normal equations of each ball, summed from tables of the basis' products, and solved by Cholesky."""
    n, pairs = basis.shape[1], products.shape[1]
    matrix = np.empty((n, n))
    right = np.empty(n)
    p = np.empty(pairs, np.float32)
    b = np.empty(n, np.float32)
    for c in range(start, stop):
        p[:] = 0
        b[:] = 0
        for q in range(offsets.shape[0]):
            i = 2 * centres[c, 0] + offsets[q, 0]
            j = 2 * centres[c, 1] + offsets[q, 1]
            k = 2 * centres[c, 2] + offsets[q, 2]
            if 0 <= i < field.shape[0] and 0 <= j < field.shape[1] and 0 <= k < field.shape[2]:
                w = weight[i, j, k]
                if w > 0:
                    v = w * field[i, j, k]
                    for t in range(pairs):
                        p[t] += w * products[q, t]
                    for t in range(n):
                        b[t] += v * basis[q, t]
        weights[c] = p[0]
        if p[0] <= 0:
            continue
        t = 0
        for row in range(n):
            right[row] = b[row]
            for column in range(row + 1):
                matrix[row, column] = p[t]
                t += 1
            if row > 0:
                matrix[row, row] += ridge * offsets.shape[0]
        for j in range(n):
            for i in range(j, n):
                s = matrix[i, j]
                for k in range(j):
                    s -= matrix[i, k] * matrix[j, k]
                matrix[i, j] = np.sqrt(max(s, 1e-12)) if i == j else s / matrix[j, j]
            s = right[j]
            for k in range(j):
                s -= matrix[j, k] * right[k]
            right[j] = s / matrix[j, j]
        for j in range(n - 1, -1, -1):
            s = right[j]
            for i in range(j + 1, n):
                s -= matrix[i, j] * right[i]
            right[j] = s / matrix[j, j]
            coefficients[c, j] = right[j]


@jit("void(i8, i8, i4[:,::1], i4[:,:,::1], f4[:,::1], f4[::1], f8, f4[:,:,:,::1], f4[:,::1])")
def _blend(start, stop, voxels, number, coefficients, weights, least, basis, out):
    """Each voxel's value from the polynomials around its up to eight nearest centres, trilinearly."""
    for v in range(start, stop):
        total = np.float32(0)
        share = np.float32(0)
        for corner in range(8):
            i, j, k = voxels[v, 0], voxels[v, 1], voxels[v, 2]
            a = (i + (corner & 1)) // 2
            b = (j + ((corner >> 1) & 1)) // 2
            d = (k + ((corner >> 2) & 1)) // 2
            c = number[a, b, d]
            if c >= 0 and weights[c] >= least:
                i, j, k = i - 2 * a + 1, j - 2 * b + 1, k - 2 * d + 1
                s = np.float32(0)
                for t in range(basis.shape[3]):
                    s += coefficients[c, t] * basis[i, j, k, t]
                # Even indices meet the same centre twice along an axis: that makes the weights trilinear.
                total += s
                share += np.float32(1)
        if share > 0:
            out[0, v] = total / share
            out[1, v] = share
