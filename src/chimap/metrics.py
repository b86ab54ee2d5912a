"""How far a map is from the truth: the measures that reconstruction challenges and papers report.

All functions take maps of one shape (x, y, z), any unit as long as it is the same for both (XSIM: ppm), and a
mask that says where to compare. NaN and Inf in the reconstruction count as 0 in `score`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, gaussian_laplace, uniform_filter

from chimap.errors import InputError

NUCLEI = (1, 2, 3, 4, 5, 6)
"""Labels of the deep grey nuclei in the segmentation that `score` understands."""
TISSUE = (7, 8, 9)
BLOOD = 11
CALCIFICATION = 16


def nrmse(recon: ArrayLike, truth: ArrayLike, mask: ArrayLike) -> float:
    r"""Root-mean-square error in percent of the truth's norm, both with their mean over the mask removed.

    :math:`100\,\|r - t\| / \|t\|`. NaN where the truth is constant or the mask empty. QSM Challenge 2.0,
    doi:10.1002/mrm.28754.
    """
    r, t = _demeaned(recon, truth, mask)
    return _percent(r - t, t)


def nrmse_detrended(recon: ArrayLike, truth: ArrayLike, mask: ArrayLike) -> float:
    """`nrmse` after the best straight line of reconstruction over truth is undone (doi:10.1002/mrm.28754).

    Measures what is wrong apart from a global scale. A reconstruction with slope 0 is taken as it is.
    """
    r, t = _demeaned(recon, truth, mask)
    power = float(t @ t)
    slope = float(r @ t) / power if power > 0 else 0.0
    return _percent((r / slope if abs(slope) > 1e-30 else r) - t, t)


def correlation(recon: ArrayLike, truth: ArrayLike, mask: ArrayLike) -> float:
    """Pearson correlation inside the mask, -1 to 1; 0 where one of the maps is constant."""
    r, t = _demeaned(recon, truth, mask)
    norm = math.sqrt(float(r @ r) * float(t @ t)) if r.size else 0.0
    return float(r @ t) / norm if norm > 0 else 0.0


def xsim(recon: ArrayLike, truth: ArrayLike, mask: ArrayLike) -> float:
    r"""Structural similarity made for susceptibility maps in ppm; 1 is perfect.

    The mean over the mask of
    :math:`(2\mu_r\mu_t + c_1)(2\sigma_{rt} + c_2) / ((\mu_r^2+\mu_t^2+c_1)(\sigma_r^2+\sigma_t^2+c_2))` over windows
    of 5 x 5 x 5 voxels, with L = 1 ppm, K1 = 0.01, K2 = 0.001, so that :math:`c = (K L)^2`; windows are cut at the border
    of the volume. Milovic et al. 2024, doi:10.1002/mrm.30271.

    Notes
    -----
    Values outside the mask count where a window reaches over its edge; set them to 0 in both maps
    (as `score` does) to compare the inside alone.
    """
    inside = _mask(mask)
    if not inside.any():
        return math.nan
    box = _around(inside, 2)
    m, r, t = inside[box], _double(recon)[box], _double(truth)[box]
    weight = _window_sum(np.ones(m.shape))

    def mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (_window_sum(x) / weight)[m]

    mu_r, mu_t = mean(r), mean(t)
    spread = mean(r * r) - mu_r**2 + mean(t * t) - mu_t**2
    shared = mean(r * t) - mu_r * mu_t
    c1, c2 = 0.01**2, 0.001**2
    value = (2 * mu_r * mu_t + c1) * (2 * shared + c2) / ((mu_r**2 + mu_t**2 + c1) * (spread + c2))
    return float(value.mean())


def hfen(recon: ArrayLike, truth: ArrayLike, mask: ArrayLike, *, sigma: float = 1.5) -> float:
    """High-frequency error norm in percent: the error of the maps' Laplacian of Gaussian (sigma in voxels).

    Ravishankar and Bresler 2011, doi:10.1109/TMI.2010.2090538; used for QSM in the 2016 challenge,
    doi:10.1002/mrm.26830.
    """
    inside = _mask(mask)
    if not inside.any():
        return math.nan
    box = _around(inside, int(5 * sigma + 0.5) + 1)
    m = inside[box]
    edges = [gaussian_laplace(_double(a)[box], sigma, truncate=5.0)[m] for a in (recon, truth)]
    return _percent(edges[0] - edges[1], edges[1])


def linearity(
    recon: ArrayLike, truth: ArrayLike, seg: ArrayLike, labels: Iterable[int] = NUCLEI
) -> tuple[float, float]:
    """Slope and intercept of the straight line through region means, reconstruction over truth.

    Parameters
    ----------
    recon, truth : (x, y, z) maps
    seg : (x, y, z) int
        Region labels.
    labels : iterable of int
        The regions to use; those without a voxel are left out.

    Returns
    -------
    (slope, intercept), NaN with fewer than two regions. 1 and 0 are perfect (doi:10.1002/mrm.28754).
    """
    regions = [np.asarray(seg) == label for label in labels]
    regions = [region for region in regions if region.any()]
    if len(regions) < 2:
        return math.nan, math.nan
    t, r = ([float(_double(a)[region].mean()) for region in regions] for a in (truth, recon))
    return _line(np.array(t), np.array(r))


def streaking(
    recon: ArrayLike, truth: ArrayLike, seg: ArrayLike, *, label: int = CALCIFICATION
) -> tuple[float, float]:
    """How well one strong diamagnetic source came out, and how much it streaks.

    The box around the source is widened by 3 voxels; the source is what lies in it below every value
    of the surroundings (a threshold in steps of 0.01 ppm, at most 3.5 ppm deep).

    Returns
    -------
    moment : float
        Absolute error of the source's volume times mean susceptibility (voxels x ppm).
    streaks : float
        Standard deviation of what a straight line over the truth does not explain in a rim of 4 voxels around the
        box, over the source's absolute mean. QSM Challenge 2.0 Organization Committee 2021, doi:10.1002/mrm.28754.

    NaN where there is no such source.
    """
    r, t, source = _double(recon), _double(truth), np.asarray(seg) == label
    if not source.any():
        return math.nan, math.nan
    moment = float(t[source].sum())
    core, rim, outer = (_around(source, n) for n in (3, 7, 11))
    around = np.ones(source.shape, bool)
    around[core] = False  # the surroundings are the boxes without the core
    rest = float(r[outer][around[outer]].min())
    # The shallowest step that nothing in the surroundings lies below.
    steps = np.arange(351) * -0.01
    below = steps[steps <= rest]
    threshold = float(below[0]) if below.size else -3.5
    values = r[core][r[core] < threshold]
    if not values.size:
        return abs(moment), math.nan
    error, mean = abs(moment - float(values.sum())), float(values.mean())
    x, y = t[rim][around[rim]], r[rim][around[rim]]
    if x.size < 2 or abs(mean) < 1e-30:
        return error, math.nan
    slope, intercept = _line(x, y)
    return error, float(np.std(y - slope * x - intercept)) / abs(mean)


def score(
    recon: ArrayLike,
    truth: ArrayLike,
    mask: ArrayLike,
    seg: ArrayLike | None = None,
    kind: str = "chi",
    support: bool = False,
) -> dict[str, float | None]:
    """All measures that fit a map: the numbers of QSM-CI, over the whole mask unless `support` is set.

    Parameters
    ----------
    recon, truth : (x, y, z)
        Maps in ppm. Outside the mask both are set to 0; NaN and Inf of `recon` count as 0.
    mask : (x, y, z)
        Where to compare.
    seg : (x, y, z) int, optional
        Labels for the region measures: 1 caudate, 2 globus pallidus, 3 putamen, 4 red nucleus, 5 dentate,
        6 substantia nigra, 7 thalamus, 8 white matter, 9 grey matter, 11 veins, 16 calcification.
    kind : {"chi", "field"}
        "field" leaves the region measures out.
    support : bool
        Compare only where `recon` is not 0 (an eroded edge then costs nothing).

    Returns
    -------
    dict of rounded numbers (None where undefined): nrmse, nrmse_detrend, hfen [%], correlation, xsim, coverage (part of the mask
    where `recon` is not 0); with `seg` also nrmse_tissue, nrmse_blood (veins and one voxel around), nrmse_dgm (detrended),
    dgm_linearity (distance of the nuclei's slope from 1), calc_moment_dev, calc_streak.

    Raises
    ------
    InputError
        If shapes differ, the mask is empty, `truth` is not finite inside it, or `kind` is unknown.
    """
    inside = _mask(mask)
    maps = [np.asarray(a, np.float64) for a in (recon, truth)]
    for name, a in (("reconstruction", maps[0]), ("truth", maps[1]), ("segmentation", seg)):
        if a is not None and np.shape(a) != inside.shape:
            raise InputError(f"the {name} has shape {np.shape(a)}, the mask {inside.shape}")
    if not inside.any():
        raise InputError("the mask is empty")
    if kind not in ("chi", "field"):
        raise InputError(f"there is no kind {kind!r} of map to score", fix="Use chi or field")
    lost = int((inside & ~np.isfinite(maps[1])).sum())
    if lost:
        raise InputError(
            f"the truth has NaN or Inf in {lost} voxels of the mask", fix="Give a mask that leaves them out"
        )
    r = np.where(inside & np.isfinite(maps[0]), maps[0], 0.0)
    t = np.where(inside, maps[1], 0.0)
    covered = inside & (r != 0)
    use = covered if support else inside
    out = {
        "nrmse": nrmse(r, t, use),
        "nrmse_detrend": nrmse_detrended(r, t, use),
        "correlation": correlation(r, t, use),
        "xsim": xsim(r, t, use),
        "hfen": hfen(r, t, use),
    }
    if seg is not None and kind == "chi":
        labels = np.rint(np.asarray(seg)).astype(np.int32)
        veins = binary_dilation(use & (labels == BLOOD), np.ones((3, 3, 3), bool))
        out["nrmse_tissue"] = nrmse_detrended(r, t, use & np.isin(labels, TISSUE))
        out["nrmse_blood"] = nrmse_detrended(r, t, veins)
        out["nrmse_dgm"] = nrmse_detrended(r, t, use & np.isin(labels, NUCLEI))
        out["dgm_linearity"] = abs(1 - linearity(r, t, labels)[0])
        out["calc_moment_dev"], out["calc_streak"] = streaking(r, t, labels)
    out["coverage"] = float(covered.sum() / inside.sum())
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in out.items()}


def _double(a: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(a, np.float64)


def _mask(mask: ArrayLike) -> NDArray[np.bool_]:
    return np.asarray(mask) > 0


def _demeaned(
    recon: ArrayLike, truth: ArrayLike, mask: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inside = _mask(mask)
    if not inside.any():
        return np.empty(0), np.empty(0)
    r, t = _double(recon)[inside], _double(truth)[inside]
    return r - r.mean(), t - t.mean()


def _percent(error: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    norm = float(np.linalg.norm(truth))
    return 100 * float(np.linalg.norm(error)) / norm if norm > 1e-30 else math.nan


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    dx = x - x.mean()
    power = float(dx @ dx)
    slope = float(dx @ (y - y.mean())) / power if power > 0 else 0.0
    return slope, float(y.mean() - slope * x.mean())


def _window_sum(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return uniform_filter(x, 5, mode="constant") * 125


def _around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """The box of a mask, wider by `margin` voxels, cut at the volume's border."""
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(int(hit[0]) - margin, 0), int(hit[-1]) + 1 + margin))
    return tuple(box)
