"""The rules by name: a decorated function is a rule."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from chimap.errors import InputError
from chimap.tuning.problem import Problem

DEFAULT = "crossvalidation"
"""The rule behind a plain ``auto``; docs/tuning.md has the measurements that it was chosen by."""
_MODULES = ("lcurve", "prediction", "discrepancy", "frequency", "phantom")
_rules: dict[str, Rule] = {}


@dataclass(frozen=True)
class Curve:
    """What a rule saw: values in ascending order, their scores, the choice."""

    value: float
    values: list[float]
    scores: list[float]
    columns: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Rule:
    """A way to choose: its function, what its score means, about how many runs it takes."""

    name: str
    function: Callable[[Problem, list[float] | None], Curve]
    score_name: str
    best: str
    runs: int
    references: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0].strip()


def rule(
    *, score: str, best: str, runs: int, reference: str | tuple[str, ...]
) -> Callable[
    [Callable[[Problem, list[float] | None], Curve]], Callable[[Problem, list[float] | None], Curve]
]:
    """Register ``f(problem, values)`` under its name."""

    def register(
        function: Callable[[Problem, list[float] | None], Curve],
    ) -> Callable[[Problem, list[float] | None], Curve]:
        dois = (reference,) if isinstance(reference, str) else reference
        name = function.__name__
        _rules[name] = Rule(name, function, score, best, runs, dois)
        return function

    return register


def rules() -> dict[str, Rule]:
    """All rules by name."""
    for module in _MODULES:
        importlib.import_module(f"chimap.tuning.{module}")
    return dict(sorted(_rules.items()))


def get(name: str | None = None) -> Rule:
    """The rule `name` (default: the recommended one).

    Raises
    ------
    InputError
        If there is no such rule.
    """
    have = rules()
    name = name or DEFAULT
    if name not in have:
        raise InputError(
            f"there is no rule {name!r} for automatic parameters", fix=f"Choose one of: {', '.join(have)}"
        )
    return have[name]


def at_end(value: float, values: list[float]) -> str:
    """A note if the choice is the first or the last value."""
    if len(values) > 1 and value in (values[0], values[-1]):
        return "the choice lies at the end of the range that was searched"
    return ""


def crossing(
    problem: Problem, values: list[float], curve: list[float], level: float = 0.0
) -> tuple[float, str]:
    """Where a curve over log(value) crosses a level: of several crossings the one nearest to the default.

    Without any the value where it comes closest, with a note.
    """
    x, y = np.log(values), np.asarray(curve, float) - level
    found = [
        float(x[i] + (x[i + 1] - x[i]) * y[i] / (y[i] - y[i + 1]))
        for i in range(len(x) - 1)
        if y[i] == 0 or y[i] * y[i + 1] < 0
    ]
    if not found:
        value = values[int(np.argmin(np.abs(y)))]
        return value, "the level that the rule looks for is not reached in the range that was searched"
    nearest = min(found, key=lambda v: abs(v - np.log(problem.default)))
    return problem.tidy(float(np.exp(nearest))), ""


def minimum(problem: Problem, score: Callable[[float], float], values: list[float] | None) -> Curve:
    """The value with the smallest score: coarse steps, on past the end if it lies there, then finer around it.

    About 10 evaluations. With `values` given, only these are tried.
    """
    if values is not None:
        scores = [score(v) for v in values]
        value = values[int(np.argmin(scores))]
        return Curve(value, values, scores, note=at_end(value, values))
    step = 10**0.5
    seen = {v: score(v) for v in problem.grid(5, 1.0)}

    def best() -> float:
        return min(seen, key=lambda v: seen[v])

    for _ in range(5):
        order = sorted(seen)
        b = best()
        if b not in (order[0], order[-1]):
            break
        further = problem.tidy(b / step if b == order[0] else b * step)
        if further in seen:
            break
        seen[further] = score(further)
    for factor in (10**0.25, 10**0.125):
        b = best()
        for v in (problem.tidy(b / factor), problem.tidy(b * factor)):
            if v not in seen:
                seen[v] = score(v)
    order = sorted(seen)
    value = best()
    return Curve(value, order, [seen[v] for v in order], note=at_end(value, order))
