"""ROMEO: phase unwrapping along the most reliable edges first."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.threads import slabs
from chimap.phase._echoes import unwrap_by
from chimap.phase._graph import TWO_PI, Graph, edge_costs, grow, join_regions
from chimap.registry import method
from chimap.types import Mask, Progress, Volume


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

    def spatial(graph: Graph, packed: np.ndarray, weights: np.ndarray, echo: int) -> np.ndarray:
        """One echo; its gradient is compared with the next echo's, unless echoes are to be independent."""
        other = None if individual or acq.echoes == 1 else echo + 1 if echo + 1 < acq.echoes else echo - 1
        return unwrap_packed(
            graph,
            packed[echo],
            weights[echo],
            None if other is None else packed[other],
            1.0 if other is None else acq.te_s[echo] / acq.te_s[other],
            linearity=linearity,
        )

    return unwrap_by(spatial, phase, mask, acq, magnitude, offset, template_echo, individual, progress)


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
