"""Random objects within random surroundings: repeatable, complete, and with a background that is one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from chimap.learning.synthetic.outside import TotalSample, total_sample

SHAPE = (28, 30, 26)


def _sample(seed: int) -> TotalSample:
    return total_sample(np.random.default_rng(seed), SHAPE)


def test_the_same_seed_gives_the_same_sample_and_another_does_not():
    one, same, other = _sample(3), _sample(3), _sample(4)
    assert np.array_equal(one.total_ppm, same.total_ppm) and one.acq == same.acq
    assert one.acq != other.acq or not np.array_equal(one.total_ppm, other.total_ppm)


@pytest.mark.parametrize("seed", range(6))
def test_samples_are_finite_and_empty_outside_their_mask(seed):
    s = _sample(seed)
    assert 0.02 < s.mask.mean() < 0.9
    for v in (s.local_ppm, s.background_ppm, s.total_ppm, s.noise_ppm, s.magnitude):
        if v is not None:
            assert v.shape == SHAPE and v.dtype == np.float32
            assert np.isfinite(v).all() and not v[~s.mask].any()


@pytest.mark.parametrize("seed", range(6))
def test_the_total_is_the_sum_of_both_and_noise(seed):
    s = _sample(seed)
    rest = (s.total_ppm - s.local_ppm - s.background_ppm)[s.mask]
    assert 1e-5 < np.median(np.abs(rest)) < 0.03
    if s.noise_ppm is not None:
        ratio = np.median(np.abs(rest) / s.noise_ppm[s.mask])
        assert 0.5 < ratio < 0.85  # 0.67 for normal errors of the standard deviation that is stated


def test_the_background_is_harmonic_and_the_local_field_is_not():
    ratios = {"background_ppm": [], "local_ppm": []}
    for seed in range(12):
        s = _sample(seed)
        inner = binary_erosion(s.mask, iterations=3)
        if inner.sum() < 200:
            continue
        for name, found in ratios.items():
            v = getattr(s, name).astype(np.float64)
            parts = [
                (np.roll(v, 1, a) + np.roll(v, -1, a) - 2 * v)[inner] / s.acq.voxel_size_mm[a] ** 2
                for a in range(3)
            ]
            size = np.sqrt(sum(np.median(np.abs(p)) ** 2 for p in parts))
            found.append(np.median(np.abs(sum(parts))) / size)
    assert len(ratios["local_ppm"]) >= 8
    # Differences of second order see sources close by as not quite harmonic.
    assert np.median(ratios["background_ppm"]) < 0.35 < 0.7 < np.median(ratios["local_ppm"])
