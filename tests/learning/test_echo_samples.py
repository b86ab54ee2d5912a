"""Random multi-echo scans with their true phase."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.learning.synthetic.echoes import EchoSample, echo_sample

SHAPE = (26, 24, 22)


def _sample(seed: int, **options: object) -> EchoSample:
    return echo_sample(np.random.default_rng(seed), SHAPE, **options)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_sample_and_another_does_not() -> None:
    one, same, other = _sample(3), _sample(3), _sample(4)
    assert np.array_equal(one.phase, same.phase) and one.acq == same.acq
    assert np.array_equal(one.mask, same.mask)
    assert one.acq != other.acq or not np.array_equal(one.phase, other.phase)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("careful", [False, True])
def test_a_sample_is_a_scan(seed: int, careful: bool) -> None:
    s = _sample(seed, careful=careful)
    assert s.phase.shape == s.magnitude.shape == s.true_phase.shape == (*SHAPE, s.acq.echoes)
    assert np.isfinite(s.phase).all() and np.abs(s.phase).max() <= np.pi + 1e-5
    assert (s.magnitude >= 0).all() and s.mask.any()
    assert not s.chi_ppm[~(s.r2star > 0)].any()


def test_the_phase_follows_the_field_up_to_noise() -> None:
    s = _sample(1, snr=(5000.0, 5000.0), careful=True)
    for e, te in enumerate(s.acq.te_s):
        wrapped = np.angle(np.exp(1j * (s.phase[..., e] - s.true_phase[..., e])))
        assert np.median(np.abs(wrapped[s.mask])) < 0.01
        grown = s.true_phase[..., e] - s.true_phase[..., 0]
        expected = s.acq.rad_per_ppm(te - s.acq.te_s[0]) * s.total_ppm
        assert np.allclose(grown, expected, atol=1e-3)


def test_short_voxels_can_be_refused() -> None:
    assert all(min(_sample(seed, least_voxel_mm=1.1).acq.voxel_size_mm) >= 1.1 for seed in range(4))


def test_a_careful_mask_has_signal() -> None:
    s = _sample(2, careful=True)
    inside = s.magnitude[..., 0][s.mask]
    assert np.percentile(inside, 1) > 0.1 * np.median(inside)
