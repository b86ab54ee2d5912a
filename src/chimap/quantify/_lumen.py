r"""One piece of a vein, fitted to the field in and around it: susceptibility, radius, and where its middle runs.

The field of a long cylinder of susceptibility :math:`\Delta\chi` and radius a is :math:`\Delta\chi\,(3\cos^2\theta - 1)/6` inside
and :math:`\Delta\chi/2\,(a/\rho)^2 \sin^2\theta \cos 2\phi` outside. Far out only :math:`\Delta\chi\,a^2` tells; near the
wall and inside both do. Here the field is that of the traced tube itself on a grid several times finer than
the image, so that bends, ends and the shares of voxels are as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, next_fast_shape, rfftn
from chimap.quantify._tubes import across
from chimap.types import Mask, Volume

RADII = np.array([0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.22, 1.36, 1.52])
_STEP = 0.03
"""The grid's own error of the radius, as a part."""
SIGNALS = np.array([0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.1])
_SIGNAL_PRIOR = (0.65, 0.2)
"""Mean and SD of what blood's signal is to tissue's, before the field has a say: 0.75 at 3 T, 0.55 at 7 T."""
_HUBER = 1.5
_ALIKE = 3.0
"""So many neighbouring residuals say as much as one independent."""
_SYSTEMATIC = 0.04
"""What remains of errors between one simulated vein and another, as a part of the susceptibility (1 SD)."""
_MOVE = 0.5
"""Largest correction of the middle line, in voxels."""


@dataclass(frozen=True)
class Piece:
    """A piece of a line to be fitted.

    `line` (n, 3) are points in mm along the voxel axes, the vein beyond the piece's ends included; `part` is the piece in it, `core` what is
    left of it away from the vein's own ends, where the field is fitted.
    """

    line: np.ndarray
    part: slice
    core: slice
    radius_mm: float


@dataclass(frozen=True)
class Lumen:
    """What was found: susceptibility in ppm against the tissue, radius in mm, each with its standard error.

    `signal` is blood's signal in the field map over tissue's, `line` the line moved to its fitted place, `voxels` how many were used; with too
    few of them numbers are NaN.
    """

    chi_ppm: float
    chi_se: float
    radius_mm: float
    radius_se: float
    signal: float
    line: np.ndarray
    voxels: int


def box_of(
    points: np.ndarray, margin_mm: float, voxel: np.ndarray, shape: Sequence[int]
) -> tuple[slice, ...]:
    """The box of voxels within a margin of points, cut at the grid's edges."""
    low = np.maximum(np.floor((points.min(axis=0) - margin_mm) / voxel).astype(int), 0)
    high = np.minimum(np.ceil((points.max(axis=0) + margin_mm) / voxel).astype(int) + 1, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def tangents(line: np.ndarray) -> np.ndarray:
    """Unit vectors along a line at its points."""
    t = np.gradient(line, axis=0)
    return np.asarray(t / np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-9))


def to_line(p: np.ndarray, line: np.ndarray, reach_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance of points (..., 3) to a line, infinite beyond `reach_mm` and beyond its flat ends; number of the nearest of its points."""
    step = float(np.linalg.norm(line[1] - line[0]))
    d, n = cKDTree(line).query(p, distance_upper_bound=reach_mm + step)
    known = np.isfinite(d)
    n = np.where(known, n, 0)
    t = tangents(line)
    delta = p - line[n]
    along = np.einsum("...i,...i->...", delta, t[n])
    beyond = ((n == 0) & (along < -step / 2)) | ((n == len(line) - 1) & (along > step / 2))
    rho = np.sqrt(np.maximum(np.einsum("...i,...i->...", delta, delta) - along**2, 0))
    return np.where(known & ~beyond, rho, np.inf), n


def tube_share(line: np.ndarray, radius_mm: float, box: tuple[slice, ...], voxel: np.ndarray) -> Volume:
    """The part of each voxel of a box that a tube fills, from 4 x 4 x 4 points a voxel."""
    rho, _ = to_line(_fine_points(box, voxel, 1), line, radius_mm + 2 * float(voxel.max()))
    return _mean(_edge(_fine_distance(line, radius_mm, rho, box, voxel, 4), radius_mm, voxel / 4), 4)


def _fine_distance(
    line: np.ndarray,
    radius_mm: float,
    rho: np.ndarray,
    box: tuple[slice, ...],
    voxel: np.ndarray,
    factor: int,
) -> np.ndarray:
    """Distance to a line on a finer grid, where voxels come near enough (`rho` is theirs); infinite elsewhere."""
    # Points beyond a flat end are at infinity, whose voxels may still reach back over it.
    near = ndimage.binary_dilation(rho < radius_mm + float(np.linalg.norm(voxel)), iterations=1)
    at = np.argwhere(near)
    steps = (np.arange(factor) + 0.5) / factor - 0.5
    inner = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    low = np.array([b.start for b in box])
    p = ((at + low)[:, None] + inner) * voxel
    out = np.full([m for n in rho.shape for m in (n, factor)], np.inf)
    found, _ = to_line(p, line, radius_mm + float(voxel.max()))
    out[at[:, 0], :, at[:, 1], :, at[:, 2], :] = found.reshape(-1, factor, factor, factor)
    return out.reshape([n * factor for n in rho.shape])


def _fine_points(box: tuple[slice, ...], voxel: np.ndarray, factor: int) -> np.ndarray:
    steps = (np.arange(factor) + 0.5) / factor - 0.5
    axes = [
        ((np.arange(b.start, b.stop)[:, None] + steps) * v).ravel() for b, v in zip(box, voxel, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def _edge(rho: np.ndarray, radius: float, cell: np.ndarray) -> Volume:
    return np.clip(0.5 + (radius - rho) / float(np.prod(cell) ** (1 / 3)), 0, 1).astype(np.float32)


def _mean(fine: np.ndarray, factor: int) -> Volume:
    n = [s // factor for s in fine.shape]
    out = fine.reshape(n[0], factor, n[1], factor, n[2], factor).mean(axis=(1, 3, 5), dtype=np.float64)
    return np.asarray(out, np.float32)


def field_of(chi: Volume, cell: Sequence[float] | np.ndarray, b0_dir: Sequence[float]) -> Volume:
    """Field of a small volume with half as much room again against its copies."""
    grid = next_fast_shape([int(np.ceil(1.5 * n)) for n in chi.shape])
    padded = np.zeros(grid, np.float32)
    inner = tuple(slice(0, n) for n in chi.shape)
    padded[inner] = chi
    spectrum = rfftn(padded, overwrite=True)
    spectrum *= dipole_kernel(grid, [float(v) for v in cell], b0_dir)
    return np.ascontiguousarray(irfftn(spectrum, grid)[inner])


def _blocks(fine: Volume, at: np.ndarray, factor: int) -> Volume:
    """The fine cells (n, factor^3) of voxels."""
    n = [s // factor for s in fine.shape]
    parts = fine.reshape(n[0], factor, n[1], factor, n[2], factor)
    return np.asarray(parts[at[:, 0], :, at[:, 1], :, at[:, 2], :].reshape(len(at), -1))


def fit_piece(
    piece: Piece,
    box: tuple[slice, ...],
    field: Volume,
    use: Mask,
    variance: Volume,
    voxel: np.ndarray,
    b0_dir: Sequence[float],
    reach_mm: float,
    rounds: int = 3,
) -> Lumen:
    """Fit one piece.

    Parameters
    ----------
    piece : Piece
        Where it runs, and its radius to begin with.
    box : 3 slices
        Where `field`, `use` and `variance` lie in the volume; with a margin of `reach_mm` around the piece.
    field : float32
        Local field in ppm less that of everything else.
    use : bool
        Where it is good.
    variance : float32
        In ppm^2, for the weights.
    voxel, b0_dir : 3 float
        Voxel size in mm and direction of B0.
    reach_mm : float
        Voxels so far from the wall are used.
    rounds : int
        The line is moved and the radii are centred anew between them.

    Notes
    -----
    For each radius and each ratio of signals on a grid (the field of a voxel that the wall cuts is the mean by signal, of which
    blood has less), susceptibility, a constant, a gradient and a shift and a tilt of the line follow by least squares
    with Huber's weights. Susceptibility, radius and their errors are the mean and spread over that grid by
    likelihood, with a wide prior on the ratio alone, and residuals counted as alike in threes. The error of the
    susceptibility joins 4 % of it, as seen on simulated veins.
    """
    line, radius = piece.line, piece.radius_mm
    for turn in range(rounds):
        grid = _grid(line, piece, radius, box, use, voxel, b0_dir, reach_mm)
        if grid is None:
            return Lumen(np.nan, np.nan, radius, np.nan, np.nan, line, 0)
        at, columns, base = grid
        found = _search(columns, base, field[box_at(at)].astype(float), variance[box_at(at)].astype(float))
        best, chi, se, loss = found
        if turn < rounds - 1:
            size = float(voxel.max()) * _MOVE
            k = np.unravel_index(int(loss.argmin()), loss.shape)
            shift = np.zeros((len(line), 3))
            if chi[k] != 0:
                a, b = piece.part.start, piece.part.stop
                s = np.linspace(-1, 1, b - a)
                way = tangents(line)[(a + b) // 2]
                for e, direction in enumerate(across(way)):
                    # Columns are derivatives of the field of a tube of 1 ppm.
                    move = best[k][1 + e] / chi[k] + best[k][3 + e] / chi[k] * np.interp(
                        np.arange(len(line)), np.arange(a, b), s
                    )
                    shift += np.clip(move, -size, size)[:, None] * direction
            line = line + shift
            radius = float(radius * RADII[k[0]])
    weight = np.exp(-(loss - loss.min()) / _ALIKE)
    weight *= np.exp(-0.5 * ((SIGNALS - _SIGNAL_PRIOR[0]) / _SIGNAL_PRIOR[1]) ** 2)
    # The steps of the radius are uneven.
    weight *= np.gradient(RADII)[:, None]
    weight /= weight.sum()
    mean = float((weight * chi).sum())
    spread_chi = float(np.sqrt((weight * ((chi - mean) ** 2 + _ALIKE * se**2)).sum()))
    radii = radius * RADII[:, None]
    middle = float((weight * radii).sum())
    spread = float(np.sqrt((weight * (radii - middle) ** 2).sum()))
    return Lumen(
        mean,
        float(np.hypot(spread_chi, _SYSTEMATIC * mean)),
        middle,
        np.hypot(spread, _STEP * radius),
        float((weight * SIGNALS).sum()),
        line,
        len(base),
    )


def box_at(at: np.ndarray) -> tuple[np.ndarray, ...]:
    """Points (n, 3) as an index."""
    return tuple(at.T)


def _grid(
    line: np.ndarray,
    piece: Piece,
    radius: float,
    box: tuple[slice, ...],
    use: Mask,
    voxel: np.ndarray,
    b0_dir: Sequence[float],
    reach_mm: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Voxels used, columns (radius, signal, voxel, 5) of tube, shifts and tilts, and the columns (voxel, 4) of the background."""
    factor = int(np.clip(np.ceil(float(voxel.max()) / (0.4 * radius)), 2, 5))
    reach = float(RADII[-1]) * radius + reach_mm
    centres = _fine_points(box, voxel, 1)
    rho, number = to_line(centres, line, reach)
    near = use & (rho < radius + reach_mm) & (number >= piece.core.start) & (number < piece.core.stop)
    at = np.argwhere(near)
    if len(at) < 40:
        return None
    fine_rho = _fine_distance(line, float(RADII[-1]) * radius, rho, box, voxel, factor)
    cell = voxel / factor
    way = tangents(line)[(piece.part.start + piece.part.stop) // 2]
    directions = across(way)
    centre = line[piece.part].mean(axis=0)
    half = max(np.linalg.norm(line[piece.part.stop - 1] - line[piece.part.start]) / 2, 1e-6)
    index = box_at(at)
    s = np.clip((centres[index] - centre) @ way / half, -1, 1)
    columns = np.empty((len(RADII), len(SIGNALS), len(at), 5))
    for i, ratio in enumerate(RADII):
        share = _edge(fine_rho, radius * ratio, cell)
        field = field_of(share, cell, b0_dir)
        slope = np.gradient(field, *cell)
        moved = [-sum(np.float32(d[a]) * slope[a] for a in range(3)) for d in directions]
        parts = [_blocks(v, at, factor) for v in (field, *moved)]
        inside = _blocks(share, at, factor)
        for j, q in enumerate(SIGNALS):
            signal = 1 + np.float32(q - 1) * inside
            signal /= signal.sum(axis=1, keepdims=True)
            for c, values in enumerate(parts):
                columns[i, j, :, c] = np.einsum("np,np->n", signal, values)
    columns[..., 3:] = columns[..., 1:3] * s[:, None]
    base = np.column_stack([np.ones(len(at)), (centres[index] - centre) / reach])
    return at, columns, base


def _search(
    columns: np.ndarray, base: np.ndarray, values: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients, susceptibility, its standard error, and Huber's loss for every radius and signal."""
    shape = columns.shape[:2]
    root = 1 / np.sqrt(variance)
    y = values * root
    design = np.concatenate([columns, np.broadcast_to(base, (*shape, *base.shape))], axis=3) * root[:, None]
    # Columns of size one make the normal equations well conditioned.
    size = np.sqrt(np.einsum("ijnc,ijnc->ijc", design, design)) + 1e-30
    design /= size[:, :, None]
    turned = np.swapaxes(design, 2, 3)
    ridge = 1e-9 * np.eye(design.shape[3])
    common = 0.0
    for fixed in (False, True):
        # One scale for all, that of the best, makes their losses comparable; no smaller than the variance says.
        weight = np.ones((*shape, len(y)))
        for _ in range(5):
            gram = (turned * weight[:, :, None]) @ design + ridge
            best = np.linalg.solve(gram, (turned @ (weight * y)[..., None]))[..., 0]
            residual = np.abs(y - (design @ best[..., None])[..., 0])
            scale = 1.4826 * np.median(residual, axis=2, keepdims=True)
            limit = _HUBER * (common if fixed else np.maximum(scale, 1e-9))
            weight = np.minimum(1.0, limit / np.maximum(residual, 1e-12))
        common = common if fixed else max(float(scale.min()), 1.0)
    z = residual / common
    loss = np.where(z <= _HUBER, 0.5 * z**2, _HUBER * (z - 0.5 * _HUBER)).sum(axis=2)
    se = common * np.sqrt(np.linalg.inv(gram)[..., 0, 0]) / size[..., 0]
    best = best / size
    return best, best[..., 0], se, loss
