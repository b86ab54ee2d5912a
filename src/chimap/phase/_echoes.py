"""All echoes from a method that unwraps one of them in space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import slabs
from chimap.phase._graph import TWO_PI, Graph, join_regions
from chimap.phase.romeo import common_turns, follow, packed_magnitude
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
        report(acq.echoes, acq.echoes)
    for e in range(acq.echoes):
        packed[e] += np.float32(TWO_PI) * turns[e]
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
