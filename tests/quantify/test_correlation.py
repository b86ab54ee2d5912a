"""Correlation between maps: known relations, and intervals on smooth maps that have nothing to do with each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from chimap.errors import InputError
from chimap.quantify import correlation

SHAPE, VOXEL = (30, 34, 28), (1.0, 1.0, 1.2)


def smooth(rng, sigma):
    v = ndimage.gaussian_filter(rng.standard_normal(SHAPE), sigma, mode="wrap")
    return (v / v.std()).astype(np.float32)


@pytest.fixture
def ball():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return x**2 + y**2 + z**2 < 0.95


def test_white_noise_is_worth_all_its_voxels(rng, ball):
    found = correlation.correlate_voxels(smooth(rng, 0), smooth(rng, 0), ball, VOXEL)
    assert found.n_effective == pytest.approx(ball.sum(), rel=0.05) and abs(found.r) < 0.03


def test_smooth_maps_are_worth_few_and_the_interval_holds(rng, ball):
    found = [correlation.correlate_voxels(smooth(rng, 2), smooth(rng, 2), ball, VOXEL) for _ in range(50)]
    held = np.mean([c.r_ci[0] < 0 < c.r_ci[1] for c in found])
    naive = np.mean([abs(c.r) < 1.96 / np.sqrt(c.n) for c in found])
    assert held >= 0.84 and naive < 0.4
    # From the spread of r itself.
    assert np.median([c.n_effective for c in found]) == pytest.approx(
        1 + 1 / np.var([c.r for c in found]), rel=0.7
    )


def test_line_and_partial(rng, ball):
    a, b, c = (smooth(rng, 1) for _ in range(3))
    y = 3 + 2 * a + 0.5 * c
    line = correlation.correlate_voxels(a, y, ball, VOXEL)
    assert line.slope_ci[0] < 2 < line.slope_ci[1] and line.intercept == pytest.approx(3, abs=0.1)
    assert line.r == pytest.approx(2 / np.hypot(2, 0.5), abs=0.03) and line.spearman == pytest.approx(
        line.r, abs=0.03
    )
    # Two maps that have only a third one in common.
    maps = {"one": a + 0.5 * b, "two": a + 0.5 * c, "third": a}
    assert correlation.correlate_voxels(maps["one"], maps["two"], ball, VOXEL).r > 0.7
    rest = correlation.partial(maps, "one", "two", ball, VOXEL)
    assert rest.r_ci[0] < 0 < rest.r_ci[1] and abs(rest.r) < 0.15
    with pytest.raises(InputError, match="third map"):
        correlation.partial({"one": a, "two": b}, "one", "two", ball, VOXEL)
    with pytest.raises(InputError, match="nothing is left"):
        correlation.partial({"one": a, "two": b, "three": 2 * a}, "one", "two", ball, VOXEL)


def test_window_finds_where_the_sign_turns(rng, ball):
    a = smooth(rng, 0)
    left = np.arange(SHAPE[0])[:, None, None] < 15
    y = np.where(left, 4 * a, -3 * a) + 0.1 * smooth(rng, 0)
    r, slope, z = correlation.windowed(a, y, ball, VOXEL, window_mm=5)
    deep = ndimage.binary_erosion(ball, iterations=3)
    assert np.median(r[:11][deep[:11]]) > 0.99 and np.median(r[19:][deep[19:]]) < -0.99
    assert np.median(slope[:11][deep[:11]]) == pytest.approx(4, abs=0.1)
    assert not r[~ball].any() and np.isfinite(z).all() and np.abs(r).max() <= 1
    flat = correlation.windowed(np.ones_like(a), y, ball, VOXEL)
    assert not any(v.any() for v in flat)


def test_regions_and_histogram(rng, ball):
    labels = rng.integers(0, 7, SHAPE)
    a = (labels * 0.1).astype(np.float32)
    rows = correlation.region_means({"a": a, "b": 5 - 2 * a}, labels, ball)
    assert [r["label"] for r in rows] == [1, 2, 3, 4, 5, 6] and rows[2]["a_mean"] == pytest.approx(0.3)
    assert rows[0]["voxels"] == (ball & (labels == 1)).sum()
    x = [r["a_mean"] for r in rows]
    line = correlation.correlate_regions(x, 5 - 2 * np.array(x) + rng.normal(0, 1e-3, 6))
    assert line.slope == pytest.approx(-2, abs=0.02) and line.n_effective == 6
    counts, xe, ye = correlation.joint_histogram(smooth(rng, 1), smooth(rng, 1), ball, 20)
    assert (
        counts.shape == (20, 20)
        and 0.97 * ball.sum() < counts.sum() <= ball.sum()
        and len(xe) == len(ye) == 21
    )


@pytest.mark.parametrize("y", [np.ones(8), np.full(8, np.nan), np.arange(3)])
def test_bad_values(y):
    with pytest.raises(InputError):
        correlation.correlate_regions(np.arange(len(y)), y)
