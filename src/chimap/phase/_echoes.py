"""All echoes from a method that unwraps one of them in space."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import jit, slabs
from chimap.phase._graph import TWO_PI, Graph, join_regions
from chimap.registry import get
from chimap.types import Mask, Progress, Volume, silent

Spatial = Callable[[Graph, np.ndarray, np.ndarray, int], np.ndarray]
"""(graph, packed phase, packed magnitude, index of the echo) -> multiples of 2 pi of that echo, int32 (voxel,)."""


def unwrap_by(
    spatial: Spatial,
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    magnitude: Volume | None,
    offset: Volume | None,
    template_echo: int,
    individual: bool,
    progress: Progress | None,
) -> Volume:
    """Phase plus multiples of 2 pi: the template echo by `spatial`, the others by the echo times, as ROMEO does.

    With `individual` every echo goes through `spatial`, and only the global multiple of 2 pi is left to
    its median, which lies within pi of 0.
    """
    report = progress or silent
    if not 1 <= template_echo <= acq.echoes:
        raise InputError(
            f"template echo {template_echo} does not exist", fix=f"Give a number from 1 to {acq.echoes}"
        )
    graph = Graph.of(mask)
    packed = graph.pack(phase)
    weights = packed_magnitude(graph, magnitude, acq.echoes)
    if individual:
        turns = np.empty(packed.shape, np.int32)
        for e in range(acq.echoes):
            turns[e] = spatial(graph, packed, weights, e)
            report(e + 1, acq.echoes)
    else:
        free = without_offset(graph, packed, phase, mask, acq, magnitude, offset)
        turns = in_time(spatial, graph, free, weights, acq.te_s, template_echo - 1)
        del free
        report(acq.echoes, acq.echoes)
    del weights  # the result, as large as the input, comes next
    for e in range(acq.echoes):
        packed[e] += np.float32(TWO_PI) * turns[e]
    del turns
    return graph.unpack(packed)


def without_offset(
    graph: Graph,
    packed: np.ndarray,
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    magnitude: Volume | None,
    offset: Volume | None,
) -> np.ndarray:
    """Packed phase less its offset at TE = 0, by MCPC-3D-S where none is given and there are two echoes."""
    if offset is None and acq.echoes > 1:
        offset = get("offset", "mcpc3ds")(phase, mask, acq, magnitude=magnitude)
    return packed if offset is None else packed - graph.pack(offset)


def in_time(
    spatial: Spatial,
    graph: Graph,
    phase: np.ndarray,
    magnitude: np.ndarray,
    te_s: tuple[float, ...],
    template: int,
) -> np.ndarray:
    """Multiples of 2 pi (int32) of all echoes of packed phase without offset: the template by `spatial`, the rest in time."""
    turns = np.empty(phase.shape, np.int32)
    turns[template] = spatial(graph, phase, magnitude, template)
    if len(te_s) > 1:
        turns[template] += common_turns(phase, magnitude, te_s, turns[template], template)
    order = np.array([template, *range(template + 1, len(te_s)), *range(template - 1, -1, -1)], np.int64)
    slabs(follow, graph.size, phase, np.ascontiguousarray(magnitude), np.asarray(te_s), order, turns)
    return turns


def components(graph: Graph) -> tuple[np.ndarray, int]:
    """The connected region (1, 2, ...; int32) of each voxel, by shared faces, and how many there are."""
    labels, count = ndimage.label(graph.inside, output=np.int32)
    return labels[graph.inside], count


def settle(graph: Graph, phase: np.ndarray, turns: np.ndarray, region: np.ndarray, count: int) -> np.ndarray:
    """`turns` with the regions brought next to each other and the median of the unwrapped phase within pi of 0."""
    join_regions(graph, phase, turns, region, count)
    turns -= round(float(np.median(phase + np.float32(TWO_PI) * turns)) / TWO_PI)
    return turns


def packed_magnitude(graph: Graph, magnitude: Volume | None, echoes: int) -> np.ndarray:
    """Magnitude as packed (echo, voxel): ones without one, the same for all echoes of a 3-D one."""
    if magnitude is None:
        return np.ones((echoes, graph.size), np.float32)
    if magnitude.ndim == 3:
        return np.tile(graph.pack(magnitude), (echoes, 1))
    if magnitude.shape[3] != echoes:
        raise InputError(f"magnitude has {magnitude.shape[3]} echoes but phase {echoes}")
    return graph.pack(magnitude)


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
