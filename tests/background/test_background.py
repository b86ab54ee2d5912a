"""Background field removal: what lies outside goes, what lies inside stays."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.background.vsharp import vsharp
from chimap.errors import InputError
from chimap.simulate.analytic import sphere

SHAPE = (60, 58, 47)
ACQ = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0.2, 0.1, 0.97), voxel_size_mm=(1.0, 1.0, 1.3))


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, ACQ.voxel_size_mm)), indexing="ij"
    )
    return (x / 25) ** 2 + (y / 24) ** 2 + (z / 25) ** 2 < 1


def test_outside_sources_leave_little(mask) -> None:
    field = sum(
        sphere(SHAPE, ACQ, radius_mm=5.0, chi_ppm=9.4, centre_mm=c).field_ppm
        for c in ((33, 0, 8), (-5, -34, -10), (0, 5, 36))
    )
    local = vsharp(field, mask, ACQ)
    assert np.sqrt((local.field_ppm[local.mask] ** 2).mean()) < 0.02 * field[local.mask].std()


def test_a_sphere_inside_survives(mask) -> None:
    ball = sphere(SHAPE, ACQ, radius_mm=4.0, chi_ppm=0.3)
    local = vsharp(ball.field_ppm, mask, ACQ)
    assert local.field_ppm.max() == pytest.approx(ball.field_ppm[mask].max(), rel=0.05)
    assert local.field_ppm.min() == pytest.approx(ball.field_ppm[mask].min(), rel=0.05)


def test_valid_to_the_edge_or_where_all_six_neighbours_are_known(mask) -> None:
    from scipy.ndimage import binary_erosion

    local = vsharp(mask.astype(np.float32), mask, ACQ)
    assert np.array_equal(local.mask, mask)
    local = vsharp(mask.astype(np.float32), mask, ACQ, edge="shrink")
    assert np.array_equal(local.mask, binary_erosion(mask))


def test_a_lost_voxel_does_not_spread(mask) -> None:
    ball = sphere(SHAPE, ACQ, radius_mm=4.0, chi_ppm=0.3)
    field = ball.field_ppm.copy()
    noise = np.full(SHAPE, 0.002, np.float32)
    at = (35, 38, 23)
    field[at] += 30.0
    noise[at] = 1.0
    near = np.zeros(SHAPE, bool)
    near[30:41, 33:44, 19:28] = True
    near[at] = False
    near &= mask
    clean = vsharp(ball.field_ppm, mask, ACQ).field_ppm
    repaired = vsharp(field, mask, ACQ, noise=noise)
    assert np.abs(repaired.field_ppm - clean)[near].max() < 0.002
    assert np.abs(vsharp(field, mask, ACQ).field_ppm - clean)[near].max() > 0.01
    assert repaired.noise_ppm[at] > 0.9


def test_noise_is_passed_on(mask) -> None:
    noise = np.full(SHAPE, 0.01, np.float32)
    out = vsharp(np.zeros(SHAPE, np.float32), mask, ACQ, noise=noise)
    inside = out.noise_ppm[out.mask]
    assert inside.min() >= 0.0099
    assert inside.max() < 0.013


def test_a_mask_one_voxel_thin_is_an_error() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 20] = True
    with pytest.raises(InputError, match="neighbours"):
        vsharp(np.ones(SHAPE, np.float32), mask, ACQ, edge="shrink")
