"""Single-step inversion of the total field: tfi and sstv."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._dipole_lsq import curvature
from chimap.inversion.fansi_tgv import fansi_tgv
from chimap.inversion.sstv import sstv
from chimap.inversion.tfi import tfi
from chimap.inversion.tv import tv
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.numerics.fft import convolve

ACQ = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0.1, 0.2, 0.97))
SHAPE = (40, 36, 38)


@pytest.fixture(scope="module")
def scene():
    """Sources inside an ellipsoid, strong ones outside, and their fields."""
    rng = np.random.default_rng(4)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.75
    chi = np.zeros(SHAPE, np.float32)
    chi[12:18, 12:20, 14:21] = 0.15
    chi[23:28, 15:22, 12:24] = -0.1
    air = np.where((x - 0.5) ** 2 + (y + 0.3) ** 2 + (z - 1) ** 2 < 0.03, np.float32(5), np.float32(0))
    total = forward_field(chi, ACQ) + forward_field(air, ACQ) + rng.normal(0, 0.002, SHAPE)
    return chi, (total * mask).astype(np.float32), mask


def error(chi, truth, mask) -> float:
    a, b = chi[mask] - chi[mask].mean(), truth[mask] - truth[mask].mean()
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("method", [tfi, sstv])
def test_sources_outside_do_not_reach_the_map(method, scene) -> None:
    chi, total, mask = scene
    found = method(total, mask, ACQ)
    assert error(found, chi, mask) < 0.9 * error(tv(total, mask, ACQ), chi, mask)


def test_total_field_inversion_leaves_no_background_at_the_edge(scene) -> None:
    """The default stops where sources outside have grown as large as they are: the edge errs less than what is inside."""
    chi, total, mask = scene
    found = tfi(total, mask, ACQ)
    off = (found - found[mask].mean() - chi + chi[mask].mean()) ** 2
    rim = mask & ~binary_erosion(mask, iterations=2)
    assert error(found, chi, mask) < 0.35
    assert off[rim].mean() < off[mask & ~rim].mean()


def test_curvature_is_the_diagonal_of_the_normal_equations(rng) -> None:
    shape = (9, 8, 10)
    kernel = dipole_kernel(shape, (1.0, 1.0, 1.2), ACQ.b0_dir)
    weights = rng.uniform(0, 1, shape).astype(np.float32)
    found = curvature(weights, kernel, 1e-6)
    for at in ((0, 0, 0), (4, 3, 2), (8, 7, 9)):
        one = np.zeros(shape, np.float32)
        one[at] = 1
        assert found[at] == pytest.approx(float((weights * convolve(one, kernel) ** 2).sum()), rel=1e-3)


@pytest.mark.parametrize("method", [tfi, sstv])
def test_rotating_object_and_field_rotates_the_map(method, scene) -> None:
    _, total, mask = scene
    a = method(total, mask, ACQ)
    turned = ACQ.with_(b0_dir=(0.97, 0.2, 0.1))
    b = method(*(np.ascontiguousarray(v.transpose(2, 1, 0)) for v in (total, mask)), turned)
    np.testing.assert_allclose(b.transpose(2, 1, 0)[mask], a[mask], atol=0.01)


@pytest.mark.parametrize(("method", "volumes"), [(partial(sstv, radius_mm=8.0), 21), (fansi_tgv, 22)])
def test_working_memory_is_bounded(method, volumes, scene) -> None:
    """In float32 volumes of the working grid, which for a head in its usual grid are 0.8 of the image's."""
    _, total, mask = scene
    tracemalloc.start()
    method(total, mask, ACQ, iterations=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < volumes * 4 * np.prod(working_box(mask, ACQ).shape)


def test_ten_times_longer_changes_next_to_nothing(scene) -> None:
    chi, total, mask = scene
    once, longer = sstv(total, mask, ACQ), sstv(total, mask, ACQ, tolerance=0.0002, iterations=2000)
    assert abs(error(once, chi, mask) - error(longer, chi, mask)) < 0.01


def test_background_scale_comes_from_the_data(scene) -> None:
    _, total, mask = scene
    facts = []
    tfi(total, mask, ACQ, steps=1, progress=lambda done, of, **f: facts.append(f["background_ppm"]))
    tfi(2 * total, mask, ACQ, steps=1, progress=lambda done, of, **f: facts.append(f["background_ppm"]))
    assert facts[1] == pytest.approx(2 * facts[0], rel=1e-3)


@pytest.mark.parametrize("method", [tfi, sstv])
def test_bad_parameters_are_errors(method, scene) -> None:
    _, total, mask = scene
    with pytest.raises(InputError):
        method(total, mask, ACQ, lam=-1.0)
