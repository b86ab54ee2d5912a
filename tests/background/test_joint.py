"""The joint fit: background goes, the edge stays, and bad voxels do not spread."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.background.joint import joint
from chimap.background.lbv import lbv
from chimap.errors import InputError
from chimap.simulate.analytic import sphere

SHAPE = (34, 32, 26)
ACQ = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0.2, 0.1, 0.97), voxel_size_mm=(1.7, 1.7, 2.1))
OUTSIDE = ((33.0, 0.0, 8.0), (-5.0, -34.0, -10.0), (0.0, 5.0, 36.0))


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, ACQ.voxel_size_mm)), indexing="ij"
    )
    return (x / 25) ** 2 + (y / 24) ** 2 + (z / 25) ** 2 < 1


@pytest.fixture(scope="module")
def background() -> np.ndarray:
    return sum(sphere(SHAPE, ACQ, radius_mm=5.0, chi_ppm=9.4, centre_mm=c).field_ppm for c in OUTSIDE)


@pytest.fixture(scope="module")
def ball() -> np.ndarray:
    return sphere(SHAPE, ACQ, radius_mm=4.0, chi_ppm=0.3).field_ppm


def test_outside_sources_leave_little(mask, background) -> None:
    local = joint(background, mask, ACQ)
    assert np.array_equal(local.mask, mask)
    assert np.sqrt((local.field_ppm[mask] ** 2).mean()) < 0.02 * background[mask].std()


def test_a_sphere_inside_survives(mask, ball) -> None:
    local = joint(ball, mask, ACQ).field_ppm
    truth = ball[mask] - ball[mask].mean()
    assert local[mask].max() == pytest.approx(truth.max(), rel=0.05)
    assert local[mask].min() == pytest.approx(truth.min(), rel=0.05)


def test_a_sphere_against_a_strong_background(mask, ball, background) -> None:
    local = joint(ball + background, mask, ACQ).field_ppm
    truth = ball[mask] - ball[mask].mean()
    assert np.linalg.norm(local[mask] - truth) < 0.35 * np.linalg.norm(truth)
    assert local[mask].mean() == pytest.approx(0, abs=1e-5)


def test_twice_the_field_is_twice_the_local_field(mask, ball, background) -> None:
    one = joint(ball + background, mask, ACQ, iterations=10).field_ppm
    two = joint(2 * (ball + background), mask, ACQ, iterations=10, tolerance=0).field_ppm
    assert np.allclose(two, 2 * one, atol=2e-4 * np.abs(two).max())


def test_a_lost_voxel_does_not_spread(mask, ball) -> None:
    field, noise = ball.copy(), np.full(SHAPE, 0.002, np.float32)
    at = (18, 20, 13)
    field[at] += 1.0
    for sd in (1.0, 0.002):  # known to be bad, and not known
        noise[at] = sd
        out = joint(field, mask, ACQ, noise=noise, iterations=30)
        clean = joint(ball, mask, ACQ, noise=noise, iterations=30).field_ppm
        others = mask.copy()
        others[at] = False
        off = (out.field_ppm - clean)[others]
        assert np.abs(off - np.median(off)).max() < 0.01
        assert out.noise_ppm[at] == np.float32(sd)


def test_progress_and_an_early_end(mask, background) -> None:
    told = []
    joint(
        background, mask, ACQ, tolerance=1.0, progress=lambda done, total, **facts: told.append((done, facts))
    )
    assert 1 < told[-1][0] < 60
    assert told[-1][1]["converged"]


def test_a_mask_up_to_the_border() -> None:
    shape = (20, 20, 20)
    acq = ACQ.with_(voxel_size_mm=(2.0, 2.0, 2.0))
    inside = np.zeros(shape, bool)
    inside[:, :, :9] = inside[:, :6] = True
    field = sphere(shape, acq, radius_mm=6.0, chi_ppm=0.3).field_ppm
    out = joint(field, inside, acq, iterations=5)
    assert np.isfinite(out.field_ppm).all()
    assert np.array_equal(out.mask, inside)


@pytest.mark.parametrize("name", ["tissue_ppm", "source_ppm", "gap_mm", "floor_ppm"])
def test_parameters_must_be_positive(mask, name) -> None:
    with pytest.raises(InputError, match=name):
        joint(mask.astype(np.float32), mask, ACQ, **{name: 0.0})


def test_a_measured_field_is_a_mean_with_lbv(mask, ball, background) -> None:
    rng = np.random.default_rng(5)
    noise = np.full(SHAPE, 0.003, np.float32)
    noise[17, 16, 13] = 5.0
    field = ball + background + rng.normal(0, 0.003, SHAPE).astype(np.float32)
    alone, mixed = (joint(field, mask, ACQ, noise=noise, lbv_share=s).field_ppm for s in (0.0, 0.5))
    other = lbv(field, mask, ACQ, noise=noise)
    at = other.mask & (noise < 1)
    want = 0.5 * (alone[at] + other.field_ppm[at])
    assert np.allclose(mixed[at] - mixed[at].mean(), want - want.mean(), atol=1e-5)
    assert mixed[17, 16, 13] == alone[17, 16, 13]
    with pytest.raises(InputError, match="lbv_share"):
        joint(field, mask, ACQ, noise=noise, lbv_share=2.0)
