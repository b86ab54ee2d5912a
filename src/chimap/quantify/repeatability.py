"""How well repeated scans agree: Bland-Altman, intraclass correlation, within-subject variation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.quantify._linear import f_quantile, t_quantile

_Z = 1.959964


@dataclass(frozen=True)
class Repeatability:
    """Agreement of repeated measurements; intervals at 95 %, quantities in the unit of the input.

    Attributes
    ----------
    subjects, scans : int
        Rows (vials, regions, persons) and columns.
    bias, bias_ci
        Mean difference second minus first scan (of all pairs of scans, later minus earlier).
    limits, lower_ci, upper_ci
        Limits of agreement and the intervals of both.
    trend_p : float
        p-value of the slope of difference over mean: below 0.05 the limits do not hold for all sizes alike.
    icc21, icc21_ci, icc31, icc31_ci
        Intraclass correlation of single measurements, absolute agreement and consistency.
    within_sd, within_sd_ci, repeatability
        Within-subject standard deviation; 2.77 times it is what two scans differ by at most in 95 % of cases.
    within_cv, within_cv_ci : float (percent) or None
        Root mean square of the rows' coefficients of variation. None where any row's mean is less than four within-subject SDs from 0,
        as with a susceptibility near that of the reference: it would mean nothing.
    """

    subjects: int
    scans: int
    bias: float
    bias_ci: tuple[float, float]
    limits: tuple[float, float]
    lower_ci: tuple[float, float]
    upper_ci: tuple[float, float]
    trend_p: float | None
    icc21: float
    icc21_ci: tuple[float, float]
    icc31: float
    icc31_ci: tuple[float, float]
    within_sd: float
    within_sd_ci: tuple[float, float]
    repeatability: float
    within_cv: float | None
    within_cv_ci: tuple[float, float] | None
    means: list[float]
    differences: list[float]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return asdict(self)


def repeatability(values: Any) -> Repeatability:
    r"""Agreement of the columns (scans) of a table whose rows are vials, regions or subjects.

    Limits of agreement: mean difference +- 1.96 SD, with standard errors :math:`s/\sqrt{n}` of the mean and
    :math:`s\sqrt{1/n + 1.96^2/(2(n-1))}` of the limits (Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8). ICC(2,1) and
    ICC(3,1) with the intervals of Shrout and Fleiss 1979, doi:10.1037/0033-2909.86.2.420. The within-subject variance is
    the mean of the rows' variances, and its interval that of a chi-squared variable with n (k - 1) degrees of freedom; the coefficient
    of variation is the root mean square of the rows' (Quan and Shih 1996, doi:10.2307/2532835).

    Parameters
    ----------
    values : (n, k) array-like
        n >= 3 rows measured in each of k >= 2 scans, finite.

    Returns
    -------
    Repeatability

    Raises
    ------
    InputError
        If there are fewer than 3 rows or 2 scans, a value is missing, or all are equal.
    """
    x = np.asarray(values, float)
    if x.ndim != 2 or x.shape[0] < 3 or x.shape[1] < 2:
        raise InputError(
            f"repeatability needs 3 rows or more in 2 scans or more; the table is {' x '.join(map(str, x.shape))}",
            fix="Give at least two scans of the same vials, regions or subjects",
        )
    if not np.isfinite(x).all():
        raise InputError("a value of the repeated scans is missing", fix="Leave out rows that one scan lacks")
    n, k = x.shape
    if np.ptp(x) == 0:
        raise InputError("all values of the repeated scans are equal")
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    difference = np.concatenate([x[:, j] - x[:, i] for i, j in pairs])
    mean = np.concatenate([(x[:, j] + x[:, i]) / 2 for i, j in pairs])
    # Pairs that share a scan are not independent: the subjects count, not the pairs.
    sd = (
        float(difference.std(ddof=1)) if len(pairs) == 1 else math.sqrt(float(difference.var()) * n / (n - 1))
    )
    bias, t = float(difference.mean()), t_quantile(n - 1)
    se, se_limit = sd / math.sqrt(n), sd * math.sqrt(1 / n + _Z**2 / (2 * (n - 1)))
    low, high = bias - _Z * sd, bias + _Z * sd

    rows, columns, grand = x.mean(1), x.mean(0), float(x.mean())
    msr = k * float(((rows - grand) ** 2).sum()) / (n - 1)
    msc = n * float(((columns - grand) ** 2).sum()) / (k - 1)
    residual = x - rows[:, None] - columns[None, :] + grand
    mse = max(float((residual**2).sum()) / ((n - 1) * (k - 1)), 1e-300)
    icc31 = (msr - mse) / (msr + (k - 1) * mse)
    icc21 = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)

    within = float(x.var(axis=1, ddof=1).mean())
    freedom = n * (k - 1)
    chi = [_chi2_quantile(q, freedom) for q in (0.975, 0.025)]
    sw = math.sqrt(within)
    sw_ci = (math.sqrt(freedom * within / chi[0]), math.sqrt(freedom * within / chi[1]))
    cv = cv_ci = None
    if np.abs(rows).min() > 4 * sw:
        cv = 100 * math.sqrt(float((x.var(axis=1, ddof=1) / rows**2).mean()))
        cv_ci = (cv * sw_ci[0] / sw, cv * sw_ci[1] / sw) if sw else (0.0, 0.0)
    return Repeatability(
        subjects=n,
        scans=k,
        bias=bias,
        bias_ci=(bias - t * se, bias + t * se),
        limits=(low, high),
        lower_ci=(low - t * se_limit, low + t * se_limit),
        upper_ci=(high - t * se_limit, high + t * se_limit),
        trend_p=_trend(mean, difference) if k == 2 and n >= 4 else None,
        icc21=icc21,
        icc21_ci=_icc21_interval(icc21, msr, msc, mse, n, k),
        icc31=icc31,
        icc31_ci=_icc31_interval(msr / mse, n, k),
        within_sd=sw,
        within_sd_ci=sw_ci,
        repeatability=_Z * math.sqrt(2) * sw,
        within_cv=cv,
        within_cv_ci=cv_ci,
        means=[float(v) for v in mean],
        differences=[float(v) for v in difference],
    )


def _icc31_interval(f: float, n: int, k: int) -> tuple[float, float]:
    one, two = n - 1, (n - 1) * (k - 1)
    low, high = f / f_quantile(0.975, one, two), f * f_quantile(0.975, two, one)
    return (low - 1) / (low + k - 1), (high - 1) / (high + k - 1)


def _icc21_interval(icc: float, msr: float, msc: float, mse: float, n: int, k: int) -> tuple[float, float]:
    fj = msc / mse
    top = (k - 1) * (n - 1) * (k * icc * fj + n * (1 + (k - 1) * icc) - k * icc) ** 2
    bottom = (n - 1) * k**2 * icc**2 * fj**2 + (n * (1 + (k - 1) * icc) - k * icc) ** 2
    v = top / bottom
    f1, f2 = f_quantile(0.975, n - 1, v), f_quantile(0.975, v, n - 1)
    rest = k * msc + (k * n - k - n) * mse
    return n * (msr - f1 * mse) / (f1 * rest + n * msr), n * (f2 * msr - mse) / (rest + n * f2 * msr)


def _chi2_quantile(level: float, freedom: int) -> float:
    from scipy import special

    return float(2 * special.gammaincinv(freedom / 2, level))


def _trend(mean: np.ndarray, difference: np.ndarray) -> float | None:
    from chimap.quantify._linear import line, t_pvalue

    if np.ptp(mean) == 0:
        return None
    fit = line(mean, difference)
    return t_pvalue(fit.slope / fit.slope_se, fit.freedom) if fit.slope_se > 0 else None
