"""Veins and small lesions: tubes and blobs painted into a label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.interpolate import CubicSpline

from chimap.simulate.anatomy import GRID, Forms
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Lattice:
    """Where the voxel centres of a regular grid lie, in mm."""

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    voxel_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.axes[0]), len(self.axes[1]), len(self.axes[2])

    def balls(self, points: np.ndarray, radius_mm: np.ndarray) -> tuple[np.ndarray, ...]:
        """Indices of the voxels whose centre lies in one of the balls; at least the nearest voxel of each."""
        out = []
        origin = np.array([a[0] for a in self.axes])
        size = np.array(self.voxel_mm)
        for r in np.unique(radius_mm):
            p = points[radius_mm == r]
            nearest = np.rint((p - origin) / size).astype(np.int32)
            reach = np.ceil(r / size).astype(int)
            steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(
                -1, 3
            )
            for block in np.array_split(np.arange(len(p)), max(1, len(p) * len(steps) // 2_000_000)):
                index = nearest[block][:, None, :] + steps
                inside = ((index * size + origin - p[block][:, None, :]) ** 2).sum(-1) <= r * r
                inside |= (steps == 0).all(-1)
                inside &= ((index >= 0) & (index < self.shape)).all(-1)
                out.append(index[inside])
        index = np.concatenate(out)
        return index[:, 0], index[:, 1], index[:, 2]


def _on_level(
    field: Volume, gradient: list[Volume], points: np.ndarray, level: float, steps: int = 10
) -> np.ndarray:
    """Points moved along the gradient of a distance field until it has the given value."""
    p = points.astype(np.float64)
    for _ in range(steps):
        g = np.stack([GRID.at(c, list(p.T)) for c in gradient], -1)
        g /= np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 0.3)
        p = p - (GRID.at(field, list(p.T)) - level)[:, None] * g * 0.8
    return p


def _curve(nodes: np.ndarray, spacing: float) -> np.ndarray:
    """A smooth curve through nodes, sampled every `spacing` mm."""
    length = np.r_[0, np.cumsum(np.maximum(np.linalg.norm(np.diff(nodes, axis=0), axis=1), 1e-3))]
    t = np.linspace(0, length[-1], max(2, int(length[-1] / spacing) + 1))
    return (
        CubicSpline(length, nodes)(t)
        if len(nodes) > 2
        else np.stack([np.interp(t, length, nodes[:, i]) for i in range(3)], -1)
    )


def veins(forms: Forms, lattice: Lattice, seed: int) -> tuple[np.ndarray, ...]:
    """Voxels of the sinuses, cortical veins with branches, deep and medullary veins.

    Tubes thinner than the grid can show are drawn about one voxel wide.
    """
    rng = np.random.default_rng([seed, 1])
    spacing = 0.5 * min(lattice.voxel_mm)
    thinnest = 0.5 * float(np.mean(lattice.voxel_mm))
    on_cavity = partial(_on_level, forms.cavity, GRID.gradient(forms.cavity))
    on_brain = partial(_on_level, forms.cerebrum, GRID.gradient(forms.cerebrum))
    points: list[np.ndarray] = []
    radii: list[np.ndarray] = []

    def tube(nodes: Sequence[Sequence[float]] | np.ndarray, r0: float, r1: float) -> np.ndarray:
        line = _curve(np.asarray(nodes, float), spacing)
        r = np.maximum(np.linspace(r0, r1, len(line)), thinnest)
        points.append(line)
        # Few distinct radii: the balls are drawn radius by radius.
        radii.append(np.round(r * 5) / 5)
        return line

    angle = np.deg2rad(np.linspace(15, 205, 30))
    crest = np.stack([np.zeros(30), -14 + 95 * np.cos(angle), 12 + 75 * np.sin(angle)], -1)
    crest = on_cavity(crest, -1.5)
    crest[:, 0] = 0.4 * crest[:, 0]
    tube(crest, 1.6, 4.0)
    end = crest[-1]
    tube([(0, -40, 9), (0, -56, 2), (0, -76, -6), end], 1.6, 2.4)
    for s in (-1, 1):
        wall = np.array(
            [[*end], [s * 24, -88, -12], [s * 46, -66, -16], [s * 56, -46, -20], [s * 48, -40, -36]]
        )
        wall[1:] = on_cavity(wall[1:], -1.5)
        tube(wall, 3.4, 2.8)
        tube([(s * 2.0, 6, 8), (s * 2.0, -12, 13), (s * 1.5, -28, 12), (0, -40, 9)], 0.8, 1.3)
        tube([(s * 16, 4, 17), (s * 11, 7, 13), (s * 2.0, 6, 8)], 0.5, 0.8)
        tube(
            [(s * 12, 4, -16), (s * 15, -10, -13), (s * 14, -26, -4), (s * 6, -38, 5), (0, -40, 9)], 0.7, 1.2
        )
        for _ in range(16):
            y = rng.uniform(-42, 26)
            start = np.array([s * rng.uniform(9, 18), y, 20 - 0.006 * (y + 8) ** 2 + rng.uniform(-2, 2)])
            way = np.array(
                [s * rng.uniform(0.3, 1.0), rng.normal(0, 0.35) + np.sign(y + 8) * 0.3, rng.uniform(0.3, 1)]
            )
            way /= np.linalg.norm(way)
            stop = start + way * rng.uniform(14, 26)
            middle = (start + stop) / 2 + rng.normal(0, 1.2, 3)
            tube(np.stack([start, middle, stop]), 0.55, 0.35)
    _cortical(on_brain, rng, tube, crest)
    line, r = np.concatenate(points), np.concatenate(radii)
    return lattice.balls(line, r)


def _cortical(on_brain, rng: np.random.Generator, tube, crest: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    """Veins that run over the gyri up to the sagittal sinus, with tributaries that dip into sulci."""
    centre = np.array([0.0, -14.0, 8.0])
    for s in (-1, 1):
        for target in crest[3:27:2]:
            low = rng.uniform(0.1, 0.55)
            goal = (target - centre) / np.linalg.norm(target - centre)
            away = np.array([s * 1.0, rng.normal(0, 0.25), -low + 0.2])
            t = np.linspace(0, rng.uniform(0.5, 0.8), 8)[:, None]
            way = (1 - t) * goal + t * away / np.linalg.norm(away)
            way += np.cumsum(rng.normal(0, 0.035, way.shape), axis=0) * (t > 0)
            path = centre + way / np.linalg.norm(way, axis=1, keepdims=True) * 76
            path[1:] = on_brain(path[1:], 0.9)
            path[0] = target
            tube(path, 1.3, 0.8)
            for _ in range(2):
                i = int(rng.integers(2, 7))
                side = (
                    path[i]
                    + np.cumsum(rng.normal(0, 4.0, (4, 3)), axis=0)
                    + np.arange(1, 5)[:, None] * 3.5 * rng.choice([-1, 1]) * np.array([0, 1, -0.4])
                )
                side = on_brain(side, 0.4)
                tip = on_brain(side[-1:], -9.0)
                tube(np.concatenate([path[i : i + 1], side, tip]), 0.8, 0.45)


CALCIFICATION = ((27.0, -38.0, 28.0), (27.8, -36.5, 29.0), (25.8, -38.5, 26.8), (28.2, -39.0, 27.0))
"""Centres in mm of the balls that make up the calcification."""


def calcification(lattice: Lattice) -> tuple[np.ndarray, ...]:
    """Voxels of one irregular calcification, about 5 mm across, in the right parietal white matter."""
    r = max(2.0, 0.6 * max(lattice.voxel_mm))
    return lattice.balls(np.array(CALCIFICATION), np.full(len(CALCIFICATION), r))


def microbleeds(
    lattice: Lattice, labels: Volume, allowed: Sequence[int], seed: int
) -> tuple[np.ndarray, ...]:
    """Voxels of five microbleeds of 1 to 1.8 mm radius, in tissues with the `allowed` labels."""
    rng = np.random.default_rng([seed, 2])
    centres: list[np.ndarray] = []
    # Candidates are drawn in mm, so that the same person bleeds at the same places on every grid.
    origin = np.array([a[0] for a in lattice.axes])
    for p in rng.uniform((-48, -70, -30), (48, 45, 50), (4000, 3)):
        i = np.rint((p - origin) / lattice.voxel_mm).astype(int)
        if ((i < 0) | (i >= lattice.shape)).any() or labels[tuple(i)] not in allowed:
            continue
        if all(np.linalg.norm(p - c) > 18 for c in [*centres, np.array(CALCIFICATION[0])]):
            centres.append(p)
        if len(centres) == 5:
            break
    r = np.maximum(np.array([1.0, 1.2, 1.4, 1.6, 1.8])[: len(centres)], 0.5 * max(lattice.voxel_mm))
    return lattice.balls(np.array(centres), r)


def inside(index: tuple[np.ndarray, ...], mask: Mask) -> tuple[np.ndarray, ...]:
    """The voxels of `index` that lie in the mask."""
    keep = mask[index]
    return tuple(i[keep] for i in index)
