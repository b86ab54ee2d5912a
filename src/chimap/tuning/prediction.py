"""Rules that ask how well the map predicts field that it has not seen."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from chimap.tuning.problem import Problem
from chimap.tuning.rules import Curve, minimum, rule
from chimap.types import Mask, Volume

_SEED = 20130531
HELD_OUT = 0.1


@rule(
    score="GCV", best="min", runs=20, reference=("10.1080/00401706.1979.10489751", "10.1109/TIP.2008.2001404")
)
def gcv(problem: Problem, values: list[float] | None = None) -> Curve:
    r"""Generalised cross-validation: the misfit over the squared share of degrees of freedom that are left.

    .. math:: \frac{\tfrac1n \|(D\chi_\lambda - f)/\sigma\|^2}{(1 - \tfrac1n \mathrm{tr} H_\lambda)^2},
        \qquad H_\lambda : f \mapsto D\chi_\lambda(f)

    Golub et al. 1979, doi:10.1080/00401706.1979.10489751. A linear method without weights is a convolution, whose trace
    is n times its response to a unit impulse at that place. For all others the trace is a Monte Carlo
    divergence (Ramani et al. 2008, doi:10.1109/TIP.2008.2001404) with one random sign a voxel. Two runs a value.
    """
    problem.expected = 21
    linear = problem.homogeneous(problem.default) and not problem.arrays
    n = int(problem.mask.sum())
    signs = np.where(np.random.default_rng(_SEED).random(n) < 0.5, np.float32(-1), np.float32(1))
    traces: dict[float, float] = {}

    def score(value: float) -> float:
        chi = problem.run(value)
        if linear:
            trace = n * _impulse(problem, value)
        else:
            kick = np.zeros(problem.mask.shape, np.float32)
            kick[problem.mask] = signs * problem.noise[problem.mask]
            moved = problem.field_of(problem.invert(problem.field_ppm + kick, value)) - problem.field_of(chi)
            sd = problem.noise[problem.mask]
            known = sd > 0
            trace = float(np.sum(signs[known] * moved[known] / sd[known], dtype=np.float64))
        traces[value] = float(np.clip(trace / n, 0.0, 0.999))
        return float(np.mean(np.square(problem.residual(chi), dtype=np.float64))) / (1 - traces[value]) ** 2

    curve = minimum(problem, score, values)
    curve.columns["degrees_of_freedom"] = [traces[v] for v in curve.values]
    return curve


def _impulse(problem: Problem, value: float) -> float:
    """Response in the same voxel, of the field through inversion and forward model, to a unit impulse."""
    shape = tuple(min(n, 48) for n in problem.mask.shape)
    delta, mask = np.zeros(shape, np.float32), np.ones(shape, bool)
    centre = tuple(n // 2 for n in shape)
    delta[centre] = 1
    small = Problem(
        problem.method, problem.parameter, delta, mask, problem.acq, mask.astype(np.float32), True,
        fixed=problem.fixed,
    )  # fmt: skip
    out = np.zeros(shape, np.float32)
    out[mask] = small.field_of(small.run(value))
    return float(out[centre])


@rule(
    score="mean misfit of voxels held out, in standard deviations", best="min", runs=10,
    reference=("10.1080/00401706.1979.10489751", "10.48550/arXiv.1901.11365"),
)  # fmt: skip
def crossvalidation(problem: Problem, values: list[float] | None = None) -> Curve:
    """Cross-validation: every tenth voxel of the field is hidden, and must be predicted from the others.

    Hidden voxels get the mean of their visible neighbours, and a weight of next to nothing where the method uses the
    noise map; the score is the mean modulus of their misfit over the standard deviation. Replacing a voxel by its neighbours is the
    device of Batson and Royer 2019, doi:10.48550/arXiv.1901.11365; cross-validation for ridge regression:
    Golub et al. 1979, doi:10.1080/00401706.1979.10489751. What lies in the magic cone makes next to no
    field, so that no rule of this kind sees it.
    """
    problem.expected = 11
    hidden = problem.mask & (problem.noise > 0)
    hidden &= np.random.default_rng(_SEED).random(hidden.shape) < HELD_OUT
    shown = _filled(problem.field_ppm, problem.mask & ~hidden, hidden)
    noise = np.where(hidden, problem.noise * np.float32(100), problem.noise)
    at = hidden[problem.mask]

    def score(value: float) -> float:
        chi = problem.invert(shown, value, noise=noise)
        r = (problem.field_of(chi)[at] - problem.field_ppm[hidden]) / problem.noise[hidden]
        return float(np.mean(np.abs(r - np.median(r)), dtype=np.float64))

    return minimum(problem, score, values)


def _filled(volume: Volume, shown: Mask, hidden: Mask) -> Volume:
    """`volume` with hidden voxels as the mean of the shown ones among their 26 neighbours."""
    total = uniform_filter(np.where(shown, volume, np.float32(0)), 3, mode="constant")
    count = uniform_filter(shown.astype(np.float32), 3, mode="constant")
    out = volume.copy()
    out[hidden] = (total / np.maximum(count, np.float32(1e-3)))[hidden]
    return out
