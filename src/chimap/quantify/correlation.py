"""Correlation and regression between co-registered maps: voxels, regions, windows, and what is left beside other maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.numerics.fft import irfftn, rfftn
from chimap.quantify._linear import line, t_pvalue, t_quantile
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Correlation:
    """Pearson correlation of y with x and the line y = intercept + slope x; intervals at 95 %.

    `n` is how many values went in, `n_effective` how many independent ones they are worth; intervals and p-value are made with that.
    `spearman` is the correlation of ranks.
    """

    n: int
    n_effective: float
    r: float
    r_ci: tuple[float, float]
    p: float
    spearman: float
    slope: float
    slope_ci: tuple[float, float]
    intercept: float
    residual_sd: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return asdict(self)


def effective_size(x: Volume, y: Volume, mask: Mask, voxel_size_mm: Sequence[float]) -> float:
    r"""Number of independent pairs that two smooth maps are worth when they are correlated.

    With the autocorrelations :math:`\rho_x, \rho_y` at lag k and :math:`N_k` pairs of voxels at that lag,

    .. math:: \operatorname{var}(r) = \frac{1}{N^2} \sum_k N_k\, \rho_x(k)\, \rho_y(k), \qquad
              N_{eff} = 1 + 1 / \operatorname{var}(r) .

    Parameters
    ----------
    x, y : (x, y, z) float32
        The maps; only what is inside `mask` counts.
    mask : (x, y, z) bool
    voxel_size_mm : 3 float
        Autocorrelations are averaged over shells of one voxel's width, as if they were isotropic, up to half of the mask's
        shortest side; beyond it they are taken as zero.

    Returns
    -------
    float
        At least 3, at most the number of voxels.

    Notes
    -----
    Clifford, Richardson and Hémon 1989, doi:10.2307/2532039; Dutilleul 1993, doi:10.2307/2532625. It presumes that each
    map's statistics are the same everywhere. Contrast between tissues counts as autocorrelation, so that the interval
    is a careful one. Peak memory about 12 float32 volumes of the mask's box.
    """
    count = int(mask.sum())
    sides = [int(np.ptp(i)) + 1 for i in np.nonzero(mask)]
    box = Box.around(mask, [s // 2 + 1 for s in sides])
    m = box.crop(mask).astype(np.float32)
    pairs = irfftn(np.abs(rfftn(m)) ** 2, m.shape)
    axes = [np.minimum(np.arange(s), s - np.arange(s)) * v for s, v in zip(m.shape, voxel_size_mm)]
    distance = np.sqrt(
        axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
    )
    reach = min((s - 1) * v for s, v in zip(sides, voxel_size_mm) if s > 1) / 2
    shell = np.rint(distance / min(voxel_size_mm)).astype(np.int32)
    use = (distance <= max(reach, max(voxel_size_mm))) & (pairs > 0.5)
    shell, weight = shell[use], pairs[use].astype(np.float64)
    number = np.bincount(shell, weight)

    def autocorrelation(volume: Volume) -> np.ndarray:
        v = box.crop(np.where(mask, volume - volume[mask].mean(dtype=np.float64), 0).astype(np.float32))
        c = irfftn(np.abs(rfftn(v)) ** 2, v.shape)[use]
        out = np.bincount(shell, c.astype(np.float64)) / np.maximum(number, 1e-9)
        return out / out[0] if out[0] > 0 else out

    total = float((number * autocorrelation(x) * autocorrelation(y)).sum())
    variance = max(total, float(count)) / count**2
    return float(min(max(1 + 1 / variance, 3.0), count))


def correlate_voxels(x: Volume, y: Volume, mask: Mask, voxel_size_mm: Sequence[float]) -> Correlation:
    """Correlation over all voxels of `mask`, its interval made with the effective number of independent voxels.

    Raises
    ------
    InputError
        If fewer than 10 voxels, or a map is constant.
    """
    a, b = x[mask].astype(np.float64), y[mask].astype(np.float64)
    _check(a, b, 10)
    return _correlation(a, b, effective_size(x, y, mask, voxel_size_mm))


def correlate_regions(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Correlation of regions' means, which count as independent.

    Raises
    ------
    InputError
        If there are fewer than 4 regions, or all have one value.
    """
    a, b = np.asarray(x, float), np.asarray(y, float)
    _check(a, b, 4)
    return _correlation(a, b, float(len(a)))


def partial(
    maps: Mapping[str, Volume], one: str, two: str, mask: Mask, voxel_size_mm: Sequence[float]
) -> Correlation:
    """Correlation of two maps after a linear regression of both on all the other maps.

    The effective number is that of the residual maps, less one for each map that was regressed out.

    Raises
    ------
    InputError
        If there is no third map, or nothing is left of one.
    """
    others = [maps[n][mask].astype(np.float64) for n in maps if n not in (one, two)]
    if not others:
        raise InputError("a partial correlation needs a third map", fix="Give three maps or more")
    design = np.stack([np.ones(len(others[0])), *((o - o.mean()) / (o.std() or 1.0) for o in others)], -1)
    left: list[Volume] = []
    for name in (one, two):
        value = maps[name][mask].astype(np.float64)
        rest = value - design @ np.linalg.lstsq(design, value, rcond=None)[0]
        if rest.std() <= 1e-6 * value.std():
            raise InputError(f"nothing is left of {name} after the regression on the other maps")
        volume = np.zeros(mask.shape, np.float32)
        volume[mask] = rest
        left.append(volume)
    a, b = left[0][mask].astype(np.float64), left[1][mask].astype(np.float64)
    _check(a, b, 10)
    n = max(effective_size(left[0], left[1], mask, voxel_size_mm) - len(others), 3.0)
    return _correlation(a, b, n)


def region_means(
    maps: Mapping[str, Volume], labels: np.ndarray, mask: Mask, *, at_least: int = 5
) -> list[dict[str, Any]]:
    """Mean and SD of every map in every label of at least so many voxels in the mask, as one dict a region."""
    use = mask & (labels > 0)
    present, index = np.unique(labels[use], return_inverse=True)
    count = np.bincount(index, minlength=len(present))
    rows: list[dict[str, Any]] = [
        {"label": int(k), "voxels": int(n)} for k, n in zip(present, count) if n >= at_least
    ]
    kept = count >= at_least
    for name, volume in maps.items():
        v = volume[use].astype(np.float64)
        mean = np.bincount(index, v, len(present)) / np.maximum(count, 1)
        sd = np.sqrt(np.bincount(index, (v - mean[index]) ** 2, len(present)) / np.maximum(count, 1))
        for row, m, s in zip(rows, mean[kept], sd[kept]):
            row[f"{name}_mean"], row[f"{name}_sd"] = float(m), float(s)
    return rows


def windowed(
    x: Volume,
    y: Volume,
    mask: Mask,
    voxel_size_mm: Sequence[float],
    *,
    window_mm: float = 9.0,
    least: float = 0.3,
) -> tuple[Volume, Volume, Volume]:
    """Correlation and regression of two maps in a box that moves over the image.

    Parameters
    ----------
    x, y, mask, voxel_size_mm
        Maps (x, y, z), where they are valid, voxel size.
    window_mm : float
        Side of the box; it covers an odd number of voxels on each axis, 3 at least.
    least : float
        Share of the box that has to lie in the mask; elsewhere the results are 0.

    Returns
    -------
    r, slope, z : (x, y, z) float32
        Pearson's r, slope of y over x, and Fisher's z times the square root of (voxels - 3). Smooth maps have fewer independent
        voxels than that, so z ranks places but is no test.

    Raises
    ------
    InputError
        If the window is not positive.
    """
    if not window_mm > 0:
        raise InputError(f"window {window_mm} mm is not positive", fix="Give some voxels, such as 9")
    size = [max(3, 2 * int(window_mm / v / 2) + 1) for v in voxel_size_mm]
    # About the middle of the values, or the squares' difference loses its digits.
    a = np.where(mask, x - x[mask].mean(dtype=np.float64), 0)
    b = np.where(mask, y - y[mask].mean(dtype=np.float64), 0)

    def mean(v: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(np.asarray(v, np.float64), size, mode="constant")

    share = mean(mask)
    ok = mask & (share >= least)
    share = np.maximum(share, 1e-9)
    ma, mb = mean(a) / share, mean(b) / share
    va = np.maximum(mean(a * a) / share - ma**2, 0)
    vb = np.maximum(mean(b * b) / share - mb**2, 0)
    cov = mean(a * b) / share - ma * mb
    flat = (va <= 1e-10 * va[ok].max(initial=0.0)) | (vb <= 1e-10 * vb[ok].max(initial=0.0))
    ok &= ~flat
    r = np.where(ok, cov / np.sqrt(np.where(ok, va * vb, 1)), 0).clip(-1, 1)
    slope = np.where(ok, cov / np.where(ok, va, 1), 0)
    n = np.maximum(share * math.prod(size), 4)
    z = np.arctanh(r.clip(-0.999999, 0.999999)) * np.sqrt(n - 3)
    return r.astype(np.float32), slope.astype(np.float32), z.astype(np.float32)


def joint_histogram(
    x: Volume, y: Volume, mask: Mask, bins: int = 64
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (bins, bins) and the edges of both axes, from the 0.5th to the 99.5th percentile of each map."""
    a, b = x[mask], y[mask]
    edges = []
    for v in (a, b):
        low, high = (float(q) for q in np.percentile(v, (0.5, 99.5)))
        edges.append(np.linspace(low, high if high > low else low + 1.0, bins + 1))
    counts, *_ = np.histogram2d(a, b, bins=edges)
    return counts, edges[0], edges[1]


def _check(a: np.ndarray, b: np.ndarray, least: int) -> None:
    if len(a) < least:
        raise InputError(f"{len(a)} values are too few for a correlation; {least} are needed")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(
            "a map has NaN or infinite values inside the mask", fix="Leave those voxels out of the mask"
        )
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise InputError("a map is constant inside the mask")


def _correlation(a: np.ndarray, b: np.ndarray, n_effective: float) -> Correlation:
    r = float(np.corrcoef(a, b)[0, 1])
    fit = line(a, b)
    # The t statistic of the line with the degrees of freedom that there really are.
    freedom = max(n_effective - 2, 1.0)
    se = float(b.std() / a.std()) * math.sqrt(max(1 - r * r, 0.0) / freedom)
    t = t_quantile(freedom)
    if n_effective > 3:
        z, half = math.atanh(min(max(r, -0.9999999), 0.9999999)), 1.959964 / math.sqrt(n_effective - 3)
        ci = (math.tanh(z - half), math.tanh(z + half))
    else:
        ci = (-1.0, 1.0)
    return Correlation(
        n=len(a),
        n_effective=n_effective,
        r=r,
        r_ci=ci,
        p=t_pvalue(fit.slope / se, freedom) if se > 0 else 0.0,
        spearman=float(np.corrcoef(_ranks(a), _ranks(b))[0, 1]),
        slope=fit.slope,
        slope_ci=(fit.slope - t * se, fit.slope + t * se),
        intercept=fit.intercept,
        residual_sd=fit.residual_sd,
    )


def _ranks(v: np.ndarray) -> np.ndarray:
    """Ranks, ties at their mean."""
    _, place, count = np.unique(v, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return ((last - count + last - 1) / 2)[place]
