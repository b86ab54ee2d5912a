"""The terms of the tensor inversion: what the data say of each voxel, and what is preferred without them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume

_PAIRS = [(a, b) for a in range(6) for b in range(a, 6)]


def gram_of(
    box: Box, fields: Sequence[Volume], weights: Sequence[Volume], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``sum w q q^T`` of each voxel, (21, x, y, z), and ``sum w q f``, (6, x, y, z), on the working grid.

    With q from `chimap.numerics.tensor.design` the field is ``q . Y``, so this is all that the iteration needs of the data, and its
    time does not depend on the number of positions.
    """
    gram = np.zeros((21, *box.shape), np.float32)
    right = np.zeros((6, *box.shape), np.float32)
    for field, weight, q in zip(fields, weights, rows, strict=True):
        w = box.crop(weight)
        for n, (a, b) in enumerate(_PAIRS):
            gram[n] += (q[a] * q[b]) * w
        w *= box.crop(field)
        for c in range(6):
            right[c] += q[c] * w
    return gram, right


def apply_gram(gram: np.ndarray, y: np.ndarray) -> None:
    """``y <- G y`` in each voxel, in place."""
    slabs(_apply_gram, y.shape[1], gram, y)


def edge_weights(guide: Volume | None, mask: Mask, voxel_size: Sequence[float], edges: float) -> Volume:
    r"""``max(0.05, 1 / (1 + (g / g0)^2))`` of the norm g of a guide's gradient inside the mask; 0 outside, 1 without a guide.

    g0 is the quantile of g that the share `edges` of the voxels exceeds.
    """
    if not 0 <= edges < 1:
        raise InputError(f"edges is {edges:g}; it must be from 0 to below 1", fix="Try 0.3")
    if guide is None or edges == 0:
        return mask.astype(np.float32)
    power = np.zeros(mask.shape, np.float32)
    for axis, h in enumerate(voxel_size):
        here = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        there = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        step = np.where(mask[here] & mask[there], (guide[there] - guide[here]) / np.float32(h), np.float32(0))
        power[here] += np.float32(0.5) * step * step
        power[there] += np.float32(0.5) * step * step
    typical = float(np.quantile(power[mask], 1 - edges)) or float(power[mask].mean(dtype=np.float64))
    if typical <= 0:
        return mask.astype(np.float32)
    return np.where(mask, np.maximum(1 / (1 + power / np.float32(typical)), np.float32(0.05)), np.float32(0))


def smoothness(x: np.ndarray, m: Volume, voxel_size: Sequence[float]) -> np.ndarray:
    """Gradient of half of the sum over neighbours of ``min(m_i, m_j) (x_i - x_j)^2 / d^2``, of each component."""
    out = np.empty_like(x)
    ih2 = (1 / np.asarray(voxel_size, float) ** 2).astype(np.float32)
    slabs(_smooth, x.shape[1], x, m, ih2, out)
    return out


class Penalty:
    """What is preferred: both parts smooth, the anisotropic one small and along known axes.

    Parameters
    ----------
    trace : (c,) float32
        Unit vector of the isotropic part among the unknowns.
    mean_weights, other_weights : (x, y, z) float32
        `edge_weights` for the isotropic and for the anisotropic part; no difference to a voxel of weight 0 counts.
    voxel_size : 3 float
        In mm.
    smooth_mean, smooth, ridge, axis_weight : float
        Factors of the terms.
    unit : (6, x, y, z) float32, optional
        Known axes, as `axis_unit` gives them; 0 where none is known.
    """

    def __init__(
        self,
        trace: np.ndarray,
        mean_weights: Volume,
        other_weights: Volume,
        voxel_size: Sequence[float],
        *,
        smooth_mean: float,
        smooth: float,
        ridge: float,
        axis_weight: float = 0.0,
        unit: np.ndarray | None = None,
    ):
        self.trace = trace
        self.mean_weights, self.other_weights, self.voxel_size = mean_weights, other_weights, voxel_size
        self.smooth_mean, self.smooth = np.float32(smooth_mean), np.float32(smooth)
        self.ridge, self.axis_weight = np.float32(ridge), np.float32(axis_weight)
        self.unit = unit if axis_weight > 0 else None
        self.known = None if unit is None else unit.any(axis=0)

    def add(self, u: np.ndarray, out: np.ndarray) -> None:
        """Add the gradient of all terms at `u` to `out`."""
        mean = np.einsum("c,cxyz->xyz", self.trace, u)
        other = u - self.trace[:, None, None, None] * mean
        if self.smooth_mean > 0:
            g = smoothness(mean[np.newaxis], self.mean_weights, self.voxel_size)[0]
            g *= self.smooth_mean
            out += self.trace[:, None, None, None] * g
        if self.smooth > 0:
            g = smoothness(other, self.other_weights, self.voxel_size)
            g *= self.smooth
            out += g
        if self.ridge > 0:
            out += self.ridge * other
        if self.unit is not None:
            other -= self.unit * np.einsum("cxyz,cxyz->xyz", self.unit, other)
            other *= self.known
            other *= self.axis_weight
            out += other


@jit("void(i8, i8, f4[:,:,:,::1], f4[:,:,:,::1])")
def _apply_gram(start, stop, g, y):
    v = np.empty(6, np.float32)
    for i in range(start, stop):
        for j in range(y.shape[2]):
            for k in range(y.shape[3]):
                for c in range(6):
                    v[c] = np.float32(0)
                n = 0
                for a in range(6):
                    for b in range(a, 6):
                        w = g[n, i, j, k]
                        v[a] += w * y[b, i, j, k]
                        if b > a:
                            v[b] += w * y[a, i, j, k]
                        n += 1
                for c in range(6):
                    y[c, i, j, k] = v[c]


@jit("void(i8, i8, f4[:,:,:,::1], f4[:,:,::1], f4[::1], f4[:,:,:,::1])")
def _smooth(start, stop, x, m, ih2, out):
    parts, nx, ny, nz = x.shape
    for c in range(parts):
        for i in range(start, stop):
            for j in range(ny):
                for k in range(nz):
                    w, v, s = m[i, j, k], x[c, i, j, k], np.float32(0)
                    if w > 0:
                        if i > 0:
                            s += ih2[0] * min(w, m[i - 1, j, k]) * (v - x[c, i - 1, j, k])
                        if i + 1 < nx:
                            s += ih2[0] * min(w, m[i + 1, j, k]) * (v - x[c, i + 1, j, k])
                        if j > 0:
                            s += ih2[1] * min(w, m[i, j - 1, k]) * (v - x[c, i, j - 1, k])
                        if j + 1 < ny:
                            s += ih2[1] * min(w, m[i, j + 1, k]) * (v - x[c, i, j + 1, k])
                        if k > 0:
                            s += ih2[2] * min(w, m[i, j, k - 1]) * (v - x[c, i, j, k - 1])
                        if k + 1 < nz:
                            s += ih2[2] * min(w, m[i, j, k + 1]) * (v - x[c, i, j, k + 1])
                    out[c, i, j, k] = s
