"""Learned unwrapping: a network judges every step between neighbours, and regions merge by its judgement."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.networks import session, tiles
from chimap.networks.session import Network
from chimap.phase._echoes import settle, unwrap_by
from chimap.phase._edge_channels import CLASSES, edge_channels
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase._merge import merge
from chimap.phase.regions import patches
from chimap.registry import method
from chimap.types import Mask, Progress, Volume

BINS = 8
"""Parts of the range -pi..pi; connected voxels of one part are a region."""
FLOOR = 0.05
"""Variance in squared turns of a step that the network is sure of."""


@method("unwrap", network=True, reference="10.1002/mrm.10354")
def learned(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    offset: Volume | None = None,
    model: str = "unwrap",
    template_echo: int = 1,
    individual: bool = False,
    progress: Progress | None = None,
) -> Volume:
    """Network: region merging, each pair of neighbours counted by what a U-Net says of the step between them.

    The difference of two neighbours, wrapped to -pi..pi, lacks a turn where the phase really changes by more than pi. From the
    steps around it, those of a second echo and the magnitude, a U-Net gives the probability that -1, 0 or 1 turns are lacking.
    Regions of equal phase then merge as in `regions`, the clearest interface first, but a pair of voxels asks for
    the turns that its phases and the expected lacking turns make up, with the weight of its magnitudes over the
    variance of the lacking turns. So the network only decides whole turns, and the result is the input plus
    multiples of 2 pi whatever it says.

    The other echoes follow from the template's in time, as ROMEO's do.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where to unwrap; it may have several parts.
    acq : Acquisition
        Echo times; the rest is compared with what the network was trained on.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit: a channel of the network, and the weights of the echoes.
    offset : (x, y, z) float32, optional
        Phase in rad at TE = 0, for the echoes' consistency in time. Without it, it is estimated by MCPC-3D-S.
    model : str
        Network that comes with the package, or the path of an ONNX file with the same channels.
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
        If there is no such template echo or no such network.

    References
    ----------
    Merging: Jenkinson, Magn Reson Med 2003, doi 10.1002/mrm.10354.

    Notes
    -----
    Of the voxels that `regions` gets wrong in a late echo by itself it repairs 2 to 9 of 100; with the echoes consistent in time
    both are alike. It was trained on random objects, no heads: see `chimap models unwrap`.
    """
    net = session.load(model)
    net.check(acq)

    def judged(graph: Graph, packed: np.ndarray, weights: np.ndarray, echo: int) -> np.ndarray:
        other = None if individual or acq.echoes == 1 else echo + 1 if echo + 1 < acq.echoes else echo - 1
        channels = edge_channels(
            _dense(graph, packed[echo]),
            _dense(graph, weights[echo]),
            graph.inside,
            None if other is None else _dense(graph, packed[other]),
            1.0 if other is None else acq.te_s[echo] / acq.te_s[other],
        )
        return unwrap_judged(graph, packed[echo], weights[echo], *_judgement(graph, net, channels))

    return unwrap_by(judged, phase, mask, acq, magnitude, offset, template_echo, individual, progress)


def unwrap_judged(
    graph: Graph, phase: np.ndarray, magnitude: np.ndarray, lacking: np.ndarray, spread2: np.ndarray
) -> np.ndarray:
    """Multiples of 2 pi (int32) that unwrap packed phase in space.

    `lacking` (voxel, 3) are the turns that the wrapped step to the next voxel of each axis is expected to lack, and
    `spread2` their variance.
    """
    whole = np.rint(phase / np.float32(TWO_PI)).astype(np.int32)
    turn = phase / np.float32(TWO_PI) - whole
    part = np.clip((turn + 0.5) * BINS, 0, BINS - 1).astype(np.uint8)
    label = np.empty(graph.size, np.int32)
    count = patches(graph.after, part, label)
    scale = float(np.mean(magnitude, dtype=np.float64)) or 1.0
    keys, sums = [], []
    for a in range(3):
        v = np.flatnonzero(graph.after[:, a] >= 0)
        w = graph.after[v, a]
        apart = label[v] != label[w]
        v, w = v[apart], w[apart]
        one, two = label[v], label[w]
        keys.append(np.minimum(one, two).astype(np.int64) * count + np.maximum(one, two))
        x, y = ((magnitude[i] / np.float32(scale)).astype(np.float64) ** 2 for i in (v, w))
        # Without any signal a pair still counts, a little.
        weight = (x * y / np.maximum(x + y, 1e-30) + 1e-9) / (FLOOR + spread2[v, a])
        gap = turn[v] - turn[w] + lacking[v, a]
        sums.append(np.stack([weight, weight * np.where(one > two, -gap, gap)]))
    key, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    values = np.concatenate(sums, axis=1)
    weight, gap = (np.bincount(inverse, values[n], key.size).astype(np.float64) for n in range(2))
    shift = np.zeros(count, np.int32)
    group = np.empty(count, np.int32)
    groups = merge((key // count).astype(np.int32), (key % count).astype(np.int32), weight, gap, shift, group)
    return settle(graph, phase, shift[label] - whole, group[label], groups)


def _judgement(graph: Graph, net: Network, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns that the step to the next voxel of each axis is expected to lack, and their variance: both (voxel, 3)."""
    logits = tiles.apply(net, channels, mask=graph.inside)
    lacking = np.empty((graph.size, 3), np.float32)
    spread2 = np.empty((graph.size, 3), np.float32)
    for a in range(3):
        own = np.stack([logits[CLASSES * a + n][graph.inside] for n in range(CLASSES)])
        own -= own.max(axis=0)
        np.exp(own, out=own)
        own /= own.sum(axis=0)
        lacking[:, a] = own[2] - own[0]
        spread2[:, a] = own[2] + own[0] - lacking[:, a] ** 2
    return lacking, spread2


def _dense(graph: Graph, values: np.ndarray) -> Volume:
    """Packed values on the box."""
    out = np.zeros(graph.inside.shape, np.float32)
    out[graph.inside] = values
    return out
