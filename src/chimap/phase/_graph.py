"""The voxels of a mask as a graph: packed values, neighbours, and unwrapping by growing along the best edges.

Values are packed, one a mask voxel in C order, because a brain fills a fifth of its image: it saves that much
memory and time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from chimap.numerics.box import Box
from chimap.numerics.threads import jit
from chimap.types import Mask, Volume

TWO_PI = 2 * math.pi


@dataclass(frozen=True)
class Graph:
    """Mask voxels and their neighbours along the axes.

    `after[v, a]` and `before[v, a]` are the packed indices of the neighbours of voxel `v` along axis `a`
    (int32, -1: none); `inside` is the mask within the box.
    """

    box: Box
    inside: Mask
    after: np.ndarray
    before: np.ndarray

    @classmethod
    def of(cls, mask: Mask) -> Graph:
        """The graph of a mask (x, y, z)."""
        box = Box.around(mask, fast=False)
        inside = np.ascontiguousarray(mask[box.inner])
        padded = np.full([n + 2 for n in inside.shape], -1, np.int32)
        core = padded[1:-1, 1:-1, 1:-1]
        core[inside] = np.arange(np.count_nonzero(inside), dtype=np.int32)
        after = np.empty((np.count_nonzero(inside), 3), np.int32)
        before = np.empty_like(after)
        for a in range(3):
            for out, step in ((after, 1), (before, -1)):
                view = [slice(1, -1)] * 3
                view[a] = slice(1 + step, padded.shape[a] - 1 + step)
                out[:, a] = padded[tuple(view)][inside]
        return cls(box, inside, after, before)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return self.after.shape[0]

    def pack(self, volume: Volume) -> np.ndarray:
        """The mask voxels of (x, y, z) as float32 (voxel,), or of (x, y, z, echo) as (echo, voxel)."""
        if volume.ndim == 3:
            return volume[self.box.inner][self.inside].astype(np.float32, copy=False)
        out = np.empty((volume.shape[3], self.size), np.float32)
        for e in range(volume.shape[3]):
            out[e] = volume[..., e][self.box.inner][self.inside]
        return out

    def unpack(self, values: np.ndarray) -> Volume:
        """The inverse of `pack`, zero outside the mask."""
        stack = np.zeros((*values.shape[:-1], *self.box.full), np.float32)
        for out, packed in zip(stack.reshape(-1, *self.box.full), values.reshape(-1, self.size), strict=True):
            out[self.box.inner][self.inside] = packed
        return np.moveaxis(stack, 0, 3) if values.ndim == 2 else stack

    def coordinates(self, voxels: np.ndarray) -> np.ndarray:
        """Grid coordinates within the box, (n, 3), of packed voxel indices."""
        flat = np.flatnonzero(self.inside)[voxels]
        return np.stack(np.unravel_index(flat, self.inside.shape), axis=1)


@jit("void(int64, int64, i4[:,::1], i4[:,::1], f4[::1], f4[::1], f8, f4[::1], i8, u1[:,::1])")
def edge_costs(start, stop, after, before, phase, other, ratio, magnitude, use, cost):
    """Cost 1 (best) to 255 of the edge from each voxel to its next neighbour on each axis; 0 for no edge.

    `other` is the phase of a second echo, `ratio` TE/TE_other. Bits of `use`: 1 gradient coherence
    between the echoes, 2 phase linearity, 4 magnitude coherence.
    """
    scale = 1 / (2 * math.pi)
    for v in range(start, stop):
        for a in range(3):
            w = after[v, a]
            if w < 0:
                cost[v, a] = 0
                continue
            d = (phase[w] - phase[v]) * scale
            d -= math.floor(d + 0.5)
            quality = 1 - 2 * abs(d)
            if use & 1:
                g = (other[w] - other[v]) * scale
                g -= math.floor(g + 0.5)
                quality *= max(0.0, 1 - abs(d - g * ratio) * 2 * math.pi)
            if use & 2:
                for end in range(2):
                    i = before[v, a] if end == 0 else after[w, a]
                    if i < 0:
                        continue
                    s = (phase[v] - phase[i]) * scale if end == 0 else (phase[i] - phase[w]) * scale
                    s = d - s
                    s -= math.floor(s + 0.5)
                    quality *= 1 - abs(s)
            if use & 4:
                low = min(magnitude[v], magnitude[w])
                high = max(magnitude[v], magnitude[w])
                quality *= (low / high) ** 2 if high > 0 else 0.0
            cost[v, a] = 1 + int(254 * (1 - quality) + 0.5)


@jit("i4(i4, u1[:,::1], i4[:,::1], i4[:,::1], f4[::1], i4[::1], i4[::1])")
def grow(seed, cost, after, before, phase, turns, region):
    """Unwrap outwards from `seed` along the cheapest edges, then from any voxel not yet reached.

    Fills `turns`, the multiple of 2 pi to add to each voxel, and `region`, the number of the connected
    region (1, 2, ...); returns how many regions there are. `region` must come in as zeros.
    """
    size = phase.size
    head = np.full(256, -1, np.int32)
    tail = np.full(256, -1, np.int32)
    link = np.empty(3 * size, np.int32)
    scale = 1 / (2 * math.pi)
    regions = 0
    scan = 0
    v = seed
    while True:
        regions += 1
        region[v] = regions
        turns[v] = 0
        lowest = 256
        while True:
            # Edges of the voxel just reached; each enters the queue once, when its first end is reached.
            for a in range(3):
                for side in range(2):
                    e = v if side == 0 else before[v, a]
                    w = after[v, a] if side == 0 else e
                    if w < 0 or region[w] > 0:
                        continue
                    c = cost[e, a]
                    e = 3 * e + a
                    link[e] = -1
                    if head[c] < 0:
                        head[c] = e
                    else:
                        link[tail[c]] = e
                    tail[c] = e
                    lowest = min(lowest, c)
            u = -1
            while lowest < 256:
                e = head[lowest]
                if e < 0:
                    lowest += 1
                    continue
                head[lowest] = link[e]
                u = e // 3
                a = e - 3 * u
                v = after[u, a]
                if region[u] == 0:
                    u, v = v, u
                if region[v] == 0:
                    break
                u = -1
            if u < 0:
                break
            region[v] = regions
            turns[v] = turns[u] + math.floor((phase[u] - phase[v]) * scale + 0.5)
        while scan < size and region[scan] > 0:
            scan += 1
        if scan == size:
            return regions
        v = scan


def join_regions(graph: Graph, phase: np.ndarray, turns: np.ndarray, region: np.ndarray, count: int) -> None:
    """Shift each region by the multiple of 2 pi that brings it nearest to the largest region's closest voxels.

    Changes `turns` in place.
    """
    if count < 2:
        return
    sizes = np.bincount(region, minlength=count + 1)
    main = int(sizes.argmax())
    edge = ((graph.after < 0) | (graph.before < 0)).any(axis=1)
    target = np.flatnonzero(edge & (region == main))
    others = np.flatnonzero(edge & (region != main))
    _, nearest = cKDTree(graph.coordinates(target)).query(graph.coordinates(others), workers=1)
    full = phase + np.float32(TWO_PI) * turns
    gap = (full[target[nearest]] - full[others]) / TWO_PI
    order = np.lexsort((gap, region[others]))
    labels = region[others][order]
    first = np.searchsorted(labels, np.arange(count + 1))
    last = np.searchsorted(labels, np.arange(count + 1), side="right")
    middle = np.minimum((first + last) // 2, max(order.size - 1, 0))
    shift = np.where(last > first, np.rint(gap[order][middle]), 0).astype(np.int32)
    turns += shift[region]
