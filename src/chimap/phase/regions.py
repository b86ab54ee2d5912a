"""Region merging: patches without wraps, joined by their longest and clearest common borders first."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import jit
from chimap.phase._echoes import settle, unwrap_by
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase._merge import merge
from chimap.registry import method
from chimap.types import Mask, Progress, Volume


@method("unwrap", reference="10.1002/mrm.10354")
def regions(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    offset: Volume | None = None,
    bins: int = 8,
    template_echo: int = 1,
    individual: bool = False,
    progress: Progress | None = None,
) -> Volume:
    """Region merging, as PRELUDE: patches without wraps, the clearest pair of neighbours merged first.

    The range of the phase is cut into `bins`; connected voxels of the same bin form a region, inside which nothing
    can wrap. Between two regions A and B lie N pairs of neighbouring voxels, with phases a_i and b_i.
    Shifting B by M turns costs C(M) = sum_i w_i (a_i - b_i - 2 pi M)^2, least for the M nearest to the weighted mean
    of (a_i - b_i) / 2 pi. The pair whose second-best M costs most more than its best is merged first, its
    interfaces with all others are united, and so on until no regions touch. Weights
    w_i = m_a^2 m_b^2 / (m_a^2 + m_b^2) are the inverse variance of a difference of phases; without a
    magnitude they are 1, as in the paper.

    The other echoes follow from the template's in time, as ROMEO's do.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where to unwrap; it may have several parts.
    acq : Acquisition
        Echo times.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit: weights the interfaces and the echoes.
    offset : (x, y, z) float32, optional
        Phase in rad at TE = 0, for the echoes' consistency in time. Without it, it is estimated by MCPC-3D-S.
    bins : int
        Parts of the range -pi..pi, 2 to 100. More make smaller regions: safer where the phase is steep, slower.
        The paper takes 6, which joins too much in a late, noisy echo at 7 T; from 8 on little changes.
    template_echo : int
        Number of the echo unwrapped in space, from 1; the others follow by their echo times.
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
        If there is no such template echo, or for fewer than 2 or more than 100 bins.

    References
    ----------
    Jenkinson, Magn Reson Med 2003, doi 10.1002/mrm.10354.
    """
    if not 2 <= bins <= 100:
        raise InputError(f"{bins} bins of phase", fix="Give 2 to 100")

    def merged(graph: Graph, phases: np.ndarray, weights: np.ndarray, echo: int) -> np.ndarray:
        return unwrap_regions(graph, phases[echo], weights[echo], bins)

    return unwrap_by(merged, phase, mask, acq, magnitude, offset, template_echo, individual, progress)


def unwrap_regions(graph: Graph, phase: np.ndarray, magnitude: np.ndarray, bins: int) -> np.ndarray:
    """Multiples of 2 pi (int32) that unwrap packed phase in space."""
    whole = np.rint(phase / TWO_PI).astype(np.int32)
    wrapped = phase - np.float32(TWO_PI) * whole
    part = np.clip((wrapped / TWO_PI + 0.5) * bins, 0, bins - 1).astype(np.uint8)
    label = np.empty(graph.size, np.int32)
    count = patches(graph.after, part, label)
    first, second, weight, gap = interfaces(graph, wrapped, magnitude, label, count)
    shift = np.zeros(count, np.int32)
    group = np.empty(count, np.int32)
    groups = merge(first, second, weight, gap, shift, group)
    turns = shift[label]
    turns -= whole
    return settle(graph, phase, turns, group[label], groups)


def interfaces(
    graph: Graph, phase: np.ndarray, magnitude: np.ndarray, label: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of touching regions, first < second; sum of the weights and of the weighted differences in turns."""
    scale = float(np.mean(magnitude, dtype=np.float64)) or 1.0
    keys, sums = [], []
    for a in range(3):
        v = np.flatnonzero(graph.after[:, a] >= 0)
        w = graph.after[v, a]
        apart = label[v] != label[w]
        v, w = v[apart], w[apart]
        swap = label[v] > label[w]
        v, w = np.where(swap, w, v), np.where(swap, v, w)
        keys.append(label[v].astype(np.int64) * count + label[w])
        x, y = ((magnitude[i] / np.float32(scale)).astype(np.float64) ** 2 for i in (v, w))
        # Without any signal a pair still counts, a little.
        weight = x * y / np.maximum(x + y, 1e-30) + 1e-9
        sums.append(np.stack([weight, weight * (phase[v] - phase[w]) / TWO_PI]))
    key, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    values = np.concatenate(sums, axis=1)
    weight, gap = (np.bincount(inverse, values[n], key.size).astype(np.float64) for n in range(2))
    return (key // count).astype(np.int32), (key % count).astype(np.int32), weight, gap


@jit("i8(i4[:,::1], u1[::1], i4[::1])")
def patches(after, part, label):
    """Number (0, 1, ...) of each voxel's connected region of equal `part`; returns how many there are."""
    size = part.size
    for v in range(size):
        label[v] = v
    for v in range(size):
        for a in range(3):
            w = after[v, a]
            if w < 0 or part[w] != part[v]:
                continue
            # Union-find: the smaller index is the root; paths are halved on the way.
            i = v
            while label[i] != i:
                label[i] = label[label[i]]
                i = label[i]
            j = w
            while label[j] != j:
                label[j] = label[label[j]]
                j = label[j]
            if i < j:
                label[j] = i
            else:
                label[i] = j
    count = 0
    for v in range(size):
        # A root comes before all its voxels, which point to it or to one that is numbered already.
        if label[v] == v:
            label[v] = -1 - count
            count += 1
        else:
            label[v] = label[label[v]]
    for v in range(size):
        label[v] = -1 - label[v]
    return count
