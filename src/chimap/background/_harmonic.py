"""The smallest local field with a given Laplacian: what is left when any harmonic function may be background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion

from chimap.errors import InputError
from chimap.numerics.multigrid import Laplace
from chimap.numerics.sums import dot
from chimap.types import Mask, Progress, Volume


def interior(mask: Mask) -> Mask:
    """The voxels of the mask with all six neighbours in it; `InputError` if there are none."""
    inner = binary_erosion(mask)
    if not inner.any():
        raise InputError(
            "no voxel of the mask has all its neighbours inside, so there is no Laplacian",
            fix="Give a mask of the whole object",
        )
    return inner


class Harmonic:
    r"""Fields on a mask with a given Laplacian inside: the smallest of them.

    Fields with the same Laplacian differ by a harmonic function :math:`H c`, given by its values c at the outermost
    voxels. The one with the smallest :math:`\sum l^2 / v` is :math:`l = l_0 - H c`, with the solution
    :math:`l_0` that is 0 at the outermost voxels, and :math:`(H^T V^{-1} H + V_{edge}^{-1}) c = H^T V^{-1} l_0`: conjugate
    gradients over the surface, each step two solutions of Dirichlet's problem by multigrid.
    """

    def __init__(self, mask: Mask, inner: Mask, voxel: Sequence[float], variance: Volume):
        self.mask, self.inner = mask, inner
        self.edge = mask & ~inner
        self.laplace = Laplace(inner, self.edge, voxel)
        self.weight = np.zeros_like(variance)
        np.divide(1, variance, out=self.weight, where=mask & (variance > 0))

    def reached(self) -> Mask:
        """Where the Laplacian says something: the inner voxels and those that touch one by a face."""
        return self.inner | (self.laplace.spread(self.inner.astype(np.float32)) > 0)

    def laplacian(self, field: Volume) -> Volume:
        """Minus the Laplacian at the inner voxels (times the smallest voxel side squared)."""
        out = self.laplace.apply(field)
        out -= self.laplace.right_hand_side(field)
        return out

    def zero_at_edge(self, laplacian: Volume, start: Volume | None = None, tolerance: float = 1e-4) -> Volume:
        """The field with that Laplacian and 0 at the outermost voxels."""
        return self.laplace.solve(laplacian, start=start, tolerance=tolerance).x

    def smallest(self, laplacian: Volume, iterations: int, progress: Progress) -> Volume:
        """The smallest field with that Laplacian, on the whole mask."""
        local = self.zero_at_edge(laplacian, tolerance=1e-2)
        # Scaled such that lost voxels at the edge, whose weight is next to nothing, do not slow it down.
        scale = np.where(self.edge, 1 / (self.weight + 1), np.float32(0)).astype(np.float32)
        s = self._transposed(local)
        z = s * scale
        p = z.copy()
        first = norm = dot(s, z)
        for n in range(iterations):
            if norm <= 1e-6 * first:
                break
            # A tenth of the step's accuracy is plenty: the last solution below starts afresh from the edge.
            q = self.zero_at_edge(self.laplace.right_hand_side(p), tolerance=1e-2)
            q += p
            step = np.float32(norm / float(dot(q * self.weight, q)))
            q *= step
            local -= q
            progress(n + 1, iterations, gradient=float(np.sqrt(norm / first)), converged=norm <= 1e-2 * first)
            if n == iterations - 1:
                break
            s = self._transposed(local)
            z = s * scale
            norm, before = dot(s, z), norm
            p *= np.float32(norm / before)
            p += z
        edge = local * self.edge
        laplacian = laplacian + self.laplace.right_hand_side(edge)
        return edge + self.zero_at_edge(laplacian, start=local * self.inner, tolerance=1e-3)

    def _transposed(self, local: Volume) -> Volume:
        """Half the downhill gradient of the sum of squares, with respect to the values taken off at the edge."""
        weighted = local * self.weight
        out = self.laplace.spread(self.zero_at_edge(weighted * self.inner, tolerance=1e-2))
        out += weighted * self.edge
        return out
