"""Lines of veins, the map without them, and the fit of each of their pieces with the others' fields taken off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.quantify._lumen import Lumen, Piece, box_of, field_of, fit_piece, tube_share
from chimap.quantify._tubes import nearest_point, straight_pieces, trace_lines, vesselness
from chimap.types import Mask, Volume

_GROW_VOXELS = 2.5
"""The halo that regularisation makes around a vein, which is taken out of the map with it."""
_REACH_VOXELS = 3.5
_OFF_MM, _LONGEST_MM = 1.0, 30.0
_BEYOND_MM = 7.0


@dataclass
class Line:
    points: np.ndarray
    pieces: list[slice]
    radius: list[float]
    chi: list[float]
    tissue: list[float]


def find_lines(
    chi: Volume,
    mask: Mask,
    voxel: np.ndarray,
    r2star: Volume | None,
    diameter_mm: tuple[float, float],
    contrast_ppm: float,
    shortest_mm: float,
    depth_mm: float,
) -> list[np.ndarray]:
    """Middle lines of veins away from the mask's edge, longest first."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=voxel)[1:-1, 1:-1, 1:-1]
    low = max(diameter_mm[0] / 2, 0.7 * float(voxel.max()))
    high = max(diameter_mm[1] / 2, low)
    count = max(1, math.ceil(math.log(high / low) / math.log(1.6) - 1e-6) + 1)
    scales = [low * 0.9 * 1.6**i for i in range(count)]
    # The middle of a tube answers with about a quarter of its contrast.
    start = 0.25 * contrast_ppm
    deep = mask & (depth >= depth_mm)
    steps = [float(v) for v in voxel]
    tubes = vesselness(chi, mask, steps, scales, 0.15 * start)
    if r2star is not None:
        raised = vesselness(r2star, mask, steps, scales, 2.0).answer > 0
        support = ndimage.binary_dilation(raised, iterations=1)
        tubes.answer[support] *= np.float32(2)
    lines = trace_lines(chi, deep, tubes, steps, start=start, shortest_mm=shortest_mm)
    return sorted(lines, key=lambda p: -len(p))


def take_out(
    points: list[np.ndarray], chi: Volume, mask: Mask, voxel: np.ndarray
) -> tuple[list[Line], Volume]:
    """Lines with radius and susceptibility to begin with, and the map with the tissue around in place of veins and halos."""
    size = float(np.prod(voxel) ** (1 / 3))
    lines = []
    rest = chi.copy()
    todo = []
    for p in points:
        line = Line(p, straight_pieces(p, _OFF_MM, _LONGEST_MM), [], [], [])
        for part in line.pieces:
            piece = p[part]
            box = box_of(piece, 9 * size, voxel, chi.shape)
            rho = nearest_point(piece, box, voxel, 9 * size)[0]
            inside = mask[box]
            values = chi[box]
            around = inside & (rho > 3.5 * size) & (rho < 6 * size)
            tissue = float(np.median(values[around])) if around.any() else 0.0
            middle = values[inside & (rho < 0.75 * size)]
            top = float(middle.mean()) - tissue if middle.size else 0.1
            long_mm = len(piece) * float(np.linalg.norm(p[1] - p[0]))
            sum_ = float((values - tissue)[inside & (rho < 3.5 * size)].sum()) * size**3 / max(long_mm, size)
            # Area by the sum over the section; the peak is at most what the vein has.
            radius = math.sqrt(max(sum_, 0.0) / (math.pi * max(top, 0.05)))
            line.radius.append(float(np.clip(radius, 0.4 * size, 6 * size)))
            line.chi.append(max(top, 0.05))
            line.tissue.append(tissue)
            todo.append((box, rho, line.radius[-1] + _GROW_VOXELS * size, tissue))
        lines.append(line)
    for box, rho, reach, tissue in todo:
        zone = mask[box] & (rho < reach)
        rest[box][zone] = np.float32(tissue)
    return lines, rest


def model_of(lines: list[Line], shape: tuple[int, ...], voxel: np.ndarray) -> Volume:
    """The veins as they are known so far, on the image's grid."""
    out = np.zeros(shape, np.float32)
    for line in lines:
        for part, radius, chi in zip(line.pieces, line.radius, line.chi, strict=True):
            piece = line.points[part]
            box = box_of(piece, radius + float(voxel.max()), voxel, shape)
            np.maximum(out[box], np.float32(chi) * tube_share(piece, radius, box, voxel), out=out[box])
    return out


def fit(
    line: Line,
    k: int,
    others: Volume,
    use: Mask,
    variance: Volume,
    voxel: np.ndarray,
    acq: Acquisition,
    rounds: int,
) -> Lumen:
    """One piece; `others` is the field with all veins taken off, this one's neighbourhood on its line is put back."""
    p, part, size = line.points, line.pieces[k], float(np.prod(voxel) ** (1 / 3))
    step = float(np.linalg.norm(p[1] - p[0]))
    more = int(_BEYOND_MM / step)
    low, high = max(part.start - more, 0), min(part.stop + more, len(p))
    own = p[low:high]
    radius = line.radius[k]
    reach = _REACH_VOXELS * size
    box = box_of(own, 1.6 * radius + reach, voxel, others.shape)
    mine = np.zeros([b.stop - b.start for b in box], np.float32)
    for j, other in enumerate(line.pieces):
        a, b = max(other.start, low), min(other.stop, high)
        if b - a > 1:
            share = tube_share(p[a:b], line.radius[j], box, voxel)
            np.maximum(mine, np.float32(line.chi[j]) * share, out=mine)
    field_here = others[box] + field_of(mine, acq.voxel_size_mm, acq.b0_dir)
    trim = int((radius + 1.5 * size) / step)
    a = part.start + (trim if part.start == 0 else 0) - low
    b = part.stop - (trim if part.stop == len(p) else 0) - low
    if b - a < 4:
        middle = (part.start + part.stop) // 2 - low
        a, b = middle - 2, middle + 3
    piece = Piece(own, slice(part.start - low, part.stop - low), slice(a, b), radius)
    return fit_piece(piece, box, field_here, use[box], variance[box], voxel, acq.b0_dir, reach, rounds)
