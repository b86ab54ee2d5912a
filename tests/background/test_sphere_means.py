"""The methods of spherical means: what lies outside goes, what lies inside stays."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.background.esharp import esharp
from chimap.background.ismv import ismv
from chimap.background.msmv import msmv
from chimap.background.resharp import resharp
from chimap.background.sharp import sharp
from chimap.background.vsharp import vsharp
from chimap.errors import InputError
from chimap.simulate.analytic import sphere

SHAPE = (48, 46, 37)
ACQ = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0.2, 0.1, 0.97), voxel_size_mm=(1.0, 1.0, 1.3))
EVERY = [sharp, resharp, ismv, esharp, msmv, vsharp]
ERODING = [sharp, resharp, ismv]


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, ACQ.voxel_size_mm)), indexing="ij"
    )
    return (x / 21) ** 2 + (y / 20) ** 2 + (z / 21) ** 2 < 1


@pytest.fixture(scope="module")
def outside() -> np.ndarray:
    return sum(
        sphere(SHAPE, ACQ, radius_mm=5.0, chi_ppm=9.4, centre_mm=c).field_ppm
        for c in ((32, 0, 8), (-5, -33, -10), (0, 5, 35))
    )


@pytest.fixture(scope="module")
def ball() -> np.ndarray:
    return sphere(SHAPE, ACQ, radius_mm=4.0, chi_ppm=0.3).field_ppm


@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_outside_sources_leave_little(method, mask, outside) -> None:
    local = method(outside, mask, ACQ)
    assert np.sqrt((local.field_ppm[local.mask] ** 2).mean()) < 0.02 * outside[local.mask].std()


@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_a_sphere_inside_survives(method, mask, ball) -> None:
    local = method(ball, mask, ACQ)
    assert local.field_ppm.max() == pytest.approx(ball[mask].max(), rel=0.05)
    assert local.field_ppm.min() == pytest.approx(ball[mask].min(), rel=0.05)
    # Not only the peaks: what all spheres inside the mask see, up to what is itself harmonic there.
    x, y, z = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    near = (x[:, None, None] ** 2 + y[:, None] ** 2 + (1.3 * z) ** 2 < 8**2) & local.mask
    assert np.linalg.norm((local.field_ppm - ball)[near]) < 0.1 * np.linalg.norm(ball[near])


@pytest.mark.parametrize("method", EVERY, ids=lambda m: m.name)
def test_noise_is_passed_on(method, mask) -> None:
    out = method(np.zeros(SHAPE, np.float32), mask, ACQ, noise=np.full(SHAPE, 0.01, np.float32))
    inside = out.noise_ppm[out.mask]
    assert inside.min() >= 0.0099
    assert inside.max() < 0.013
    assert not out.noise_ppm[~out.mask].any()


@pytest.mark.parametrize("method", ERODING, ids=lambda m: m.name)
def test_the_mask_loses_the_radius(method, mask, ball) -> None:
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(mask, sampling=ACQ.voxel_size_mm)
    out = method(ball, mask, ACQ, radius_mm=5.0)
    assert out.mask[depth > 6.5].all()
    assert not out.mask[depth <= 4.5].any()


@pytest.mark.parametrize("method", [esharp, msmv, vsharp], ids=lambda m: m.name)
def test_the_mask_is_kept(method, mask, ball) -> None:
    assert method(ball, mask, ACQ).mask.sum() > 0.99 * mask.sum()


@pytest.mark.parametrize("method", ERODING, ids=lambda m: m.name)
def test_a_mask_one_voxel_thin_is_an_error(method, ball) -> None:
    thin = np.zeros(SHAPE, bool)
    thin[:, :, 20] = True
    with pytest.raises(InputError, match="neighbours"):
        method(ball, thin, ACQ)


@pytest.mark.parametrize("method", ERODING, ids=lambda m: m.name)
def test_spheres_larger_than_the_object_shrink(method, mask, ball) -> None:
    assert method(ball, mask, ACQ, radius_mm=30.0).mask.any()


def test_ismv_is_the_fixed_point_of_the_mean(mask, ball, outside) -> None:
    from chimap.background._smv import spheres

    total = ball + outside
    out = ismv(total, mask, ACQ, radius_mm=5.0, tolerance=1e-5, iterations=200)
    s = spheres("", np.where(mask, total, np.float32(0)), mask, ACQ, None, 5.0, 0.0)
    background = s.field - s.box.crop(out.field_ppm)
    step = s.deviation(background)[s.inner]
    assert np.abs(step).max() < 1e-3 * np.abs(total[mask]).max()


def test_resharp_penalty_shrinks(mask, ball) -> None:
    size = [np.linalg.norm(resharp(ball, mask, ACQ, lam=lam).field_ppm) for lam in (1e-4, 1e-2, 1.0)]
    assert size[0] > size[1] > size[2]


def test_msmv_filters_large_values_at_the_border(mask, ball) -> None:
    at = tuple(np.argwhere(mask)[0] + (1, 0, 0))
    total = ball.copy()
    total[at] += 1.0
    assert abs(msmv(total, mask, ACQ, repeats=5).field_ppm[at]) <= abs(
        msmv(total, mask, ACQ, repeats=0).field_ppm[at]
    )
