"""What is unknown in a tensor inversion: six components, nine without symmetry, or two along known fibres.

A model takes its unknowns u, (c, x, y, z) on the working grid, to the tensor Y whose quadratic form is the field, and back (the adjoint). Unknowns
are scaled so that sums of squares are those of the 3 x 3 matrix.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from chimap.numerics.tensor import SCALE, TRACE, TensorKernel, from_matrix
from chimap.types import Mask

TRACE_NINE = (np.eye(3, dtype=np.float32) / np.sqrt(np.float32(3))).ravel()


class Model(Protocol):
    """See the module's text."""

    size: int
    trace: np.ndarray
    """Unit vector of the isotropic part among the unknowns."""

    def forward(self, u: np.ndarray) -> np.ndarray:
        """Unknowns to Y, (6, x, y, z)."""
        ...

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """The adjoint of `forward`, (size, x, y, z)."""
        ...

    def allow(self, u: np.ndarray) -> np.ndarray:
        """Project in place on what is allowed."""
        ...

    def tensor(self, u: np.ndarray) -> np.ndarray:
        """Unknowns to the symmetric tensor, (6, x, y, z) scaled."""
        ...


class Symmetric:
    """Six unknowns; in `isotropic` voxels only their trace."""

    size = 6
    trace = TRACE

    def __init__(self, kernel: TensorKernel, inside: Mask, isotropic: Mask | None):
        self.kernel, self.inside, self.isotropic = kernel, inside, isotropic

    def forward(self, u: np.ndarray) -> np.ndarray:
        return self.kernel.apply(u)

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        return self.allow(self.kernel.apply(y, out=y))

    def allow(self, u: np.ndarray) -> np.ndarray:
        return _allow(u, self.trace, self.inside, self.isotropic)

    def tensor(self, u: np.ndarray) -> np.ndarray:
        return u


class Asymmetric:
    """Nine unknowns without symmetry; the antisymmetric part of what is found is thrown away."""

    size = 9
    trace = TRACE_NINE

    def __init__(self, kernel: TensorKernel, inside: Mask, isotropic: Mask | None):
        self.kernel, self.inside, self.isotropic = kernel, inside, isotropic

    def forward(self, u: np.ndarray) -> np.ndarray:
        return self.kernel.apply_nine(u)

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        return self.allow(self.kernel.adjoint_nine(y))

    def allow(self, u: np.ndarray) -> np.ndarray:
        return _allow(u, self.trace, self.inside, self.isotropic)

    def tensor(self, u: np.ndarray) -> np.ndarray:
        matrix = np.moveaxis(u, 0, -1).reshape(*u.shape[1:], 3, 3)
        return np.ascontiguousarray(np.moveaxis(from_matrix(matrix) * SCALE, -1, 0))


class Cylindrical:
    """Two unknowns: the isotropic part, and the anisotropic one along known axes (0 where there is none)."""

    size = 2
    trace = np.array([1, 0], np.float32)

    def __init__(self, kernel: TensorKernel, inside: Mask, unit: np.ndarray):
        self.kernel, self.inside, self.unit = kernel, inside, unit

    def forward(self, u: np.ndarray) -> np.ndarray:
        return self.kernel.apply(self.tensor(u))

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        x = self.kernel.apply(y, out=y)
        out = np.empty((2, *x.shape[1:]), np.float32)
        np.einsum("c,cxyz->xyz", TRACE, x, out=out[0])
        np.einsum("cxyz,cxyz->xyz", self.unit, x, out=out[1])
        return self.allow(out)

    def allow(self, u: np.ndarray) -> np.ndarray:
        u *= self.inside
        return u

    def tensor(self, u: np.ndarray) -> np.ndarray:
        return TRACE[:, None, None, None] * u[0] + self.unit * u[1]


def axis_unit(axis: np.ndarray) -> np.ndarray:
    """Scaled components of ``(v v^T - I/3)`` of norm 1, (6, x, y, z), for vectors (x, y, z, 3); 0 where they are 0."""
    norm = np.linalg.norm(axis, axis=-1, keepdims=True)
    v = np.divide(axis, norm, out=np.zeros(axis.shape, np.float32), where=norm > 1e-6)
    outer = v[..., :, None] * v[..., None, :]
    outer[norm[..., 0] > 1e-6] -= np.eye(3, dtype=np.float32) / 3
    unit = from_matrix(outer) * (SCALE * np.float32(np.sqrt(1.5)))
    return np.ascontiguousarray(np.moveaxis(unit, -1, 0), np.float32)


def _allow(u: np.ndarray, trace: np.ndarray, inside: Mask, isotropic: Mask | None) -> np.ndarray:
    u *= inside
    if isotropic is not None:
        mean = np.einsum("c,cn->n", trace, u[:, isotropic])
        u[:, isotropic] = trace[:, None] * mean
    return u
