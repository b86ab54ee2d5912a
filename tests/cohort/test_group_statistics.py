"""Outliers and regressions against closed forms and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from chimap.cohort.outliers import robust_z
from chimap.cohort.regression import design, false_discovery, regress


def test_robust_z_by_hand():
    # Median 5, absolute deviations 4 3 2 1 0 1 2 3 95: MAD 2.
    z = robust_z([1, 2, 3, 4, 5, 6, 7, 8, 100])
    assert z == pytest.approx(np.array([-4, -3, -2, -1, 0, 1, 2, 3, 95]) / 2 / 1.4826)


def test_robust_z_has_no_scale():
    assert np.isnan(robust_z([1, 2, 3, 4, 5, 6, 99])).all()
    assert np.isnan(robust_z([5, 5, 5, 5, 5, 5, 1, 9])).all()
    z = robust_z([1, None, 2, 3, float("nan"), 4, 5, 6, 7, 100])
    assert np.isnan(z[[1, 4]]).all() and z[9] > 30


def test_one_covariate_agrees_with_scipy(rng):
    age = rng.uniform(20, 80, 30)
    y = 3 + 0.5 * age + rng.normal(0, 4, 30)
    (effect,) = regress(y, design([{"age": str(a)} for a in age], ["age"]))
    line = stats.linregress(age, y)
    assert effect.estimate == pytest.approx(line.slope)
    assert effect.se == pytest.approx(line.stderr)
    assert effect.p == pytest.approx(line.pvalue)
    assert effect.unit == "ppb per year" and effect.free == 28
    half = stats.t.ppf(0.975, 28) * line.stderr
    assert (effect.low, effect.high) == pytest.approx((line.slope - half, line.slope + half))


def test_two_levels_are_a_t_test(rng):
    sex = ["F"] * 8 + ["M"] * 9
    y = rng.normal(0, 1, 17) + np.array([s == "M" for s in sex])
    (effect,) = regress(y, design([{"sex": s} for s in sex], ["sex"]))
    test = stats.ttest_ind(y[8:], y[:8])
    assert effect.term == "sex: M - F" and effect.unit == "ppb"
    assert effect.t == pytest.approx(test.statistic) and effect.p == pytest.approx(test.pvalue)


def test_effects_of_several_covariates_are_found(rng):
    n = 60
    age, group = rng.uniform(20, 80, n), rng.integers(0, 3, n)
    rows = [{"age": str(a), "group": "abc"[g]} for a, g in zip(age, group)]
    y = 0.3 * age + np.array([0.0, 5.0, -2.0])[group]
    effects = {e.term: e.estimate for e in regress(y, design(rows, ["age", "group"]))}
    assert effects == pytest.approx({"age": 0.3, "group: b - a": 5.0, "group: c - a": -2.0})


def test_confidence_intervals_hold_what_they_promise(rng):
    age = np.linspace(20, 80, 12)
    columns = design([{"age": str(a)} for a in age], ["age"])
    held = 0
    for _ in range(400):
        (effect,) = regress(0.2 * age + rng.normal(0, 3, 12), columns)
        held += effect.low <= 0.2 <= effect.high
    # 95 % of 400 is 380, with a standard deviation of 4.4.
    assert 362 <= held <= 396


def test_missing_values_leave_observations_out(rng):
    rows = [{"age": str(a)} for a in range(20, 30)]
    rows[3] = {}
    y = rng.normal(0, 1, 10)
    y[5] = np.nan
    (effect,) = regress(y, design(rows, ["age"]))
    assert effect.n == 8


def test_no_regression_without_enough_to_go_by():
    rows = [{"age": str(a), "sex": "F", "old": str(2 * a)} for a in range(5)]
    columns = design(rows, ["age", "sex", "group"])
    assert columns.names == ("age",)
    assert [n.split(" is ")[0] for n in columns.notes] == ["sex", "group"]
    assert regress(np.arange(4.0), design(rows[:4], ["age"])) == []
    assert regress(np.arange(5.0) ** 2, design(rows, ["age", "old"])) == []
    assert len(regress(np.arange(5.0) ** 2, design(rows, ["age"]))) == 1


def test_false_discovery_by_hand():
    assert false_discovery([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert false_discovery([]) == []
