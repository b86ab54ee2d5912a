"""A closed triangulated surface that inflates inside a volume: its shape, its forces, and what it encloses."""

from __future__ import annotations

import functools

import numpy as np

from chimap.numerics.threads import jit
from chimap.types import Mask


@functools.cache
def icosphere(level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A unit sphere of triangles from an icosahedron split `level` times.

    Returns
    -------
    vertices : (v, 3) float64, v = 10 * 4**level + 2
    faces : (f, 3) int32, counter-clockwise seen from outside
    neighbours : (v, 6) int32
        Neighbours of each vertex in order around it; the twelve with five have the first one repeated as -1.
    """
    g = (1 + 5**0.5) / 2
    v: list[tuple[float, float, float]] = [
        (-1, g, 0),
        (1, g, 0),
        (-1, -g, 0),
        (1, -g, 0),
        (0, -1, g),
        (0, 1, g),
    ]
    v += [(0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]
    faces = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2)]
    faces += [(10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5)]
    faces += [(2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)]
    points = [np.array(p) / np.hypot(1, g) for p in v]
    for _ in range(level):
        middle: dict[tuple[int, int], int] = {}

        def between(a: int, b: int, middle: dict[tuple[int, int], int] = middle) -> int:
            key = (a, b) if a < b else (b, a)
            if key not in middle:
                m = points[a] + points[b]
                points.append(m / np.linalg.norm(m))
                middle[key] = len(points) - 1
            return middle[key]

        split = []
        for a, b, c in faces:
            ab, bc, ca = between(a, b), between(b, c), between(c, a)
            split += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = split
    following: list[dict[int, int]] = [{} for _ in points]
    for a, b, c in faces:
        following[a][b], following[b][c], following[c][a] = c, a, b
    ring = np.full((len(points), 6), -1, np.int32)
    for i, step in enumerate(following):
        j = min(step)
        for k in range(len(step)):
            ring[i, k] = j
            j = step[j]
    return np.array(points), np.array(faces, np.int32), ring


@jit("float32(float32[:,:,::1], float64, float64, float64)", error_model="numpy")
def _sample(volume, x, y, z):  # pragma: no cover - compiled
    """Trilinear interpolation; coordinates in voxels, held at the edge of the grid."""
    nx, ny, nz = volume.shape
    x = min(max(x, 0.0), nx - 1.001)
    y = min(max(y, 0.0), ny - 1.001)
    z = min(max(z, 0.0), nz - 1.001)
    i, j, k = int(x), int(y), int(z)
    fx, fy, fz = x - i, y - j, z - k
    c00 = volume[i, j, k] * (1 - fz) + volume[i, j, k + 1] * fz
    c01 = volume[i, j + 1, k] * (1 - fz) + volume[i, j + 1, k + 1] * fz
    c10 = volume[i + 1, j, k] * (1 - fz) + volume[i + 1, j, k + 1] * fz
    c11 = volume[i + 1, j + 1, k] * (1 - fz) + volume[i + 1, j + 1, k + 1] * fz
    return np.float32((c00 * (1 - fy) + c01 * fy) * (1 - fx) + (c10 * (1 - fy) + c11 * fy) * fx)


@jit(
    "float64(float64[:,::1], int32[:,::1], float32[:,:,::1], float64[::1], float64[::1], float64,"
    " float64, int64)",
    error_model="numpy",
)
def inflate(points, ring, volume, voxel, levels, fraction, stiffness, steps):  # pragma: no cover - compiled
    """Move `points` (mm, in place) for `steps` steps of BET; returns the last mean movement in mm.

    `levels` holds Smith's t2, t and tm; `stiffness` scales his smoothness force.
    """
    low, threshold, middle = levels[0], levels[1], levels[2]
    n = points.shape[0]
    new = np.empty_like(points)
    # Radii of curvature, in mm, below which the surface is smoothed fully and above which hardly.
    r_min, r_max = 3.33, 10.0
    centre = 0.5 * (1 / r_min + 1 / r_max)
    slope = 6 / (1 / r_min - 1 / r_max)
    moved = 0.0
    length = 0.0
    for step in range(steps):
        if step % 50 == 0:
            length = 0.0
            for i in range(n):
                j = ring[i, 0]
                d2 = 0.0
                for a in range(3):
                    d2 += (points[i, a] - points[j, a]) ** 2
                length += np.sqrt(d2)
            length /= n
        moved = 0.0
        for i in range(n):
            count = 6 if ring[i, 5] >= 0 else 5
            px, py, pz = points[i, 0], points[i, 1], points[i, 2]
            mx, my, mz, nx, ny, nz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for c in range(count):
                j = ring[i, c]
                k = ring[i, c + 1 if c + 1 < count else 0]
                mx += points[j, 0]
                my += points[j, 1]
                mz += points[j, 2]
                ax, ay, az = points[j, 0] - px, points[j, 1] - py, points[j, 2] - pz
                bx, by, bz = points[k, 0] - px, points[k, 1] - py, points[k, 2] - pz
                nx += ay * bz - az * by
                ny += az * bx - ax * bz
                nz += ax * by - ay * bx
            norm = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            nx, ny, nz = nx / norm, ny / norm, nz / norm
            sx, sy, sz = mx / count - px, my / count - py, mz / count - pz
            sn = sx * nx + sy * ny + sz * nz
            curvature = 2 * abs(sn) / (length * length)
            f2 = min(1.0, stiffness * 0.5 * (1 + np.tanh(slope * (curvature - centre))))
            lowest, highest = middle, threshold
            for depth in range(21):
                v = _sample(
                    volume,
                    (px - depth * nx) / voxel[0],
                    (py - depth * ny) / voxel[1],
                    (pz - depth * nz) / voxel[2],
                )
                if v < lowest:
                    lowest = v
                if depth <= 10 and v > highest:
                    highest = v
            if lowest < low:
                lowest = low
            if highest > middle:
                highest = middle
            local = (highest - low) * fraction + low
            f3 = 2 * (lowest - local) / (highest - low) if highest > low else 0.0
            push = f2 * sn + 0.05 * f3 * length
            qx = 0.5 * (sx - sn * nx) + push * nx
            qy = 0.5 * (sy - sn * ny) + push * ny
            qz = 0.5 * (sz - sn * nz) + push * nz
            new[i, 0], new[i, 1], new[i, 2] = px + qx, py + qy, pz + qz
            moved += abs(push)
        points[:, :] = new
        moved /= n
    return moved


@jit("void(float64[:,::1], int32[:,::1], boolean[:,:,::1])", error_model="numpy")
def _parity(points, faces, out):  # pragma: no cover - compiled
    """Flip every voxel of a column beyond each crossing of the surface, along the last axis."""
    nx, ny, nz = out.shape
    for f in range(faces.shape[0]):
        ax, ay, az = points[faces[f, 0], 0], points[faces[f, 0], 1], points[faces[f, 0], 2]
        bx, by, bz = points[faces[f, 1], 0], points[faces[f, 1], 1], points[faces[f, 1], 2]
        cx, cy, cz = points[faces[f, 2], 0], points[faces[f, 2], 1], points[faces[f, 2], 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0 = max(0, int(np.ceil(min(ax, bx, cx))))
        x1 = min(nx - 1, int(np.floor(max(ax, bx, cx))))
        y0 = max(0, int(np.ceil(min(ay, by, cy))))
        y1 = min(ny - 1, int(np.floor(max(ay, by, cy))))
        for x in range(x0, x1 + 1):
            for y in range(y0, y1 + 1):
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                z = u * az + v * bz + w * cz
                for k in range(max(0, int(np.ceil(z))), nz):
                    out[x, y, k] = not out[x, y, k]


def enclosed(points: np.ndarray, faces: np.ndarray, shape: tuple[int, ...], voxel: np.ndarray) -> Mask:
    """The voxels whose centre lies inside the surface; `points` in mm from the first voxel's centre."""
    out = np.zeros(shape, bool)
    # An irrational shift keeps the columns off vertices and edges, where a crossing would count twice.
    scaled = points / voxel + np.array([1.234567e-5, 2.718282e-5, 0.0])
    _parity(np.ascontiguousarray(scaled), faces, out)
    return out
