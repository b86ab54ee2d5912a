"""Random objects and their fields: repeatable, within their ranges, and physically right."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.learning.synthetic import local_sample, random_scene
from chimap.learning.synthetic.fields import blob, grid, random_field, tube
from chimap.learning.synthetic.measure import random_acquisition
from chimap.learning.synthetic.sampling import FACTORS, at_points, averaged, cut, nearest
from chimap.numerics.dipole import forward_field

SHAPE = (24, 26, 22)


def _sample(seed: int, fine: float = 0.35):  # type: ignore[no-untyped-def]
    return local_sample(np.random.default_rng(seed), SHAPE, fine)


def test_the_same_seed_gives_the_same_sample_and_another_does_not():
    one, same, other = _sample(3), _sample(3), _sample(4)
    assert np.array_equal(one.field_ppm, same.field_ppm) and one.acq == same.acq
    assert one.acq != other.acq or not np.array_equal(one.field_ppm, other.field_ppm)


@pytest.mark.parametrize("seed", range(6))
def test_samples_are_finite_and_empty_outside_their_mask(seed):
    s = _sample(seed)
    assert 0.02 < s.mask.mean() < 0.9
    for v in (s.chi_ppm, s.field_ppm, s.noise_ppm, s.magnitude, s.r2star):
        if v is not None:
            assert v.shape == SHAPE and v.dtype == np.float32
            assert np.isfinite(v).all() and not v[~s.mask].any()
    assert s.chi_ppm[s.mask].std() > 0


def test_acquisitions_cover_their_ranges():
    rng = np.random.default_rng(0)
    drawn = [random_acquisition(rng) for _ in range(300)]
    edges = np.array([a.voxel_size_mm for a in drawn])
    assert edges.min() >= 0.4 and edges.max() <= 3.0
    assert 0.15 < np.mean(edges.max(1) / edges.min(1) > 1.05) < 0.45
    tilt = np.array([abs(a.b0_dir[2]) for a in drawn])
    assert tilt.min() < 0.2 and np.mean(tilt == 1) > 0.2
    assert {a.b0_t for a in drawn} == {1.5, 3.0, 7.0, 9.4}


def test_field_of_a_sample_is_that_of_its_susceptibility():
    """Samples on their own grid without left-over, garbage or errors of the mask: only noise separates field and truth."""
    seen = 0
    for seed in range(40):
        s = _sample(seed, fine=0.0)
        residual = (forward_field(s.chi_ppm, s.acq, pad=1.5) - s.field_ppm)[s.mask]
        if np.abs(residual).max() < 0.02 and s.field_ppm[s.mask].std() > 0.01:
            seen += 1
            assert residual.std() < 0.3 * s.field_ppm[s.mask].std()
    assert seen >= 5


def test_scene_keeps_away_from_the_edge():
    scene = random_scene(np.random.default_rng(1), SHAPE, (1.0, 1.0, 2.0), margin=3)
    inner = np.zeros(SHAPE, bool)
    inner[3:-3, 3:-3, 3:-3] = True
    assert scene.mask.any() and not scene.mask[~inner].any()
    assert (scene.m0[scene.mask] > 0).all() and (scene.r2star[scene.mask] >= 1).all()


def test_random_field_has_unit_spread_and_its_length():
    f = random_field(np.random.default_rng(2), (48, 48, 48), (1.0, 1.0, 1.0), 6.0)
    g = random_field(np.random.default_rng(2), (48, 48, 48), (1.0, 1.0, 1.0), 2.0)
    assert f.std() == pytest.approx(1, abs=1e-3) and abs(f.mean()) < 1e-3
    step = [float(np.diff(v, axis=0).std()) for v in (f, g)]
    assert step[0] < 0.5 * step[1]


def test_blob_has_the_volume_of_its_axes():
    rng = np.random.default_rng(5)
    inside = blob(rng, grid((60, 60, 60), (0.5, 0.5, 0.5)), (0, 0, 0), (8.0, 6.0, 4.0)) < 0
    assert inside.sum() * 0.125 == pytest.approx(4 / 3 * np.pi * 8 * 6 * 4, rel=0.02)


def test_tube_is_connected_and_as_thick_as_told():
    from scipy.ndimage import distance_transform_edt, label

    volume = np.zeros((40, 40, 40), bool)
    volume[tube(np.random.default_rng(7), volume.shape, (1.0, 1.0, 1.0), 2.5)] = True
    assert volume.any() and label(volume, np.ones((3, 3, 3)))[1] == 1
    assert 2 <= distance_transform_edt(volume).max() <= 4


def test_averages_over_blocks_keep_the_mean():
    v = np.random.default_rng(0).random((8, 6, 4), dtype=np.float32)
    assert averaged(v, 2).shape == (4, 3, 2)
    assert averaged(v, 2).mean() == pytest.approx(v.mean(), rel=1e-6)
    assert averaged(v, 1) is v


@pytest.mark.parametrize("way", list(FACTORS))
def test_every_way_of_sampling_gives_a_field_near_that_of_its_truth(way):
    """Aliasing and partial volume part them by some tenths, never more than noise of another object would."""
    parted = []
    for seed in range(12):
        s = local_sample(np.random.default_rng(seed), SHAPE, sampling={way: 1.0})
        assert s.chi_ppm.shape == SHAPE and np.isfinite(s.field_ppm).all() and not s.field_ppm[~s.mask].any()
        own = forward_field(s.chi_ppm, s.acq, pad=1.5)[s.mask]
        parted.append(np.corrcoef(own, s.field_ppm[s.mask])[0, 1])
    assert np.median(parted) > 0.85


def _wave(shape, first=0.0, step=1.0):
    x, y, z = np.meshgrid(*[first + step * np.arange(n) for n in shape], indexing="ij")
    turn = 2 * np.pi / 24
    return (np.cos(2 * turn * x) + 0.5 * np.sin(turn * (y - 3 * z))).astype(np.float32)


def test_a_coarse_wave_is_the_same_cut_in_k_space_and_at_points():
    fine, offset = _wave((24, 24, 24)), np.array([0.3, 0.3, 0.3])
    expected = _wave((16, 16, 16), 0.3, 1.5)
    np.testing.assert_allclose(cut(fine, (16, 16, 16), offset), expected, atol=2e-6)
    inner = (slice(3, -3),) * 3
    np.testing.assert_allclose(at_points(fine, (16, 16, 16), offset)[inner], expected[inner], atol=0.02)


def test_what_is_finer_than_a_voxel_is_lost_in_k_space_and_aliased_at_points():
    fine = np.zeros((24, 24, 24), np.float32)
    fine += np.cos(2 * np.pi * 10 / 24 * np.arange(24))[:, None, None]
    assert np.abs(cut(fine, (16, 16, 16), (0, 0, 0))).max() < 1e-5
    assert at_points(fine, (16, 16, 16), (0, 0, 0)).std() > 0.1


def test_nearest_voxels_of_a_mask():
    mask = np.zeros((24, 24, 24), bool)
    mask[6:18] = True
    near = nearest(mask, (16, 16, 16), (0.25, 0.25, 0.25))
    assert near[4:12].all() and not near[:4].any() and not near[12:].any()
