"""Least squares with intervals, and the quantiles they need (scipy.special: scipy.stats is slow to import)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True)
class Line:
    """A straight line through points, with 95 % intervals of its two numbers.

    `curvature_p` is the p-value of a quadratic term beside the line (F test); None with fewer than four points.
    """

    slope: float
    intercept: float
    slope_ci: tuple[float, float]
    intercept_ci: tuple[float, float]
    slope_se: float
    r2: float
    residual_sd: float
    residuals: np.ndarray
    freedom: int
    curvature_p: float | None


def t_quantile(freedom: float, level: float = 0.95) -> float:
    """Half width of a two-sided interval in standard errors."""
    return float(special.stdtrit(freedom, 0.5 + level / 2)) if freedom > 0 else float("nan")


def t_pvalue(t: float, freedom: float) -> float:
    """Two-sided p-value of Student's t."""
    return float(2 * special.stdtr(freedom, -abs(t))) if freedom > 0 else float("nan")


def f_pvalue(f: float, one: float, two: float) -> float:
    """p-value of an F ratio."""
    return float(special.fdtrc(one, two, f)) if two > 0 and f == f else float("nan")


def f_quantile(level: float, one: float, two: float) -> float:
    """Value that an F ratio stays below with probability `level`."""
    return float(special.fdtri(one, two, level))


def rest(design: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Sum of squared residuals of a least-squares fit, and its degrees of freedom."""
    fit = np.linalg.lstsq(design, y, rcond=None)
    return float(((y - design @ fit[0]) ** 2).sum()), len(y) - int(fit[2])


def line(x: np.ndarray, y: np.ndarray) -> Line:
    """Ordinary least squares of y on x (1-D, at least 3 points, not all at one x)."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    n = len(x)
    sxx = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / sxx)
    intercept = float(y.mean() - slope * x.mean())
    residuals = y - intercept - slope * x
    sse, sst = float((residuals**2).sum()), float(((y - y.mean()) ** 2).sum())
    sd = math.sqrt(sse / (n - 2))
    se, se0 = sd / math.sqrt(sxx), sd * math.sqrt(1 / n + float(x.mean()) ** 2 / sxx)
    t = t_quantile(n - 2)
    curvature = None
    if n >= 4 and len(np.unique(x)) >= 3:
        u = (x - x.mean()) / (np.ptp(x) or 1.0)
        bent, freedom = rest(np.stack([np.ones(n), u, u * u], 1), y)
        if freedom > 0:
            curvature = f_pvalue((sse - bent) / (bent / freedom), 1, freedom) if bent > 0 else 0.0
    return Line(
        slope=slope,
        intercept=intercept,
        slope_ci=(slope - t * se, slope + t * se),
        intercept_ci=(intercept - t * se0, intercept + t * se0),
        slope_se=se,
        r2=1 - sse / sst if sst > 0 else float("nan"),
        residual_sd=sd,
        residuals=residuals,
        freedom=n - 2,
        curvature_p=curvature,
    )
