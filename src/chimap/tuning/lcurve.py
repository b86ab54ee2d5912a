"""Rules that read the trade-off between misfit and roughness."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import make_smoothing_spline

from chimap.tuning.problem import Problem
from chimap.tuning.rules import Curve, at_end, crossing, rule

_FINE = 400


@rule(score="curvature of the L-curve", best="max", runs=14, reference="10.1137/0914086")
def lcurve(problem: Problem, values: list[float] | None = None) -> Curve:
    r"""L-curve: the corner of misfit against roughness on logarithmic axes, where its curvature is largest.

    .. math:: \kappa = \frac{\rho' \eta'' - \rho'' \eta'}{(\rho'^2 + \eta'^2)^{3/2}}

    with the logarithms :math:`\rho` of the misfit :math:`\|(D\chi - f)/\sigma\|_2` and :math:`\eta` of the gradient's norm
    (l2 for linear methods, l1 for others), as splines over the logarithm of the parameter. Hansen and O'Leary 1993,
    doi:10.1137/0914086. Known to smooth too much with l1 norms (Milovic 2021).
    """
    values, rho, eta, columns = _trade_off(problem, values)
    x, kappa = _curvature(values, rho, eta)
    inner = slice(_FINE // 12, -_FINE // 12)
    value = problem.tidy(float(np.exp(x[inner][int(np.argmax(kappa[inner]))])))
    scores = np.interp(np.log(values), x, kappa).tolist()
    return Curve(
        value, values, scores, columns, at_end(value, [problem.tidy(float(np.exp(v))) for v in x[inner]])
    )


@rule(score="curvature of the L-curve", best="zero", runs=14, reference="10.1002/mrm.28435")
def inflection(problem: Problem, values: list[float] | None = None) -> Curve:
    """L-curve's inflection: where its curvature passes zero, of several such points the one nearest to the default.

    Milovic et al. 2021, doi:10.1002/mrm.28435, who found it closer to the smallest error than the corner for
    total variation.
    """
    values, rho, eta, columns = _trade_off(problem, values)
    x, kappa = _curvature(values, rho, eta)
    inner = slice(_FINE // 24, -_FINE // 24)  # at the ends of a smoothing spline it is zero anyway
    value, note = crossing(problem, np.exp(x[inner]).tolist(), kappa[inner].tolist())
    scores = np.interp(np.log(values), x, kappa).tolist()
    return Curve(value, values, scores, columns, note)


@rule(score="1/misfit + 1/roughness", best="min", runs=14, reference="10.1002/mrm.28435")
def ucurve(problem: Problem, values: list[float] | None = None) -> Curve:
    """U-curve: the smallest sum of the inverses of misfit and roughness, both against their medians.

    As compared in Milovic et al. 2021, doi:10.1002/mrm.28435.
    """
    values, rho, eta, columns = _trade_off(problem, values)
    score = np.exp(-2 * (rho - np.median(rho))) + np.exp(-2 * (eta - np.median(eta)))
    x, y = np.log(values), score
    value = problem.tidy(float(np.exp(x[int(np.argmin(y))])))
    return Curve(value, values, score.tolist(), columns, at_end(value, values))


def _trade_off(
    problem: Problem, values: list[float] | None
) -> tuple[list[float], np.ndarray, np.ndarray, dict[str, list[float]]]:
    values = values or problem.grid()
    problem.expected = len(values) + 1
    power = 2 if problem.homogeneous(values[len(values) // 2]) else 1
    misfit, rough = [], []
    for v in values:
        chi = problem.run(v)
        misfit.append(float(np.sqrt(np.mean(np.square(problem.residual(chi), dtype=np.float64)))))
        rough.append(problem.seminorm(chi, power) ** (1 / power))
    columns = {"misfit": misfit, f"gradient_l{power}": rough}
    return values, np.log(misfit), np.log(rough), columns


def _curvature(values: list[float], rho: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log(value) on a fine grid and the curvature there, positive at the corner."""
    t = np.log(values)
    fine = np.linspace(t[0], t[-1], _FINE)
    if len(values) < 5:
        return fine, np.zeros(_FINE)
    # A little smoothing: runs that stop at a tolerance scatter, and curvature has second derivatives.
    splines = [make_smoothing_spline(t, y, lam=1e-3 * (t[-1] - t[0]) ** 3 / len(t)) for y in (rho, eta)]
    (r1, e1), (r2, e2) = ([s.derivative(n)(fine) for s in splines] for n in (1, 2))
    kappa = (r1 * e2 - r2 * e1) / np.maximum((r1**2 + e1**2) ** 1.5, 1e-12)
    # Running through it the other way turns the sign.
    return fine, kappa if rho[-1] > rho[0] else -kappa
