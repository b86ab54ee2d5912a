"""How far the unwrapping of each voxel can be trusted."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.phase._echoes import packed_magnitude
from chimap.phase._graph import TWO_PI, Graph
from chimap.registry import as_mask, as_volume, inside
from chimap.types import Mask, Volume

MISFIT_RAD = 0.3
"""Root mean square misfit over the echoes at which the temporal part has fallen to exp(-1/2).

Noise at a signal-to-noise ratio of 10 makes 0.1 rad, one echo of four that is 2 pi off 1.6 to 2.3 rad.
"""


def reliability(
    unwrapped: Volume, phase: Volume, mask: Mask, acq: Acquisition, magnitude: Volume | None = None
) -> Volume:
    """Reliability of unwrapped phase in each voxel: how well it fits its echoes and its neighbours.

    R = exp(-r^2 / (2 s^2)) (1 - q), with s = 0.3 rad.

    r is the root mean square misfit, in rad and weighted by m^2, of the voxel's echoes to the straight line through
    them (slope and intercept free, so that a receiver phase offset does not count). It needs three echoes; with fewer,
    r = 0.

    q is the density of steps: the mean, over the voxel's neighbours along the axes and all echoes, weighted by the smaller
    m^2 of the two, of min(1, |(u_n - u_v) - wrap(phi_n - phi_v)| / 2 pi), where u is the unwrapped phase and
    wrap takes the difference of the wrapped phase phi into -pi..pi. It is 0 where the unwrapped phase follows
    the wrapped one, 1 where a voxel stands apart from all neighbours. A true change of more than pi between two
    voxels counts too: there no method can know.

    Voxels without any signal have R = 0, those without neighbours or with fewer than three echoes only the other part.
    Neither part sees a large region that is wrong by the same multiple of 2 pi in a way that all its echoes agree
    with; only its border shows.

    Parameters
    ----------
    unwrapped : (x, y, z) or (x, y, z, echo) float32
        Unwrapped phase in rad, by any method.
    phase : the same shape
        Wrapped phase in rad that it came from.
    mask : (x, y, z) bool
        Where it was unwrapped.
    acq : Acquisition
        Echo times.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit. Without it all voxels and echoes weigh the same.

    Returns
    -------
    (x, y, z) float32
        0 (lost) to 1 (nothing speaks against it); 0 outside the mask.

    Raises
    ------
    InputError
        If shapes or the number of echoes do not match, or for NaN or infinity inside the mask.
    """
    volumes = [as_volume(v, n, 4) for v, n in ((unwrapped, "unwrapped"), (phase, "phase"))]
    for v, n in zip(volumes, ("unwrapped phase", "phase")):
        if v.shape != (*volumes[0].shape[:3], acq.echoes):
            raise InputError(f"{n} has shape {v.shape}; {(*volumes[0].shape[:3], acq.echoes)} is expected")
    mask = as_mask(mask, volumes[0].shape[:3])
    graph = Graph.of(mask)
    u, p = (graph.pack(inside(v, mask, n)) for v, n in zip(volumes, ("unwrapped", "phase")))
    if magnitude is not None:
        magnitude = as_volume(magnitude, "magnitude", np.ndim(magnitude))
        if magnitude.shape[:3] != mask.shape:
            raise InputError(f"magnitude has shape {magnitude.shape[:3]} but the mask {mask.shape}")
        magnitude = inside(magnitude, mask, "magnitude")
    weight = packed_magnitude(graph, magnitude, acq.echoes) ** 2
    trust = np.exp(-misfit(u, weight, acq.te_s) / np.float32(2 * MISFIT_RAD**2))
    trust *= 1 - step_density(graph, u, p, weight)
    trust[weight.max(axis=0) == 0] = 0
    return graph.unpack(trust)


def misfit(unwrapped: np.ndarray, weight: np.ndarray, te_s: tuple[float, ...]) -> np.ndarray:
    """Weighted mean square misfit in rad^2 of packed (echo, voxel) phase to a line over the echo times."""
    if len(te_s) < 3:
        return np.zeros(unwrapped.shape[1], np.float32)
    total = np.maximum(weight.sum(axis=0), np.float32(1e-30))
    te = np.asarray(te_s, np.float32)[:, None] / np.float32(te_s[-1])
    t = te - (weight * te).sum(axis=0) / total
    u = unwrapped - (weight * unwrapped).sum(axis=0) / total
    slope = (weight * t * u).sum(axis=0) / np.maximum((weight * t * t).sum(axis=0), np.float32(1e-30))
    u -= slope * t
    return (weight * u * u).sum(axis=0) / total


def step_density(graph: Graph, unwrapped: np.ndarray, phase: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Packed weighted mean over neighbours and echoes of the part of 2 pi by which differences disagree."""
    steps = np.zeros(graph.size, np.float32)
    total = np.zeros(graph.size, np.float32)
    for a in range(3):
        v = np.flatnonzero(graph.after[:, a] >= 0)
        n = graph.after[v, a]
        for u, p, w in zip(unwrapped, phase, weight):
            turns = (p[n] - p[v]) / np.float32(TWO_PI)
            turns -= np.rint(turns)
            turns -= (u[n] - u[v]) / np.float32(TWO_PI)
            both = np.minimum(w[n], w[v])
            step = both * np.minimum(np.abs(turns), 1)
            for end in (v, n):  # each voxel is at most once the first and once the second end on an axis
                steps[end] += step
                total[end] += both
    return steps / np.maximum(total, np.float32(1e-30))
