"""The rule that fits the data as well as their noise allows."""

from __future__ import annotations

import numpy as np

from chimap.tuning.problem import Problem
from chimap.tuning.rules import Curve, crossing, rule


@rule(
    score="misfit in standard deviations of the noise",
    best="zero",
    runs=13,
    reference="10.1007/978-94-009-1740-8",
)
def discrepancy(problem: Problem, values: list[float] | None = None) -> Curve:
    """Discrepancy principle (Morozov): the misfit is as large as the noise.

    The misfit is the robust standard deviation (1.4826 times the median modulus) of the residual over the noise map; its
    logarithm is the score. Without a noise map the noise is taken from the field's finest scale, which tells it only
    roughly. Engl, Hanke and Neubauer 1996, doi:10.1007/978-94-009-1740-8. It needs a noise map that is right within some
    per cent, and a field without other errors.
    """
    values = values or problem.grid()
    problem.expected = len(values)
    levels = [1.4826 * float(np.median(np.abs(problem.residual(problem.run(v))))) for v in values]
    scores = np.log(np.maximum(levels, 1e-12)).tolist()
    value, note = crossing(problem, values, scores)
    if not problem.known_noise:
        note = f"no noise map was given, the noise was estimated from the field; {note}".rstrip("; ")
    return Curve(value, values, scores, {"misfit": levels}, note)
