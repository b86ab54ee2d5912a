"""ROMEO: phase unwrapping along the most reliable edges first."""

from __future__ import annotations

import math

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import jit, slabs
from chimap.phase._graph import TWO_PI, Graph, edge_costs, grow, join_regions
from chimap.registry import get, method
from chimap.types import Mask, Progress, Volume, silent


@method("unwrap", reference="10.1002/mrm.28563")
def romeo(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    offset: Volume | None = None,
    template_echo: int = 1,
    individual: bool = False,
    linearity: bool = False,
    progress: Progress | None = None,
) -> Volume:
    """ROMEO: region growing along the most reliable edges, all echoes consistent in time.

    The template echo is unwrapped in space: each edge between neighbours gets a quality from the coherence of the
    phase, of its gradient between two echoes and of the magnitude, quantised to 1..255, and regions grow along the
    best edges. The other echoes follow from it in time: with the receiver phase offset phi_0 removed, echo e gets the
    multiple of 2 pi nearest to TE_e times the weighted slope of the echoes unwrapped before it.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where to unwrap; it may have several regions.
    acq : Acquisition
        Echo times.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit: steers the path and weights the echoes.
    offset : (x, y, z) float32, optional
        Phase in rad at TE = 0. Without it, it is estimated by MCPC-3D-S where there are two echoes or more.
        It only guides the choice of the multiples of 2 pi: the result is `phase` plus such multiples.
    template_echo : int
        Number of the echo unwrapped in space, from 1.
    individual : bool
        Unwrap each echo in space by itself, without use of the echo times.
    linearity : bool
        Also weight edges by the second difference of the phase: steadier in smooth fields, worse at edges.
    progress : callable, optional
        Called after each echo.

    Returns
    -------
    (x, y, z, echo) float32
        Unwrapped phase in rad, 0 outside the mask. The median of each echo is within pi of 0 (of the template's
        prediction, for the others).

    Raises
    ------
    InputError
        If there is no such template echo.

    References
    ----------
    Dymerska et al., Magn Reson Med 2021, doi 10.1002/mrm.28563.
    """
    report = progress or silent
    echoes = phase.shape[3]
    if not 1 <= template_echo <= echoes:
        raise InputError(
            f"template echo {template_echo} does not exist", fix=f"Give a number from 1 to {echoes}"
        )
    if offset is None and echoes > 1 and not individual:
        offset = get("offset", "mcpc3ds")(phase, mask, acq, magnitude=magnitude)
    graph = Graph.of(mask)
    packed = graph.pack(phase)
    weights = packed_magnitude(graph, magnitude, echoes)
    if individual:
        turns = np.empty(packed.shape, np.int32)
        for e in range(echoes):
            turns[e] = unwrap_packed(graph, packed[e], weights[e], linearity=linearity)
            report(e + 1, echoes)
    else:
        free = packed if offset is None else packed - graph.pack(offset)
        turns = unwrap_echoes(graph, free, weights, acq.te_s, template_echo - 1, linearity=linearity)
        del free
        report(echoes, echoes)
    del weights
    for e in range(echoes):
        packed[e] += np.float32(TWO_PI) * turns[e]
    del turns
    return graph.unpack(packed)


def packed_magnitude(graph: Graph, magnitude: Volume | None, echoes: int) -> np.ndarray:
    """Magnitude as packed (echo, voxel): ones without one, the same for all echoes of a 3-D one."""
    if magnitude is None:
        return np.ones((echoes, graph.size), np.float32)
    if magnitude.ndim == 3:
        return np.tile(graph.pack(magnitude), (echoes, 1))
    if magnitude.shape[3] != echoes:
        raise InputError(f"magnitude has {magnitude.shape[3]} echoes but phase {echoes}")
    return graph.pack(magnitude)


def unwrap_packed(
    graph: Graph,
    phase: np.ndarray,
    magnitude: np.ndarray | None,
    other: np.ndarray | None = None,
    ratio: float = 1.0,
    *,
    linearity: bool = False,
) -> np.ndarray:
    """Multiples of 2 pi (int32) that unwrap packed phase in space.

    `other` is the phase of another echo and `ratio` the echo time over that echo's.
    """
    cost = np.empty((graph.size, 3), np.uint8)
    use = (other is not None) + 2 * linearity + 4 * (magnitude is not None)
    slabs(
        edge_costs,
        graph.size,
        graph.after,
        graph.before,
        phase,
        phase if other is None else other,
        ratio,
        phase if magnitude is None else np.ascontiguousarray(magnitude),
        use,
        cost,
    )
    # The tree of best edges hardly depends on where it starts: any voxel with three good edges will do.
    seed = int(np.where(cost > 0, cost, 255).sum(axis=1, dtype=np.int32).argmin())
    turns = np.empty(graph.size, np.int32)
    region = np.zeros(graph.size, np.int32)
    count = grow(seed, cost, graph.after, graph.before, phase, turns, region)
    join_regions(graph, phase, turns, region, count)
    turns -= round(float(np.median(phase + np.float32(TWO_PI) * turns)) / TWO_PI)
    return turns


def unwrap_echoes(
    graph: Graph,
    phase: np.ndarray,
    magnitude: np.ndarray,
    te_s: tuple[float, ...],
    template: int,
    *,
    linearity: bool = False,
) -> np.ndarray:
    """Multiples of 2 pi (int32) of all echoes of packed phase without offset: the template in space, the rest in time."""
    echoes = len(te_s)
    turns = np.empty(phase.shape, np.int32)
    other = None if echoes == 1 else template + 1 if template + 1 < echoes else template - 1
    turns[template] = unwrap_packed(
        graph,
        phase[template],
        magnitude[template],
        None if other is None else phase[other],
        1.0 if other is None else te_s[template] / te_s[other],
        linearity=linearity,
    )
    if echoes > 1:
        turns[template] += common_turns(phase, magnitude, te_s, turns[template], template)
    order = np.array([template, *range(template + 1, echoes), *range(template - 1, -1, -1)], np.int64)
    slabs(follow, graph.size, phase, np.ascontiguousarray(magnitude), np.asarray(te_s), order, turns)
    return turns


def common_turns(
    phase: np.ndarray, magnitude: np.ndarray, te_s: tuple[float, ...], turns: np.ndarray, template: int
) -> int:
    """The multiple of 2 pi to add to the whole template echo so that the other echoes fit a line through TE = 0.

    Where several fit alike (echo times that are multiples of the template's), the one nearest to a field of 0.
    """
    some = slice(None, None, max(1, phase.shape[1] // 20000))
    unwrapped = phase[template, some] + np.float32(TWO_PI) * turns[some]
    middle = float(np.median(unwrapped))
    weight = magnitude[:, some] ** 2
    # All choices closer to a field of 0 than the echo spacing could tell apart, the nearest first.
    shortest = min(b - a for a, b in zip((0.0, *te_s), te_s))
    most = math.ceil(te_s[template] / shortest / 2) + 1
    choices = sorted(range(-most, most + 1), key=lambda n: abs(middle + TWO_PI * n))
    misfits = []
    for n in choices:
        field = (unwrapped + np.float32(TWO_PI * n)) / np.float32(te_s[template])
        misfit = [
            w * (1 - np.cos(p - field * np.float32(t))) for p, w, t in zip(phase[:, some], weight, te_s)
        ]
        misfits.append(float(np.sum(misfit, dtype=np.float64)))
    enough = 1.1 * min(misfits) + 1e-3 * float(weight.sum(dtype=np.float64))
    return next(n for n, m in zip(choices, misfits) if m <= enough)


@jit("void(int64, int64, f4[:,::1], f4[:,::1], f8[::1], i8[::1], i4[:,::1])")
def follow(start, stop, phase, magnitude, te, order, turns):
    """Unwrap echoes in time, in the given order, each by the weighted slope of those before it."""
    scale = 1 / (2 * math.pi)
    for v in range(start, stop):
        top = 0.0
        bottom = 0.0
        for n in range(order.size):
            e = order[n]
            p = phase[e, v] * scale
            if n > 0 and bottom > 0:
                turns[e, v] = math.floor(top / bottom * te[e] - p + 0.5)
            # Without any signal so far the echo still counts, a little.
            weight = float(magnitude[e, v]) ** 2 + 1e-30
            top += weight * te[e] * (p + turns[e, v])
            bottom += weight * te[e] * te[e]
