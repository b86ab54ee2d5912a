"""Laplacian unwrapping: the smooth phase with the Laplacian of the wrapped one."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

from chimap.acquisition import Acquisition
from chimap.numerics.threads import get_threads, jit, slabs
from chimap.phase._echoes import components, settle, unwrap_by
from chimap.phase._graph import TWO_PI, Graph
from chimap.registry import method
from chimap.types import Mask, Progress, Volume

ENERGY_TOLERANCE = 1e-4
"""Where conjugate gradients stop: error in the energy norm, as a part of the solution's."""

MOST_ITERATIONS = 100


@method("unwrap", reference="10.1364/OL.28.001194")
def laplacian(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    offset: Volume | None = None,
    multiples: bool = True,
    template_echo: int = 1,
    individual: bool = False,
    progress: Progress | None = None,
) -> Volume:
    """Laplacian: the phase whose Laplacian is that of the wrapped phase, solved within the mask.

    Differences of neighbours, wrapped to -pi..pi, are the true ones wherever the phase changes by less than pi
    from voxel to voxel. Their divergence is the Laplacian of the unwrapped phase u, and they are also its flux at
    the border of the mask (Neumann's condition), so that nothing outside the mask enters:
    sum_n (u_n - u_v) / h_n^2 = sum_n wrap(phi_n - phi_v) / h_n^2 over the neighbours n of v in the mask, at distance
    h_n. This is also the least-squares fit to the differences. It is solved by conjugate gradients,
    preconditioned with the exact solution on the mask's bounding box by cosine transforms.

    Where steps of more than pi meet (noise, veins, over the sinuses) the differences contradict each other,
    and the solution spreads the contradiction over its surroundings: it is smoothed over, no longer congruent with the
    input, and its field is too weak near such places. With `multiples` the solution only chooses the multiple
    of 2 pi of each voxel, and steps may remain around them. Path-following methods are safer there.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where to unwrap; it may have several regions.
    acq : Acquisition
        Echo times and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit: weights the echoes (not the solution in space).
    offset : (x, y, z) float32, optional
        Phase in rad at TE = 0, for the echoes' consistency in time. Without it, it is estimated by MCPC-3D-S.
    multiples : bool
        Return the input plus true multiples of 2 pi; otherwise the smoothed-over solution itself.
    template_echo : int
        Number of the echo unwrapped in space, from 1; the others follow by their echo times. Without
        `multiples` each echo is solved by itself and this one only sets the global multiples of 2 pi.
    individual : bool
        Unwrap each echo in space by itself, without use of the echo times.
    progress : callable, optional
        Called after each echo.

    Returns
    -------
    (x, y, z, echo) float32
        Unwrapped phase in rad, 0 outside the mask.

    Raises
    ------
    InputError
        If there is no such template echo.

    References
    ----------
    Schofield and Zhu, Opt Lett 2003, doi 10.1364/OL.28.001194.
    """
    weights = np.array([(min(acq.voxel_size_mm) / v) ** 2 for v in acq.voxel_size_mm], np.float32)

    def rounded(graph: Graph, phases: np.ndarray, _: np.ndarray, echo: int) -> np.ndarray:
        region, count = components(graph)
        smooth = solve(graph, phases[echo], weights)
        # The solution is known up to a constant a region: the one that brings it nearest to multiples of 2 pi.
        rest = phases[echo] - smooth
        up, along = (np.bincount(region, f(rest), count + 1) for f in (np.sin, np.cos))
        smooth += np.arctan2(up, along).astype(np.float32)[region]
        turns = np.rint((smooth - phases[echo]) / TWO_PI).astype(np.int32)
        return settle(graph, phases[echo], turns, region, count)

    out = unwrap_by(rounded, phase, mask, acq, magnitude, offset, template_echo, individual, progress)
    if multiples:
        return out
    graph = Graph.of(mask)
    region, count = components(graph)
    voxels = np.maximum(np.bincount(region, minlength=count + 1), 1)
    packed = graph.pack(out)
    for e in range(acq.echoes):
        smooth = solve(graph, packed[e], weights)
        smooth += (np.bincount(region, packed[e] - smooth, count + 1) / voxels).astype(np.float32)[region]
        packed[e] = smooth
    return graph.unpack(packed)


def solve(graph: Graph, phase: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Packed least-squares solution of the wrapped differences of packed phase, each axis with its weight.

    Up to a constant in each connected region.
    """
    residual = np.empty_like(phase)
    slabs(divergence, graph.size, graph.after, graph.before, weights, phase, True, residual)
    residual *= -1  # the operator is minus the Laplacian, which is not negative
    out = np.zeros_like(phase)
    modes = box_modes(graph.inside.shape, weights)
    direction = np.zeros_like(phase)
    product = np.empty_like(phase)
    last = total = 0.0
    for n in range(MOST_ITERATIONS):
        better = on_the_box(graph, residual, modes)
        now = dot(residual, better)
        # Each step takes now^2 / curvature off the energy; their sum is the energy of the solution so far.
        if now <= (ENERGY_TOLERANCE**2) * total or now <= 0:
            break
        direction *= np.float32(now / last if n else 0.0)
        direction += better
        slabs(divergence, graph.size, graph.after, graph.before, weights, direction, False, product)
        curvature = -dot(direction, product)
        if curvature <= 0:
            break
        step = now / curvature
        out += np.float32(step) * direction
        residual += np.float32(step) * product
        total += step * now
        last = now
    return out


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Inner product, summed in double precision and in an order that no thread count changes."""
    return float(np.sum(a * b, dtype=np.float64))


def box_modes(shape: tuple[int, ...], weights: np.ndarray) -> np.ndarray:
    """One over the eigenvalues of minus the Laplacian of a box with no flux through its walls; 0 for the constant."""
    values = np.zeros(shape, np.float32)
    for a, n in enumerate(shape):
        line = float(weights[a]) * (2 - 2 * np.cos(math.pi * np.arange(n) / n))
        values += line.astype(np.float32).reshape([-1 if b == a else 1 for b in range(3)])
    values[0, 0, 0] = np.inf
    return 1 / values


def on_the_box(graph: Graph, values: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Packed solution of Poisson's equation on the whole box, for sources in the mask."""
    grid = np.zeros(graph.inside.shape, np.float32)
    grid[graph.inside] = values
    grid = scipy.fft.dctn(grid, workers=get_threads(), overwrite_x=True)
    grid *= modes
    return scipy.fft.idctn(grid, workers=get_threads(), overwrite_x=True)[graph.inside]


@jit("void(int64, int64, i4[:,::1], i4[:,::1], f4[::1], f4[::1], b1, f4[::1])")
def divergence(start, stop, after, before, weights, x, wrap, out):
    """Weighted sum of the differences to the neighbours, taken modulo 2 pi if `wrap`."""
    turn = 2 * math.pi
    for v in range(start, stop):
        total = 0.0
        for a in range(3):
            for side in range(2):
                w = after[v, a] if side == 0 else before[v, a]
                if w < 0:
                    continue
                d = float(x[w]) - float(x[v])
                if wrap:
                    d -= turn * math.floor(d / turn + 0.5)
                total += weights[a] * d
        out[v] = total
