"""Agreement of repeated scans, against published numbers and simulations."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.quantify.repeatability import repeatability


def test_published_example():
    """Four judges and six targets of Shrout and Fleiss 1979: ICC(2,1) 0.29, ICC(3,1) 0.71."""
    x = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    r = repeatability(x)
    assert r.icc21 == pytest.approx(0.29, abs=0.005) and r.icc31 == pytest.approx(0.71, abs=0.005)
    assert r.icc21_ci == pytest.approx((0.02, 0.76), abs=0.005)
    assert r.icc31_ci == pytest.approx((0.34, 0.95), abs=0.005)
    assert r.within_cv is None  # the means lie near 0 for so large a spread


def test_simulated_scans(rng):
    true = np.linspace(-50, 300, 200)
    x = true[:, None] + rng.normal(0, 5, (200, 2)) + np.array([0.0, 3.0])
    r = repeatability(x)
    assert r.bias == pytest.approx(3, abs=2) and r.bias_ci[0] < r.bias < r.bias_ci[1]
    assert r.limits[1] - r.limits[0] == pytest.approx(2 * 1.96 * 5 * np.sqrt(2), rel=0.15)
    assert r.within_sd == pytest.approx(5.4, rel=0.15)  # the bias is part of it
    assert r.icc31 > r.icc21 > 0.99
    assert r.within_cv is None and r.trend_p > 0.001
    far = repeatability(np.abs(true[:, None]) + 100 + rng.normal(0, 5, (200, 3)))
    assert far.within_cv == pytest.approx(100 * 5 / 230, rel=0.3) and far.within_cv_ci[0] < far.within_cv
    assert len(far.differences) == 600 and far.trend_p is None


@pytest.mark.parametrize(
    "x", [[[1, 2], [3, 4]], [[1], [2], [3]], [[1, np.nan], [2, 3], [4, 5]], np.ones((4, 2))]
)
def test_too_little(x):
    with pytest.raises(InputError):
        repeatability(x)
