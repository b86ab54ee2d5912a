"""MCPC-3D-S: the receiver phase offset from two echoes."""

from __future__ import annotations

import itertools
import math

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase.romeo import unwrap_packed
from chimap.registry import method
from chimap.types import Mask, Progress, Volume


@method("offset", reference="10.1002/mrm.26963")
def mcpc3ds(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    smoothing_mm: float = 10.0,
    order: int = 3,
    progress: Progress | None = None,
) -> Volume:
    """MCPC-3D-S: phase offset at TE = 0 from the first two echoes, smoothed.

    phi_0 = phi_1 - TE_1 / (TE_2 - TE_1) unwrap(arg(S_2 S_1*)), averaged as a complex number with the weights
    |S_1 S_2| by a Gaussian inside the mask. A polynomial is taken out before smoothing and put back after,
    since smoothing alone is biased where the offset is curved and at the border of the mask. A single echo cannot tell the offset from the field: 0 is returned.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where the phase is valid.
    acq : Acquisition
        Echo times and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit, as weight.
    smoothing_mm : float
        Standard deviation of the Gaussian in mm.
    order : int
        Degree of the polynomial that takes up the large-scale part before smoothing, 0 to 6.
    progress : callable, optional
        Called at the end.

    Returns
    -------
    (x, y, z) float32
        Phase offset in rad, in -pi..pi, 0 outside the mask.

    References
    ----------
    Eckstein et al., Magn Reson Med 2018, doi 10.1002/mrm.26963.
    """
    if not smoothing_mm >= 0:
        raise InputError(f"smoothing_mm is {smoothing_mm}", fix="Give 0 or more")
    if not 0 <= order <= 6:
        raise InputError(f"order is {order}", fix="Give 0 to 6")
    if phase.shape[3] == 1:
        return np.zeros(mask.shape, np.float32)
    graph = Graph.of(mask)
    first, second = graph.pack(phase[..., 0]), graph.pack(phase[..., 1])
    weight = np.ones(graph.size, np.float32)
    if magnitude is not None:
        pair = (magnitude, magnitude) if magnitude.ndim == 3 else (magnitude[..., 0], magnitude[..., 1])
        weight = graph.pack(pair[0]) * graph.pack(pair[1])
    difference = second - first
    difference -= np.float32(TWO_PI) * np.rint(difference / np.float32(TWO_PI))
    turns = unwrap_packed(graph, difference, np.sqrt(weight))
    difference += np.float32(TWO_PI) * turns
    start = first - np.float32(acq.te_s[0] / (acq.te_s[1] - acq.te_s[0])) * difference
    del first, second, difference
    weight /= weight.max() or 1
    weight += np.float32(1e-6)
    result = smooth_phase(graph, start, weight, [smoothing_mm / d for d in acq.voxel_size_mm], order)
    if progress is not None:
        progress(1, 1)
    return graph.unpack(result)


def smooth_phase(
    graph: Graph, phase: np.ndarray, weight: np.ndarray, sigma: list[float], order: int
) -> np.ndarray:
    """Packed phase smoothed as a complex number: a polynomial plus what a Gaussian leaves of the rest.

    The Gaussian alone would be biased where the phase is curved and one-sided at the border of the mask.
    """
    trend = polynomial(graph, phase, weight, order)
    rest = np.exp(1j * (phase - trend))
    rest *= weight
    grid = np.zeros(graph.inside.shape, np.complex64)
    grid[graph.inside] = rest
    del rest
    trend += np.angle(blur(grid, sigma)[graph.inside])
    return trend - np.float32(TWO_PI) * np.rint(trend / np.float32(TWO_PI))


def polynomial(graph: Graph, phase: np.ndarray, weight: np.ndarray, order: int) -> np.ndarray:
    """Packed polynomial of total degree `order` nearest to the phase modulo 2 pi.

    Its slope comes from the wrapped differences of neighbours, so the phase needs no unwrapping.
    """
    powers = [p for p in itertools.product(range(order + 1), repeat=3) if sum(p) <= order]
    axes = [(np.arange(n) - (n - 1) / 2) * (2 / max(graph.inside.shape)) for n in graph.inside.shape]

    def basis(voxels: np.ndarray) -> np.ndarray:
        at = graph.coordinates(voxels)
        x, y, z = (np.vander(axes[a][at[:, a]], order + 1, increasing=True) for a in range(3))
        return np.stack([x[:, i] * y[:, j] * z[:, k] for i, j, k in powers], axis=1)

    some = np.arange(0, graph.size, max(1, graph.size // 20000))
    normal = np.zeros((len(powers), len(powers)))
    right = np.zeros(len(powers))
    for a in range(3):
        v = some[graph.after[some, a] >= 0]
        w = graph.after[v, a]
        slope = basis(w) - basis(v)
        step = phase[w] - phase[v]
        step -= np.float32(TWO_PI) * np.rint(step / np.float32(TWO_PI))
        both = np.minimum(weight[v], weight[w]).astype(np.float64)
        normal += slope.T @ (both[:, None] * slope)
        right += slope.T @ (both * step)
    coefficients = _solve(normal, right)
    near, w = basis(some), weight[some].astype(np.float64)
    normal = near.T @ (w[:, None] * near)
    for _ in range(3):
        rest = np.exp(1j * (phase[some] - near @ coefficients)) * w
        middle = np.angle(rest.sum())
        coefficients += _solve(normal, near.T @ (w * np.angle(rest * np.exp(-1j * middle))))
        coefficients[0] += middle
    terms = np.zeros((order + 1,) * 3)
    for power, c in zip(powers, coefficients, strict=True):
        terms[power] = c
    for a in range(3):
        terms = np.tensordot(terms, np.vander(axes[a], order + 1, increasing=True), (0, 1)).astype(np.float32)
    return terms[graph.inside]


def _solve(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    # Flat or tiny masks leave some terms undetermined; those stay 0.
    return np.linalg.lstsq(normal, right, rcond=1e-10)[0]


def blur(grid: np.ndarray, sigma: list[float]) -> np.ndarray:
    """Complex volume smoothed by a Gaussian of `sigma` voxels on each axis, up to a positive factor.

    It is evaluated every sigma / 2 and interpolated linearly in between.
    """
    up = []
    for axis, s in enumerate(sigma):
        n = grid.shape[axis]
        if s < 1 or n == 1:
            continue
        step = (n - 1) / max(1, math.ceil((n - 1) / max(1.0, s / 2)))
        at = np.arange(0, n - 1 + step / 2, step)
        i = np.arange(n)
        down = np.exp(-0.5 * ((at[:, None] - i) / s) ** 2).astype(np.float32)
        hat = np.maximum(0, 1 - abs(i[:, None] - at) / step).astype(np.float32)
        up.append((axis, hat))
        grid = _along(down, grid, axis)
    for axis, hat in reversed(up):
        grid = _along(hat, grid, axis)
    return grid


def _along(matrix: np.ndarray, grid: np.ndarray, axis: int) -> np.ndarray:
    """Matrix times the volume along one axis."""
    return np.moveaxis(np.tensordot(matrix.astype(np.complex64), grid, (1, axis)), 0, axis)
