"""Total generalised variation on the local field: a known sphere, slopes without stairs, symmetry, convergence."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion.tgv import tgv
from chimap.inversion.tv import tv
from chimap.numerics.dipole import forward_field
from chimap.simulate.analytic import sphere

ACQ = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0.1, 0.2, 0.97), voxel_size_mm=(1.0, 1.0, 1.2))
SHAPE = (40, 39, 34)


@pytest.fixture(scope="module")
def mask():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return x**2 + y**2 + z**2 < 0.9


@pytest.fixture(scope="module")
def ramp(mask):
    """A map that rises along x inside a ball and falls back to 0 at its edge, and its field with noise."""
    x, y, z = np.meshgrid(*((np.arange(n) - n / 2 + 0.5) for n in SHAPE), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + (1.2 * z) ** 2)
    chi = np.where(radius < 12, 0.01 * x, 0).astype(np.float32)
    noise = np.random.default_rng(3).normal(0, 0.004, SHAPE)
    return chi, ((forward_field(chi, ACQ) + noise) * mask).astype(np.float32), radius < 9


def error(chi, truth, where) -> float:
    a, b = chi[where] - chi[where].mean(), truth[where] - truth[where].mean()
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_closed_form_field_of_a_sphere_gives_its_susceptibility(mask) -> None:
    ball = sphere(SHAPE, ACQ, radius_mm=6.0, chi_ppm=0.2)
    chi = tgv(ball.field_ppm * mask, mask, ACQ)
    outside = mask & ~ball.inside & ~ball.surface
    contrast = chi[ball.inside].mean() - chi[outside].mean()
    assert contrast == pytest.approx(0.2, rel=0.06)


def test_a_slope_has_fewer_stairs_than_with_total_variation(ramp, mask) -> None:
    _, field, inner = ramp
    spread = [np.diff(method(field, mask, ACQ, lam=12.0), axis=0)[inner[1:]].std() for method in (tgv, tv)]
    assert spread[0] < 0.8 * spread[1]


def test_ten_times_longer_changes_nothing(ramp, mask) -> None:
    chi, field, _ = ramp
    a = tgv(field, mask, ACQ)
    b = tgv(field, mask, ACQ, tolerance=1e-9, iterations=120)
    assert abs(error(a, chi, mask) - error(b, chi, mask)) < 0.01


def test_rotating_object_and_field_rotates_the_map(ramp, mask) -> None:
    _, field, _ = ramp
    a = tgv(field, mask, ACQ)
    turned = ACQ.with_(b0_dir=(0.97, 0.2, 0.1), voxel_size_mm=(1.2, 1.0, 1.0))
    b = tgv(*(np.ascontiguousarray(v.transpose(2, 1, 0)) for v in (field, mask)), turned)
    np.testing.assert_allclose(b.transpose(2, 1, 0)[mask], a[mask], atol=0.01)


@pytest.mark.parametrize("name", ["lam", "second_mm", "tau", "noise_ppm", "outside_ppm"])
def test_bad_parameters_are_errors(name, mask) -> None:
    with pytest.raises(InputError, match=name):
        tgv(mask.astype(np.float32), mask, ACQ, **{name: -2.0})
