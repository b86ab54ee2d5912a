"""A scanner and a pipeline against known susceptibilities: slope, linearity, consistency, correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.quantify._linear import Line, f_pvalue, line, rest, t_quantile
from chimap.types import Mask, Volume

FORMAT = "chimap susceptibility calibration 1"


@dataclass(frozen=True)
class Calibration:
    """What a phantom series says.

    All susceptibilities in ppb, concentrations in mmol/L, intervals at 95 %.

    Attributes
    ----------
    slope, slope_ci, slope_ci_scale
        ppb per mmol/L over all scans; its interval from the scatter about the line; and with the uncertainty of the scale (`scale_sd`)
        that all vials share.
    expected : float or None
        Known molar susceptibility in ppb per mmol/L.
    ratio, ratio_ci : float, (float, float) or None
        Slope over expected, with its interval, the scale's uncertainty included.
    agrees : bool or None
        Whether `ratio_ci` holds 1.
    linear : bool or None
        Whether the quadratic term stays insignificant (p >= 0.05); None with fewer than four points.
    groups : list of dict
        Slope, interval, intercept, R2 and residual SD of each scan.
    consistency : list of dict
        For each factor (scan, field strength, orientation) the F test of equal slopes, and the largest difference in percent.
    left_out : list of str
        What could not be computed, and why.
    """

    slope: float
    slope_ci: tuple[float, float]
    slope_ci_scale: tuple[float, float]
    intercept: float
    intercept_ci: tuple[float, float]
    r2: float
    residual_sd: float
    curvature_p: float | None
    linear: bool | None
    scale_sd: float
    expected: float | None
    ratio: float | None
    ratio_ci: tuple[float, float] | None
    agrees: bool | None
    range_ppb: tuple[float, float]
    points: int
    residuals: list[float]
    groups: list[dict[str, Any]]
    consistency: list[dict[str, Any]]
    left_out: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return asdict(self)


def calibrate(
    concentration_mm: Sequence[float],
    chi_ppb: Sequence[float],
    *,
    scan: Sequence[str] | None = None,
    b0_t: Sequence[float] | None = None,
    angle_deg: Sequence[float] | None = None,
    expected_ppb_per_mm: float | None = None,
    scale_sd: float = 0.02,
) -> Calibration:
    r"""Line of susceptibility over concentration, against the known molar susceptibility.

    Ordinary least squares :math:`\chi = \chi_0 + \chi_M c`. Over several scans the slope is common and each scan has its own
    intercept. The scale's relative uncertainty `scale_sd` is added to the slope's standard error in quadrature
    (GUM, doi:10.59161/JCGM100-2008E).

    Parameters
    ----------
    concentration_mm, chi_ppb : sequences of one length
        Known concentration in mmol/L and measured susceptibility in ppb, one point a vial and scan.
    scan, b0_t, angle_deg : sequences of that length, optional
        Name of the scan, field strength in T, and angle of the vials to B0 in degrees of each point.
    expected_ppb_per_mm : float, optional
        Known molar susceptibility.
    scale_sd : float
        Relative standard uncertainty that all concentrations and vials share (stock solution, temperature, vial geometry), 0 to 0.5. 0.02: a
        stock made with care, and a temperature known to 3 degrees.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If there are fewer than three points, or all at one concentration.

    Notes
    -----
    Equality of slopes is tested by the F ratio of the residuals with one slope and with a slope for each level. The linearity test of a line
    is the F test of a quadratic term.
    """
    x, y = np.asarray(concentration_mm, float), np.asarray(chi_ppb, float)
    if x.shape != y.shape or x.ndim != 1 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(
            f"{x.size} concentrations and {y.size} susceptibilities given; two lists of numbers of one length are expected"
        )
    if len(x) < 3 or np.ptp(x) == 0:
        raise InputError(
            f"a line needs three vials of different concentration; there are {len(x)} at {len(np.unique(x))} concentrations",
            fix="Add vials",
        )
    if not 0 <= scale_sd <= 0.5:
        raise InputError(f"scale uncertainty {scale_sd} is outside 0 to 0.5", fix="Give 0.02 for 2 percent")
    if expected_ppb_per_mm is not None and not (
        math.isfinite(expected_ppb_per_mm) and expected_ppb_per_mm != 0
    ):
        raise InputError(f"expected molar susceptibility {expected_ppb_per_mm} is not a number other than 0")
    names = ["scan 1"] * len(x) if scan is None else [str(s) for s in scan]
    order = list(dict.fromkeys(names))
    left_out: list[str] = []
    fits = {n: _fit(x, y, [m == n for m in names]) for n in order}
    for n in (n for n, f in fits.items() if f is None):
        left_out.append(f"the line of {n} alone: it needs three vials of different concentration")
    common = _common(x, y, names)
    slope, se, freedom = common.slope, common.slope_se, common.freedom
    t = t_quantile(freedom)
    wide = math.hypot(se * t, scale_sd * abs(slope) * 1.96)
    ratio = ratio_ci = agrees = None
    if expected_ppb_per_mm is None:
        left_out.append("comparison with a known molar susceptibility, and the correction: none was given")
    else:
        ratio = slope / expected_ppb_per_mm
        half = wide / abs(expected_ppb_per_mm)
        ratio_ci = (ratio - half, ratio + half)
        agrees = bool(ratio_ci[0] <= 1 <= ratio_ci[1])
    if common.curvature_p is None:
        left_out.append("the test of linearity: it needs four points at three concentrations")
    consistency = []
    for factor, level in (("scan", scan), ("field strength [T]", b0_t), ("angle to B0 [degrees]", angle_deg)):
        levels = None if level is None else list(level)
        row = None if levels is None else equal_slopes(x, y, names, levels)
        if row is None:
            left_out.append(f"consistency over {factor}: it needs two of them with three vials each")
        else:
            consistency.append({"factor": factor, **row})
    return Calibration(
        slope=slope,
        slope_ci=common.slope_ci,
        slope_ci_scale=(slope - wide, slope + wide),
        intercept=common.intercept,
        intercept_ci=common.intercept_ci,
        r2=common.r2,
        residual_sd=common.residual_sd,
        curvature_p=common.curvature_p,
        linear=None if common.curvature_p is None else bool(common.curvature_p >= 0.05),
        scale_sd=float(scale_sd),
        expected=expected_ppb_per_mm,
        ratio=ratio,
        ratio_ci=ratio_ci,
        agrees=agrees,
        range_ppb=(float(y.min()), float(y.max())),
        points=len(x),
        residuals=[float(r) for r in common.residuals],
        groups=[_row(n, f, expected_ppb_per_mm) for n, f in fits.items() if f is not None],
        consistency=consistency,
        left_out=left_out,
    )


def equal_slopes(
    x: np.ndarray, y: np.ndarray, scan: Sequence[str], level: Sequence[Any]
) -> dict[str, Any] | None:
    """F test of one slope for all levels of a factor; None where fewer than two levels have a line of their own.

    Each scan keeps its own intercept. Returns ``levels, slopes, f, p, same`` (p >= 0.05) and ``largest_difference_percent`` of
    the mean slope.
    """
    names = list(dict.fromkeys(level))
    member = {n: np.array([v == n for v in level]) for n in names}
    good = [n for n in names if member[n].sum() >= 3 and np.ptp(x[member[n]]) > 0]
    if len(good) < 2:
        return None
    use = np.any([member[n] for n in good], axis=0)
    x, y = x[use], y[use]
    scans = np.asarray(scan, object)[use]
    own = np.stack([(scans == s).astype(float) for s in dict.fromkeys(scans)], 1)
    apart = np.stack([member[n][use] * x for n in good], 1)
    one, free_one = rest(np.column_stack([own, x]), y)
    many, free_many = rest(np.column_stack([own, apart]), y)
    if free_many <= 0:
        return None
    slopes = np.linalg.lstsq(np.column_stack([own, apart]), y, rcond=None)[0][own.shape[1] :]
    f = ((one - many) / (free_one - free_many)) / (many / free_many) if many > 0 else float("inf")
    p = f_pvalue(f, free_one - free_many, free_many)
    return {
        "levels": [n.item() if hasattr(n, "item") else n for n in good],
        "slopes": [float(s) for s in slopes],
        "f": float(f),
        "p": p,
        "same": bool(p >= 0.05),
        "largest_difference_percent": float(100 * np.ptp(slopes) / abs(slopes.mean())),
    }


def correction(found: Calibration, **facts: Any) -> dict[str, Any]:
    """The record that `apply_correction` takes: the factor that brings slopes to the known one, and where it came from.

    Only the scale is corrected; the intercept is a matter of the reference.

    Raises
    ------
    InputError
        If there is no known molar susceptibility, or the slope is not of its sign.
    """
    if found.expected is None or found.ratio is None or found.ratio_ci is None:
        raise InputError(
            "a correction needs the known molar susceptibility",
            fix="Name the agent, or give the molar susceptibility",
        )
    if not found.ratio_ci[0] > 0:
        raise InputError(
            f"the slope is {found.ratio:.3f} of the known one (95 % interval {found.ratio_ci[0]:.3f} to {found.ratio_ci[1]:.3f})",
            fix="There is nothing to correct from; look at the maps and the concentrations",
        )
    return {
        "Format": FORMAT,
        "Factor": 1 / found.ratio,
        "FactorCI95": [1 / found.ratio_ci[1], 1 / found.ratio_ci[0]],
        "SlopePpbPerMillimolar": found.slope,
        "ExpectedPpbPerMillimolar": found.expected,
        "RangePpb": list(found.range_ppb),
        "Linear": found.linear,
        **facts,
    }


def apply_correction(chi_ppm: Volume, mask: Mask, record: Mapping[str, Any]) -> tuple[Volume, dict[str, Any]]:
    """A map times the factor of a calibration, with what a sidecar should say.

    Parameters
    ----------
    chi_ppm : (x, y, z) float32
        Susceptibility in ppm.
    mask : (x, y, z) bool
        Where it is valid; the result is 0 elsewhere.
    record : mapping
        What `correction` returned, or its file.

    Returns
    -------
    chi_ppm : (x, y, z) float32
    facts : dict
        ``CalibrationFactor``, ``CalibrationFactorCI95``, ``CalibrationRangePpb`` and ``CalibrationBeyondRangePercent``: the share of the
        map whose distance from 0 is larger than any vial's.

    Raises
    ------
    InputError
        If the record is not a calibration, or its factor is not a positive number.
    """
    if record.get("Format") != FORMAT:
        raise InputError(
            f"this is no calibration: Format is {record.get('Format')!r}, {FORMAT!r} is expected",
            fix="Give a file that `chimap calibrate fit --correction` wrote",
        )
    factor = record.get("Factor")
    if not isinstance(factor, int | float) or not (math.isfinite(factor) and factor > 0):
        raise InputError(f"the calibration's factor is {factor!r}, not a positive number")
    limits = [float(v) for v in record.get("RangePpb", (0.0, 0.0))]
    top = max((abs(v) for v in limits), default=0.0) / 1000
    beyond = 100 * float(np.mean(np.abs(chi_ppm[mask]) > top)) if top and mask.any() else None
    out = np.where(mask, chi_ppm * np.float32(factor), np.float32(0))
    return out, {
        "CalibrationFactor": float(factor),
        "CalibrationFactorCI95": record.get("FactorCI95"),
        "CalibrationRangePpb": limits,
        "CalibrationBeyondRangePercent": beyond,
    }


def match_by_rank(concentration_mm: Sequence[float], chi_ppb: Sequence[float]) -> list[float]:
    """Concentrations given to vials in the order of their susceptibility (for a paramagnetic agent).

    That is a guess, and a circular one where neighbours are close together: it can only make a series look more linear.

    Raises
    ------
    InputError
        If the numbers differ.
    """
    if len(concentration_mm) != len(chi_ppb):
        raise InputError(
            f"{len(concentration_mm)} concentrations were given for {len(chi_ppb)} vials",
            fix="Give one for each vial (0 for water)",
        )
    out = [0.0] * len(chi_ppb)
    for rank, vial in enumerate(np.argsort(chi_ppb, kind="stable")):
        out[int(vial)] = sorted(float(c) for c in concentration_mm)[rank]
    return out


def _fit(x: np.ndarray, y: np.ndarray, member: Sequence[bool]) -> Line | None:
    use = np.asarray(member)
    return line(x[use], y[use]) if use.sum() >= 3 and np.ptp(x[use]) > 0 else None


def _row(name: str, fit: Line, expected: float | None) -> dict[str, Any]:
    return {
        "scan": name,
        "slope": fit.slope,
        "slope_low": fit.slope_ci[0],
        "slope_high": fit.slope_ci[1],
        "ratio": fit.slope / expected if expected else None,
        "intercept": fit.intercept,
        "r2": fit.r2,
        "residual_sd": fit.residual_sd,
        "curvature_p": fit.curvature_p,
    }


def _common(x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> Line:
    """A line through all scans, each about its own mean, with the degrees of freedom that the means cost."""
    scans = list(dict.fromkeys(names))
    if len(scans) == 1:
        return line(x, y)
    u, v = x.copy(), y.copy()
    for s in scans:
        here = np.array([n == s for n in names])
        u[here] += x.mean() - x[here].mean()
        v[here] += y.mean() - y[here].mean()
    flat = line(u, v)
    freedom = len(x) - 1 - len(scans)
    if freedom < 1:
        raise InputError(
            "there are too few vials for as many scans", fix="Give three vials or more for each scan"
        )
    grow = math.sqrt(flat.freedom / freedom)
    t = t_quantile(freedom)
    sxx = float(((u - u.mean()) ** 2).sum())
    se = flat.slope_se * grow
    se0 = flat.residual_sd * grow * math.sqrt(1 / len(u) + u.mean() ** 2 / sxx)
    own = np.stack([[float(n == s) for n in names] for s in scans], 1)
    curvature = None
    if len(x) - len(scans) >= 3 and len(np.unique(x)) >= 3:
        w = (x - x.mean()) / np.ptp(x)
        straight, _ = rest(np.column_stack([own, w]), y)
        bent, free = rest(np.column_stack([own, w, w * w]), y)
        curvature = f_pvalue((straight - bent) / (bent / free), 1, free) if free > 0 and bent > 0 else None
    return Line(
        slope=flat.slope,
        intercept=flat.intercept,
        slope_ci=(flat.slope - t * se, flat.slope + t * se),
        intercept_ci=(flat.intercept - t * se0, flat.intercept + t * se0),
        slope_se=se,
        r2=flat.r2,
        residual_sd=flat.residual_sd * grow,
        residuals=flat.residuals,
        freedom=freedom,
        curvature_p=curvature,
    )
