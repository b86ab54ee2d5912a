"""What a set of B0 directions determines, against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.orientation.conditioning import (
    best_extra,
    conditioning,
    half_sphere,
    posture,
    strength,
    tilt_of,
)
from chimap.simulate.orientations import HeadPosition


def in_plane(degrees: float) -> tuple[float, float, float]:
    a = np.deg2rad(degrees)
    return (0.0, float(np.sin(a)), float(np.cos(a)))


def test_three_directions_sixty_degrees_apart_in_a_plane():
    # sum over i of (1/3 - s^2 cos^2(a - a_i))^2 = 1/3 - s^2 + 9/8 s^4: least 1/9 at s^2 = 4/9, most 11/24 at s = 1.
    found = conditioning([in_plane(0), in_plane(60), in_plane(120)])
    assert found.number == pytest.approx(np.sqrt(33 / 8), rel=1e-4)
    assert found.weakest == pytest.approx(1 / 3, rel=1e-4)
    assert found.badly_known == 0


@pytest.mark.parametrize("apart", [20.0, 60.0, 90.0])
def test_two_directions_share_zeros_where_their_cones_meet(apart):
    b = np.array([in_plane(0), in_plane(apart)])
    # k.b1 = k.b2 = 1/sqrt(3): k = a (b1 + b2) + c n with a = 1/(sqrt(3) (1 + cos)).
    a = 1 / (np.sqrt(3) * (1 + np.cos(np.deg2rad(apart))))
    c = np.sqrt(1 - 2 / (3 * (1 + np.cos(np.deg2rad(apart)))))
    k = a * (b[0] + b[1]) + c * np.array([1.0, 0.0, 0.0])
    assert np.linalg.norm(k) == pytest.approx(1)
    assert strength(k, b) == pytest.approx(0, abs=1e-12)
    assert conditioning(b).number == np.inf
    # Along the first direction: 2/3 from it, 1/3 - cos^2 from the other.
    expected = np.hypot(2 / 3, 1 / 3 - np.cos(np.deg2rad(apart)) ** 2)
    assert strength(b[0], b) == pytest.approx(expected)


def test_one_direction_leaves_a_cone():
    found = conditioning([(0, 0, 1)])
    assert found.number == np.inf
    # |1/3 - z^2| < 0.1 for z between the roots of 1/3 -+ 0.1, which is the share of a half sphere.
    assert found.badly_known == pytest.approx(np.sqrt(1 / 3 + 0.1) - np.sqrt(1 / 3 - 0.1), abs=1e-3)


def test_noise_gain_falls_with_each_direction():
    rng = np.random.default_rng(0)
    b = rng.normal(size=(6, 3))
    gains = [conditioning(b[:n]).noise_gain for n in range(1, 7)]
    assert all(x > y for x, y in zip(gains, gains[1:]))


def test_the_best_further_direction_beats_others_in_reach():
    b = [in_plane(0), in_plane(25)]
    extra, after = best_extra(b, 25)
    assert np.rad2deg(np.arccos(np.dot(extra, b[0]))) <= 25.01
    for other in half_sphere(400):
        if np.dot(other, b[0]) > np.cos(np.deg2rad(25)):
            assert conditioning([*b, other]).noise_gain > after.noise_gain - 0.02
    assert after.number < 10 < conditioning(b).number


def test_tilts_of_a_head_are_told_as_they_were_made():
    for nod, tilt in ((0, 0), (20, 0), (0, -15), (-12, 18)):
        b0 = HeadPosition(nod, tilt, turn_deg=7).rotation().T @ [0, 0, 1]
        assert tilt_of(b0) == pytest.approx((nod, tilt), abs=1e-6)
    assert posture(HeadPosition(20, -15).rotation().T @ [0, 0, 1]) == (
        "crown 15 degrees towards the left shoulder, chin 20 degrees down"
    )


@pytest.mark.parametrize("bad", [[], [(0, 0, 0)], [(0, 1)], [(np.nan, 0, 1)]])
def test_what_is_no_direction_is_refused(bad):
    with pytest.raises(InputError):
        conditioning(bad)
