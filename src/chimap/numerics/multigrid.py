"""Multigrid for Laplace's equation on the voxels of a mask, with its staircase surface and any voxel size.

One unknown a voxel; each face between two unknowns couples them by 1/h^2, and what couples an unknown to a known value
stays on the diagonal. Grids are coarsened by merging 2 voxels along each axis that is not yet much coarser than the
finest one, so that anisotropic voxels become cubes. The merged cells keep the couplings through their own faces:
no voxel of the surface is lost or added on the way down, however thin the mask is there. One symmetric
V-cycle is the preconditioner of conjugate gradients, which mends what the coarse grids get wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.numerics.cg import Solution, conjugate_gradients
from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Progress, Volume, silent

SMALLEST = 6
"""Axes shorter than this are not coarsened."""

BOTTOM_SWEEPS = 20


@dataclass
class _Level:
    """Couplings of each cell to its next neighbour on each axis (3, x, y, z), and the diagonal; 0 where no unknown."""

    coupling: Volume
    diagonal: Volume
    factor: np.ndarray
    """How many cells along each axis make one of the next coarser level (1, 1, 1: there is none)."""
    x: Volume
    rhs: Volume
    residual: Volume


class Laplace:
    r"""The operator :math:`-\nabla^2` on the voxels `unknown`, and its solution by multigrid.

    Parameters
    ----------
    unknown : (x, y, z) bool
        Where the solution is sought.
    known : (x, y, z) bool
        Where values are given (Dirichlet's condition at these voxel centres, second order). Neighbours that are neither
        are left out (no flux through that face), and so is what lies outside the grid.
    voxel_size : 3 float
        Voxel size in mm.
    pull : (x, y, z) float32, optional
        Added to the operator's diagonal at unknown voxels, in units of one over the smallest voxel side squared. With
        ``pull * target`` added to the right-hand side it pulls the solution towards `target` there, as a
        value that is not quite certain does.

    Notes
    -----
    A region of `unknown` that touches no known voxel, and that nothing pulls, has no unique solution; it stays 0.
    """

    def __init__(self, unknown: Mask, known: Mask, voxel_size: Sequence[float], pull: Volume | None = None):
        self._levels: list[_Level] = []
        self._weights = np.array([(min(voxel_size) / v) ** 2 for v in voxel_size], np.float32)
        self._known = known
        spacing = [float(v) for v in voxel_size]
        coupling = np.zeros((3, *unknown.shape), np.float32)
        diagonal = np.zeros(unknown.shape, np.float32)
        slabs(_couplings, unknown.shape[0], unknown, known, self._weights, coupling, diagonal)
        if pull is not None:
            np.add(diagonal, pull, out=diagonal, where=unknown)
        while True:
            shape: tuple[int, ...] = diagonal.shape
            near = 1.5 * min(spacing)
            factor = [2 if h < near and shape[a] >= SMALLEST else 1 for a, h in enumerate(spacing)]
            # The finest level works on the caller's arrays.
            own = shape if self._levels else (0, 0, 0)
            self._levels.append(
                _Level(
                    coupling,
                    diagonal,
                    np.array(factor),
                    x=np.zeros(own, np.float32),
                    rhs=np.zeros(own, np.float32),
                    residual=np.zeros(shape, np.float32),
                )
            )
            if max(factor) == 1:
                break
            coupling, diagonal = _coarse(coupling, diagonal, factor)
            spacing = [h * f for h, f in zip(spacing, factor, strict=True)]

    def right_hand_side(self, values: Volume) -> Volume:
        """What the given `values` at the known voxels put on the right-hand side."""
        rhs = np.zeros(values.shape, np.float32)
        diagonal = self._levels[0].diagonal
        slabs(_boundary, values.shape[0], values, self._known, self._weights, diagonal, rhs)
        return rhs

    def spread(self, x: Volume) -> Volume:
        """The transpose of `right_hand_side`: at each known voxel, its unknown neighbours by their couplings."""
        out = np.zeros(x.shape, np.float32)
        unknown = self._levels[0].diagonal > 0
        slabs(_boundary, x.shape[0], x, unknown, self._weights, self._known.astype(np.float32), out)
        return out

    def apply(self, x: Volume) -> Volume:
        """The operator applied to `x` (times the smallest voxel side squared)."""
        out = np.empty_like(x)
        level = self._levels[0]
        slabs(_residual, x.shape[0], x, self._zero(level), level.coupling, level.diagonal, out)
        return np.negative(out, out=out)

    def cycle(self, rhs: Volume) -> Volume:
        """One symmetric V-cycle from zero: a good approximation of the solution."""
        x = np.zeros_like(rhs)
        self._cycle(0, x, rhs)
        return x

    def solve(
        self,
        rhs: Volume,
        *,
        start: Volume | None = None,
        tolerance: float = 1e-4,
        iterations: int = 40,
        progress: Progress = silent,
    ) -> Solution:
        """Solve for `rhs` to a residual of `tolerance` times that of zero."""
        return conjugate_gradients(
            self.apply,
            rhs,
            start=start,
            precondition=self.cycle,
            tolerance=tolerance,
            iterations=iterations,
            progress=progress,
        )

    def _zero(self, level: _Level) -> Volume:
        level.residual[:] = 0
        return level.residual

    def _cycle(self, n: int, x: Volume, rhs: Volume) -> None:
        level = self._levels[n]
        last = n == len(self._levels) - 1
        for _ in range(BOTTOM_SWEEPS if last else 1):
            self._sweep(level, x, rhs, (0, 1))
        if not last:
            coarse = self._levels[n + 1]
            r = level.residual
            slabs(_residual, x.shape[0], x, rhs, level.coupling, level.diagonal, r)
            shape = coarse.rhs.shape
            slabs(_restrict, shape[0], r, level.factor, coarse.diagonal, coarse.rhs)
            coarse.x[:] = 0
            self._cycle(n + 1, coarse.x, coarse.rhs)
            slabs(_prolong, x.shape[0], coarse.x, level.factor, level.diagonal, x)
        for _ in range(BOTTOM_SWEEPS if last else 1):
            self._sweep(level, x, rhs, (1, 0))

    @staticmethod
    def _sweep(level: _Level, x: Volume, rhs: Volume, colours: tuple[int, int]) -> None:
        for colour in colours:
            slabs(_relax, x.shape[0], colour, x, rhs, level.coupling, level.diagonal)


def _coarse(coupling: Volume, diagonal: Volume, factor: Sequence[int]) -> tuple[Volume, Volume]:
    """Couplings and diagonal of the cells merged by `factor`.

    Piecewise constant merging sums couplings; along a merged axis the cells' distance doubles, so their coupling is half
    of the sum. What couples to known values keeps its sum, halved like the rest.
    """
    fine = diagonal.shape
    shape = tuple(-(-n // f) for n, f in zip(fine, factor, strict=True))
    out = np.zeros((3, *shape), np.float32)
    rest = np.zeros(shape, np.float32)
    slabs(_merge, shape[0], coupling, diagonal, np.array(factor), out, rest)
    total = rest
    for axis in range(3):
        c = out[axis]
        total = total + c
        lower = [slice(None)] * 3
        upper = [slice(None)] * 3
        lower[axis], upper[axis] = slice(0, -1), slice(1, None)
        total[tuple(upper)] += c[tuple(lower)]
    return out, total


@jit("void(i8, i8, b1[:,:,::1], b1[:,:,::1], f4[::1], f4[:,:,:,::1], f4[:,:,::1])")
def _couplings(start, stop, unknown, known, w, coupling, diagonal):
    shape = unknown.shape
    index = np.empty(3, np.int64)
    for i in range(start, stop):
        for j in range(shape[1]):
            for k in range(shape[2]):
                if not unknown[i, j, k]:
                    continue
                for axis in range(3):
                    for side in (-1, 1):
                        index[0], index[1], index[2] = i, j, k
                        index[axis] += side
                        if not 0 <= index[axis] < shape[axis]:
                            continue
                        a, b, c = index[0], index[1], index[2]
                        if unknown[a, b, c]:
                            diagonal[i, j, k] += w[axis]
                            if side == 1:
                                coupling[axis, i, j, k] = w[axis]
                        elif known[a, b, c]:
                            diagonal[i, j, k] += w[axis]


@jit("void(i8, i8, f4[:,:,::1], b1[:,:,::1], f4[::1], f4[:,:,::1], f4[:,:,::1])")
def _boundary(start, stop, values, known, w, diagonal, rhs):
    shape = values.shape
    index = np.empty(3, np.int64)
    for i in range(start, stop):
        for j in range(shape[1]):
            for k in range(shape[2]):
                if diagonal[i, j, k] == 0:
                    continue
                for axis in range(3):
                    for side in (-1, 1):
                        index[0], index[1], index[2] = i, j, k
                        index[axis] += side
                        if 0 <= index[axis] < shape[axis] and known[index[0], index[1], index[2]]:
                            rhs[i, j, k] += w[axis] * values[index[0], index[1], index[2]]


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1], f4[::1])")
def _row(i, j, x, rhs, c, out):
    """The right-hand side and the neighbours, each times its coupling, for a row of cells.

    Couplings to cells behind the grid's end are 0, so there any cell may be read; loops without branches become vector code.
    """
    size = x.shape[2]
    zero, one = np.float32(0), np.float32(1)
    before_i, before_j = max(i - 1, 0), max(j - 1, 0)
    after_i, after_j = min(i + 1, x.shape[0] - 1), min(j + 1, x.shape[1] - 1)
    has_i, has_j = one if i > 0 else zero, one if j > 0 else zero
    for k in range(size):
        out[k] = (
            rhs[i, j, k]
            + has_i * c[0, before_i, j, k] * x[before_i, j, k]
            + c[0, i, j, k] * x[after_i, j, k]
            + has_j * c[1, i, before_j, k] * x[i, before_j, k]
            + c[1, i, j, k] * x[i, after_j, k]
        )
    for k in range(1, size):
        out[k] += c[2, i, j, k - 1] * x[i, j, k - 1]
    for k in range(size - 1):
        out[k] += c[2, i, j, k] * x[i, j, k + 1]


@jit("void(i8, i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1], f4[:,:,::1])")
def _relax(start, stop, colour, x, rhs, coupling, diagonal):
    """Gauss-Seidel on every second cell: what it reads, it does not write."""
    row = np.empty(x.shape[2], np.float32)
    for i in range(start, stop):
        for j in range(x.shape[1]):
            _row(i, j, x, rhs, coupling, row)
            for k in range((i + j + colour) % 2, x.shape[2], 2):
                if diagonal[i, j, k] > 0:
                    x[i, j, k] = row[k] / diagonal[i, j, k]


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1])")
def _residual(start, stop, x, rhs, coupling, diagonal, out):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            row = out[i, j]
            _row(i, j, x, rhs, coupling, row)
            for k in range(x.shape[2]):
                d = diagonal[i, j, k]
                row[k] = row[k] - d * x[i, j, k] if d > 0 else np.float32(0)


@jit("void(i8, i8, f4[:,:,:,::1], f4[:,:,::1], i8[::1], f4[:,:,:,::1], f4[:,:,::1])")
def _merge(start, stop, coupling, diagonal, factor, out, rest):
    """Sum over the cells that merge: couplings that cross their common surface, and those to known values."""
    shape = diagonal.shape
    for i in range(start * factor[0], min(stop * factor[0], shape[0])):
        for j in range(shape[1]):
            for k in range(shape[2]):
                d = diagonal[i, j, k]
                if d == 0:
                    continue
                a, b, c = i // factor[0], j // factor[1], k // factor[2]
                for axis in range(3):
                    n = i if axis == 0 else (j if axis == 1 else k)
                    w = coupling[axis, i, j, k]
                    d -= w
                    if (n + 1) % factor[axis] == 0:
                        out[axis, a, b, c] += w / factor[axis]
                if i > 0:
                    d -= coupling[0, i - 1, j, k]
                if j > 0:
                    d -= coupling[1, i, j - 1, k]
                if k > 0:
                    d -= coupling[2, i, j, k - 1]
                if d > np.float32(1e-3):
                    rest[a, b, c] += d / 2


@jit("void(i8, i8, f4[:,:,::1], i8[::1], f4[:,:,::1], f4[:,:,::1])")
def _restrict(start, stop, fine, factor, diagonal, coarse):
    """Sum over the cells that merge."""
    for a in range(start, stop):
        for b in range(coarse.shape[1]):
            for c in range(coarse.shape[2]):
                total = np.float32(0)
                if diagonal[a, b, c] > 0:
                    for i in range(a * factor[0], min((a + 1) * factor[0], fine.shape[0])):
                        for j in range(b * factor[1], min((b + 1) * factor[1], fine.shape[1])):
                            for k in range(c * factor[2], min((c + 1) * factor[2], fine.shape[2])):
                                total += fine[i, j, k]
                coarse[a, b, c] = total


@jit("void(i8, i8, f4[:,:,::1], i8[::1], f4[:,:,::1], f4[:,:,::1])")
def _prolong(start, stop, coarse, factor, diagonal, x):
    """Add each merged cell's correction to its parts: the transpose of `_restrict`."""
    for i in range(start, stop):
        for j in range(x.shape[1]):
            for k in range(x.shape[2]):
                if diagonal[i, j, k] > 0:
                    x[i, j, k] += coarse[i // factor[0], j // factor[1], k // factor[2]]
