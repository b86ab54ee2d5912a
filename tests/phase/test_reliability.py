"""Reliability of unwrapping: high where all is well, low where a multiple of 2 pi is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from phase_scans import ellipsoid, scan

from chimap import registry
from chimap.errors import InputError
from chimap.phase.reliability import reliability


def truth(s):
    """The right unwrapped phase with the scan's noise."""
    out = np.stack([s.true_phase(e) for e in range(s.acq.echoes)], axis=-1)
    return (s.phase + 2 * np.pi * np.rint((out - s.phase) / (2 * np.pi))).astype(np.float32)


def test_right_phase_is_reliable_and_in_range():
    s = scan()
    r = reliability(truth(s), s.phase, s.mask, s.acq, s.magnitude)
    assert r.dtype == np.float32 and r.shape == s.mask.shape
    assert not r[~s.mask].any()
    assert r[s.mask].min() > 0.9 and r.max() <= 1


def test_one_wrong_echo_is_found_by_its_misfit():
    s = scan((0.004, 0.008, 0.012, 0.016))
    block = ellipsoid(s.mask.shape, 0.4)
    u = truth(s)
    u[block, 2] += np.float32(2 * np.pi)
    r = reliability(u, s.phase, s.mask, s.acq, s.magnitude)
    assert r[block].max() < 0.05
    assert np.median(r[s.mask & ~block]) > 0.9


@pytest.mark.parametrize("echoes", [1, 2, 3])
def test_a_lone_wrong_voxel_is_found_by_its_steps(echoes):
    s = scan((0.004, 0.010, 0.016)[:echoes], strength=0.5)
    u = truth(s)
    centre = tuple(n // 2 for n in s.mask.shape)
    # 2 pi for each 4 ms: a straight line in time.
    u[centre] += np.float32(2 * np.pi) * np.rint(np.array(s.acq.te_s) / 0.004).astype(np.float32)
    r = reliability(u, s.phase, s.mask, s.acq)
    assert r[centre] < 0.01
    beside = (centre[0] + 1, *centre[1:])
    assert 0.7 < r[beside] < 0.9  # one of six neighbours
    away = (centre[0] + 2, *centre[1:])
    assert r[away] > 0.95


def test_wrong_voxels_of_a_real_method_score_low():
    s = scan((0.008, 0.016, 0.024), strength=2.5, snr=8)
    u = registry.get("unwrap", "romeo")(s.phase, s.mask, s.acq, magnitude=s.magnitude, individual=True)
    wrong = np.zeros_like(s.mask)
    for e in range(3):
        turns = np.rint((u[..., e] - s.true_phase(e)) / (2 * np.pi))
        wrong |= s.mask & (turns != np.median(turns[s.mask]))
    assert 5 < wrong.sum() < 0.1 * s.mask.sum()
    r = reliability(u, s.phase, s.mask, s.acq, s.magnitude)
    assert np.median(r[wrong]) < np.percentile(r[s.mask & ~wrong], 10)


def test_no_signal_is_not_reliable_and_smooth_solutions_are_judged_too():
    s = scan()
    s.magnitude[12:15, 12:15, 12:15] = 0
    r = reliability(truth(s), s.phase, s.mask, s.acq, s.magnitude)
    assert not r[12:15, 12:15, 12:15].any()
    smooth = registry.get("unwrap", "laplacian")(s.phase, s.mask, s.acq, multiples=False)
    assert np.median(reliability(smooth, s.phase, s.mask, s.acq)[s.mask]) > 0.8


def test_single_echo_without_echo_axis_and_nan_outside():
    s = scan((0.01,))
    u = truth(s)[..., 0]
    u[~s.mask] = np.nan
    r = reliability(u, s.phase[..., 0], s.mask, s.acq, s.magnitude[..., 0])
    assert r.shape == s.mask.shape and r[s.mask].min() > 0.8 and not r[~s.mask].any()


def test_errors_say_what_is_wrong():
    s = scan()
    with pytest.raises(InputError, match="phase has shape"):
        reliability(truth(s), s.phase[..., :2], s.mask, s.acq)
    with pytest.raises(InputError, match="magnitude has shape"):
        reliability(truth(s), s.phase, s.mask, s.acq, s.magnitude[1:])
    u = truth(s)
    u[tuple(n // 2 for n in s.mask.shape)] = np.nan
    with pytest.raises(InputError, match="NaN"):
        reliability(u, s.phase, s.mask, s.acq)
