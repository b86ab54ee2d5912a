"""Linear regression of regional susceptibility on what is known of the participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEAST_FREE = 3
"""Fewer degrees of freedom than these give no regression."""


@dataclass(frozen=True)
class Design:
    """Columns of a regression without the intercept: their names, the values (n, p), and what was left out and why."""

    names: tuple[str, ...]
    matrix: np.ndarray
    units: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """One term of one regression: its estimate with standard error, confidence interval and p-value."""

    term: str
    unit: str
    n: int
    free: int
    estimate: float
    se: float
    low: float
    high: float
    t: float
    p: float


def design(rows: Sequence[Mapping[str, str]], wanted: Sequence[str]) -> Design:
    """The columns of `wanted` covariates.

    Covariates that are numbers everywhere are centred on their mean; others get one column for each level but the first by
    alphabet, which is the one compared with. Missing values become NaN. Covariates that nobody has or that do not vary are left
    out, with a note.
    """
    names: list[str] = []
    units: list[str] = []
    notes: list[str] = []
    columns: list[np.ndarray] = []
    for name in wanted:
        values = [r.get(name) for r in rows]
        known = [v for v in values if v is not None]
        if len(set(known)) < 2:
            notes.append(
                f"{name} is left out: " + ("no participant has it" if not known else "it does not vary")
            )
            continue
        try:
            x = np.array([np.nan if v is None else float(v) for v in values])
        except ValueError:
            first, *others = sorted(set(known))
            for level in others:
                names.append(f"{name}: {level} - {first}")
                units.append("ppb")
                columns.append(np.array([np.nan if v is None else float(v == level) for v in values]))
            continue
        names.append(name)
        units.append("ppb per year" if name == "age" else f"ppb per unit of {name}")
        columns.append(x - np.nanmean(x))
    matrix = np.stack(columns, axis=1) if columns else np.empty((len(rows), 0))
    return Design(tuple(names), matrix, tuple(units), tuple(notes))


def regress(y: np.ndarray, columns: Design, level: float = 0.95) -> list[Effect]:
    """Ordinary least squares of `y` on an intercept and the columns, observations with a missing value left out.

    Parameters
    ----------
    y : (n,) float
        One value a participant; NaN: missing.
    columns : Design
    level : float
        Of the confidence intervals.

    Returns
    -------
    list of Effect
        One a column, by Student's t; empty with fewer than 3 degrees of freedom, or columns that depend on one another.
    """
    keep = np.isfinite(y) & np.isfinite(columns.matrix).all(axis=1)
    n, p = int(keep.sum()), columns.matrix.shape[1]
    free = n - p - 1
    if p == 0 or free < LEAST_FREE:
        return []
    x = np.column_stack([np.ones(n), columns.matrix[keep]])
    if np.linalg.matrix_rank(x) < p + 1:
        return []
    q, r = np.linalg.qr(x)
    beta = np.linalg.solve(r, q.T @ y[keep])
    residual = y[keep] - x @ beta
    inverse = np.linalg.inv(r)
    se = np.sqrt((residual @ residual) / free * (inverse**2).sum(axis=1))
    width = float(stats.t.ppf(0.5 + level / 2, free))
    out = []
    for i, (name, unit) in enumerate(zip(columns.names, columns.units, strict=True), start=1):
        b, s = float(beta[i]), float(se[i])
        t = b / s if s > 0 else float("inf") * np.sign(b)
        p_value = float(2 * stats.t.sf(abs(t), free))
        out.append(Effect(name, unit, n, free, b, s, b - width * s, b + width * s, float(t), p_value))
    return out


def false_discovery(p: Sequence[float]) -> list[float]:
    """P-values adjusted for the false discovery rate (Benjamini and Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x)."""
    return [float(v) for v in stats.false_discovery_control(p)] if len(p) else []
