r"""How a stack comes about from the isotropic volume: moved, turned in phase, and averaged along its axes.

:math:`y = (P_x \otimes P_y \otimes P_z)\, R\, (c\, x)`: c a phase, R the rigid motion onto a grid of the same cubic voxels along the
stack's axes (`Shears`), P the weights of the samples in the stack's voxels (`_profile`). Nothing is stored as a matrix but P.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from chimap.stacks import _profile
from chimap.stacks._shears import Shears, shears
from chimap.stacks.scan import Grid, Motion, axes


@dataclass(frozen=True)
class Model:
    """Forward operator of one stack, complex64 volumes in and out; `lift` interpolates a stack onto the isotropic grid."""

    motion: Shears
    weights: tuple[np.ndarray, ...]
    inverse: tuple[np.ndarray, ...]
    order: tuple[int, ...]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The stack that the isotropic volume `x` would give."""
        return np.ascontiguousarray(np.transpose(apply(self.weights, self.motion.forward(x)), self.order))

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """The adjoint of `forward`."""
        aligned = np.transpose(y, np.argsort(self.order))
        return self.motion.adjoint(apply([w.T for w in self.weights], aligned))

    def lift(self, y: np.ndarray) -> np.ndarray:
        """The stack on the isotropic grid, interpolated by the periodic sinc along its axes and moved back."""
        aligned = np.transpose(y, np.argsort(self.order))
        return self.motion.adjoint(apply(self.inverse, aligned))


def model(
    shape: Sequence[int], affine: np.ndarray, profile: Sequence[str], grid: Grid, motion: Motion | None = None
) -> Model:
    """The operator of a stack of this shape, affine and profile, for a head that `motion` says where it lies."""
    h = grid.voxel_mm
    own, target = axes(affine), grid.affine[:3, :3] / h
    cosine = target.T @ own
    _, order = linear_sum_assignment(-np.abs(cosine))
    sign = np.sign(cosine[range(3), order])
    directions = own[:, order] * sign
    size = np.linalg.norm(affine[:3, :3], axis=0)[order]
    first = directions.T @ affine[:3, 3]
    # The grid along the stack's axes: around the same middle, its samples where the stack has some.
    start = directions.T @ grid.centre_mm - h * (np.array(grid.shape) - 1) / 2
    start += (first - start) - h * np.rint((first - start) / h)
    weights, inverse = [], []
    for a in range(3):
        z = first[a] + sign[a] * size[a] * np.arange(shape[order[a]])
        fine = start[a] + h * np.arange(grid.shape[a])
        weights.append(_profile.weights(z, float(size[a]), fine, profile[order[a]]))
        inverse.append(_profile.interpolation(z, fine))
    back = np.linalg.inv((motion or Motion()).matrix)
    matrix = target.T @ back[:3, :3] @ directions
    origin = back[:3, :3] @ directions @ start + back[:3, 3]
    shift = target.T @ (origin - grid.affine[:3, 3]) / h
    moved = shears(grid.shape, matrix, shift)
    return Model(moved, tuple(weights), tuple(inverse), tuple(int(v) for v in np.argsort(order)))


def apply(matrices: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Multiply each axis of a complex64 volume by its (new, old) matrix, the one that shrinks it most first."""
    for axis in sorted(range(3), key=lambda a: matrices[a].shape[0] / matrices[a].shape[1]):
        matrix = np.ascontiguousarray(matrices[axis])
        picked = _profile.selection(matrix)
        if picked is not None:
            x = x[(slice(None),) * axis + (picked,)]
            continue
        placed = _profile.selection(matrix.T)
        if placed is not None:
            shape = list(x.shape)
            shape[axis] = matrix.shape[0]
            out = np.zeros(shape, np.complex64)
            out[(slice(None),) * axis + (placed,)] = x
            x = out
            continue
        x = np.ascontiguousarray(x)
        if axis == 2:
            x = x @ matrix.T.astype(np.complex64)
        else:
            # Pairs of float32 in place of complex numbers: half the work.
            pairs = x.view(np.float32)
            if axis == 0:
                flat = matrix @ pairs.reshape(pairs.shape[0], -1)
                x = flat.reshape(-1, *pairs.shape[1:]).view(np.complex64)
            else:
                x = np.matmul(matrix, pairs).view(np.complex64)
    return x
