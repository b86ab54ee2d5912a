"""How uncertain a field is: thermal noise from the data themselves, and structure finer than a voxel."""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit, slabs
from chimap.phase._graph import TWO_PI, Graph


def thermal_sigma(
    graph: Graph, phase: np.ndarray, magnitude: np.ndarray, misfit: np.ndarray, freedom: int
) -> float:
    """Standard deviation of the noise in the real and imaginary part of the images, in units of magnitude.

    From the median over voxels of the sum of squared misfits m^2 r^2 of the echoes to the fitted field, which
    has `freedom` degrees of freedom; where that is 0, by the median second difference of the
    first echo's phase along the axis where it is smoothest.
    """
    if freedom > 0:
        # Median of chi^2 (Wilson and Hilferty).
        return float(np.sqrt(np.median(misfit) / (freedom * (1 - 2 / (9 * freedom)) ** 3)))
    found = []
    for a in range(3):
        middle = np.flatnonzero((graph.after[:, a] >= 0) & (graph.before[:, a] >= 0))
        if middle.size < 10:
            continue
        p = phase[0]
        second = p[graph.after[middle, a]] + p[graph.before[middle, a]] - 2 * p[middle]
        second -= np.float32(TWO_PI) * np.rint(second / np.float32(TWO_PI))
        found.append(float(np.median(np.abs(second) * magnitude[0][middle])) / 0.6745 / np.sqrt(6))
    return min(found, default=0.0)


def structure(graph: Graph, field: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Mean square second difference of a packed field over the three axes and 3 x 3 x 3 neighbours.

    `variance` is the noise of the field, whose share is taken off.
    """
    total = np.empty((2, graph.size), np.float32)
    slabs(_second_differences, graph.size, graph.after, graph.before, field, variance, total)
    spread = np.empty_like(total)
    for a in range(3):
        slabs(_box, graph.size, graph.after, graph.before, a, total, spread)
        total, spread = spread, total
    return np.maximum(total[0], 0) / np.maximum(total[1], 1) * 3


@jit("void(int64, int64, i4[:,::1], i4[:,::1], f4[::1], f4[::1], f4[:,::1])")
def _second_differences(start, stop, after, before, field, variance, out):
    for v in range(start, stop):
        total = 0.0
        count = 0
        for a in range(3):
            i = before[v, a]
            j = after[v, a]
            if i >= 0 and j >= 0:
                total += (field[i] + field[j] - 2 * field[v]) ** 2
                total -= 4 * variance[v] + variance[i] + variance[j]
                count += 1
        out[0, v] = total
        out[1, v] = count


@jit("void(int64, int64, i4[:,::1], i4[:,::1], i8, f4[:,::1], f4[:,::1])")
def _box(start, stop, after, before, a, x, out):
    for v in range(start, stop):
        for c in range(2):
            total = x[c, v]
            if after[v, a] >= 0:
                total += x[c, after[v, a]]
            if before[v, a] >= 0:
                total += x[c, before[v, a]]
            out[c, v] = total
