"""Lines of bright tubes in a map: multi-scale vesselness, and tracing from its peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from chimap.types import Mask, Volume

_STEP = 0.5
"""Step of the tracing, in voxels."""
_LOW = 0.4
"""A trace goes on down to this part of the answer that starts one."""
_TURN = np.cos(np.deg2rad(50))
_SMOOTH_MM = 1.5


@dataclass(frozen=True)
class Tubes:
    """Answer in the map's unit, direction (unit vector in mm) and scale in mm where the answer is not 0."""

    answer: Volume
    direction: np.ndarray
    scale_mm: Volume


def vesselness(
    volume: Volume, mask: Mask, voxel_size_mm: Sequence[float], scales_mm: Sequence[float], least: float
) -> Tubes:
    r"""How much each voxel looks like the middle of a bright tube.

    With the eigenvalues of the Hessian at width :math:`\sigma`, times :math:`\sigma^2`, sorted by size: the two that cross the tube
    must be negative, and the answer is :math:`\sqrt{\lambda_2 \lambda_3} - |\lambda_1|` at the scale where it is largest. A ball
    answers nothing, a sheet little (Frangi et al. 1998, doi:10.1007/BFb0056195).

    Parameters
    ----------
    volume : (x, y, z) float32
        A map; outside the mask the nearest value inside stands in, so that the mask's edge is no edge.
    mask : (x, y, z) bool
        Where it is known.
    voxel_size_mm, scales_mm : sequence of float
        Voxel size, and widths of the Gaussian.
    least : float
        Smaller answers are 0.
    """
    voxel = np.asarray(voxel_size_mm, float)
    near = ndimage.distance_transform_edt(
        ~mask, sampling=voxel_size_mm, return_distances=False, return_indices=True
    )
    filled = volume[tuple(near)].astype(np.float32)
    answer = np.zeros(mask.shape, np.float32)
    scale = np.zeros(mask.shape, np.float32)
    direction = np.zeros((*mask.shape, 3), np.float32)
    for s in scales_mm:
        sigma = np.maximum(s / voxel, 0.5)

        def part(a: int, b: int, sigma: np.ndarray = sigma) -> Volume:
            order = [0, 0, 0]
            order[a] += 1
            order[b] += 1
            out = ndimage.gaussian_filter(filled, sigma, order=order, mode="nearest", truncate=3.0)
            return np.asarray(out * np.float32(sigma[a] * sigma[b]), np.float32)

        diagonal = [part(a, a) for a in range(3)]
        # The answer is at most half of the two curvatures together.
        at = np.nonzero(mask & (-(diagonal[0] + diagonal[1] + diagonal[2]) > 1.5 * least))
        hessian = np.empty((len(at[0]), 3, 3))
        for a in range(3):
            hessian[:, a, a] = diagonal[a][at]
            for b in range(a):
                hessian[:, a, b] = hessian[:, b, a] = part(b, a)[at]
        values, vectors = np.linalg.eigh(hessian)
        # Ascending: the two most negative cross the tube, the last one is along it.
        tube = np.sqrt(np.maximum(values[:, 0] * values[:, 1], 0)) - np.abs(values[:, 2])
        tube[(values[:, 1] >= 0) | (tube < least)] = 0
        better = tube > answer[at]
        to = tuple(i[better] for i in at)
        answer[to] = tube[better]
        direction[to] = vectors[better, :, 2]
        scale[to] = s
    return Tubes(answer, direction, scale)


def trace_lines(
    volume: Volume,
    mask: Mask,
    tubes: Tubes,
    voxel_size_mm: Sequence[float],
    *,
    start: float,
    shortest_mm: float,
) -> list[np.ndarray]:
    """Middle lines of tubes, strongest first.

    From each peak of the answer above `start` that no line runs by yet, a line is followed both ways along the direction, moved to the
    centre of mass of the map in the plane across, until the answer falls below 40 % of `start`, the line turns by more than 50 degrees at
    once, or another line is met.

    Returns
    -------
    list of (n, 3) float64
        Points in mm from the centre of voxel (0, 0, 0), along the voxel axes, half a voxel apart; smoothed over about 1.5 mm.
    """
    voxel = np.asarray(voxel_size_mm, float)
    peaks = (tubes.answer >= start) & (tubes.answer == ndimage.maximum_filter(tubes.answer, 3))
    order = np.argwhere(peaks)
    order = order[np.argsort(-tubes.answer[tuple(order.T)], kind="stable")]
    taken = np.zeros(mask.shape, bool)
    lines = []
    for seed in order:
        if taken[tuple(seed)]:
            continue
        way = tubes.direction[tuple(seed)].astype(float)
        both = [
            _follow(volume, mask, tubes, taken, seed * voxel, s * way, voxel, _LOW * start) for s in (-1, 1)
        ]
        points = np.array(both[0][:0:-1] + both[1])
        radius = 1.5 * float(tubes.scale_mm[tuple(seed)]) + 0.5 * float(voxel.max())
        _paint(taken, points, radius, voxel)
        line = _even(points, _STEP * float(voxel.min()))
        if _length(line) >= shortest_mm:
            lines.append(line)
    return lines


def _follow(
    volume: Volume,
    mask: Mask,
    tubes: Tubes,
    taken: Mask,
    point: np.ndarray,
    way: np.ndarray,
    voxel: np.ndarray,
    low: float,
) -> list[np.ndarray]:
    """Points from a seed one way."""
    step = _STEP * float(voxel.min())
    out = [_centred(volume, mask, tubes, point, way, voxel)]
    for _ in range(2000):
        there = out[-1] + step * way
        i = tuple(int(v) for v in np.rint(there / voxel))
        if any(k < 0 or k >= n for k, n in zip(i, mask.shape, strict=True)) or not mask[i] or taken[i]:
            break
        if tubes.answer[i] < low:
            break
        along = tubes.direction[i].astype(float)
        cosine = float(along @ way)
        if abs(cosine) < _TURN:
            break
        way = way + 0.5 * np.sign(cosine) * along
        way /= np.linalg.norm(way)
        there = _centred(volume, mask, tubes, there, way, voxel)
        # Centring must not bring the line back.
        if (there - out[-1]) @ way < 0.2 * step:
            break
        out.append(there)
    return out


def across(way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors that stand on a direction and on each other."""
    helper = np.eye(3)[int(np.argmin(np.abs(way)))]
    one = np.cross(way, helper)
    one /= np.linalg.norm(one)
    return one, np.cross(way, one)


def _centred(
    volume: Volume, mask: Mask, tubes: Tubes, point: np.ndarray, way: np.ndarray, voxel: np.ndarray
) -> np.ndarray:
    """The point moved half the way to the centre of mass of what stands out in the plane across."""
    i = tuple(int(v) for v in np.clip(np.rint(point / voxel), 0, np.array(mask.shape) - 1))
    reach = max(1.2 * float(tubes.scale_mm[i]), float(voxel.max()))
    one, two = across(way)
    g = np.linspace(-reach, reach, 7)
    u, v = (w.ravel() for w in np.meshgrid(g, g, indexing="ij"))
    places = (point + u[:, None] * one + v[:, None] * two) / voxel
    values = ndimage.map_coordinates(volume, places.T, order=1, mode="nearest")
    weight = np.where(u * u + v * v <= reach**2, np.maximum(values - np.percentile(values, 20), 0), 0) ** 2
    total = float(weight.sum())
    if total <= 0:
        return point
    return np.asarray(point + 0.5 * ((weight @ u) * one + (weight @ v) * two) / total)


def _paint(taken: Mask, points: np.ndarray, radius: float, voxel: np.ndarray) -> None:
    low = np.maximum(np.floor((points.min(axis=0) - radius) / voxel).astype(int), 0)
    high = np.minimum(np.ceil((points.max(axis=0) + radius) / voxel).astype(int) + 1, taken.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    distance, _ = nearest_point(points, box, voxel, radius)
    taken[box] |= distance <= radius


def nearest_point(
    points: np.ndarray, box: tuple[slice, ...], voxel: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm of the voxels of a box to a line's points, and the nearest one's number; infinite and 0 beyond `reach`."""
    axes = [np.arange(b.start, b.stop) * v for b, v in zip(box, voxel, strict=True)]
    p = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    distance, number = cKDTree(points).query(p, distance_upper_bound=reach + 1e-9)
    return distance, np.where(np.isfinite(distance), number, 0)


def _length(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _even(points: np.ndarray, step: float) -> np.ndarray:
    """Smoothed and at even steps; the ends stay where they are."""
    if len(points) < 3:
        return points
    way = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    t = np.linspace(0, way[-1], max(round(way[-1] / step) + 1, 3))
    even = np.stack([np.interp(t, way, points[:, a]) for a in range(3)], -1)
    # Reflected about its ends, a line keeps its length.
    n = min(len(even) - 1, int(np.ceil(4 * _SMOOTH_MM / step)))
    longer = np.concatenate([2 * even[0] - even[n:0:-1], even, 2 * even[-1] - even[-2 : -2 - n : -1]])
    return np.asarray(ndimage.gaussian_filter1d(longer, _SMOOTH_MM / step, axis=0)[n : n + len(even)])


def straight_pieces(points: np.ndarray, off_mm: float, longest_mm: float) -> list[slice]:
    """A line cut into pieces whose points lie within `off_mm` of their chord, none longer than `longest_mm`."""
    step = _length(points) / max(len(points) - 1, 1)

    def cut(a: int, b: int) -> list[slice]:
        chord = points[b - 1] - points[a]
        size = float(np.linalg.norm(chord))
        between = points[a:b] - points[a]
        if size > 0:
            between = between - np.outer(between @ chord, chord) / size**2
        off = np.linalg.norm(between, axis=1)
        at = a + int(off.argmax())
        if off.max() > off_mm and a + 1 < at < b - 2:
            return cut(a, at + 1) + cut(at, b)
        if (b - a - 1) * step > longest_mm:
            middle = (a + b) // 2
            return cut(a, middle + 1) + cut(middle, b)
        return [slice(a, b)]

    return cut(0, len(points)) if len(points) > 2 else []
