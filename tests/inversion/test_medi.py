"""MEDI: its minimum, edges, outliers, zero reference."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._medi_edges import noise_of, smooth_places
from chimap.inversion.medi import medi
from chimap.inversion.tv import tv
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.numerics.fft import irfftn, rfftn

ACQ = Acquisition(te_s=(0.005, 0.012), b0_t=3.0)
SHAPE = (30, 28, 26)


@pytest.fixture(scope="module")
def scene():
    """Two blocks, their field with noise, a magnitude with the same edges, and an ellipsoid's mask."""
    rng = np.random.default_rng(1)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.9
    chi = np.zeros(SHAPE, np.float32)
    chi[9:15, 9:18, 10:16] = 0.15
    chi[17:21, 12:16, 8:18] = -0.1
    magnitude = np.where(chi != 0, 60, 100) + rng.normal(0, 1, SHAPE)
    field = forward_field(chi, ACQ) + rng.normal(0, 0.002, SHAPE)
    return chi, (field * mask).astype(np.float32), (magnitude * mask).astype(np.float32), mask


def objective(chi, field, mask, smooth, lam, sigma, scale) -> float:
    """The function that MEDI minimises, written down once more."""
    kernel = dipole_kernel(chi.shape, ACQ.voxel_size_mm, ACQ.b0_dir)
    r = irfftn(rfftn(chi) * kernel, chi.shape) - field
    data = ((1 - np.cos(scale * r)) / scale**2)[mask].sum(dtype=np.float64)
    g = [(np.roll(chi, -1, a) - chi) * ((smooth >> a) & 1) for a in range(3)]
    return data / sigma**2 + lam * np.sqrt(sum(v.astype(np.float64) ** 2 for v in g)).sum()


def slow_reference(field, mask, smooth, lam, sigma, scale, steps=300):
    """Gradient descent with Nesterov's momentum on the objective with slightly rounded norms."""
    kernel = dipole_kernel(field.shape, ACQ.voxel_size_mm, ACQ.b0_dir)
    eps = 2e-3
    step = 1 / ((4 / 9) / sigma**2 + 12 * lam / eps)
    x = y = np.zeros(field.shape, np.float32)
    for n in range(steps):
        r = irfftn(rfftn(y) * kernel, y.shape) - field
        slope = irfftn(rfftn(mask * np.sin(scale * r) / scale) * kernel, y.shape) / sigma**2
        g = [(np.roll(y, -1, a) - y) * ((smooth >> a) & 1) for a in range(3)]
        norm = np.sqrt(sum(v**2 for v in g) + eps**2)
        for a in range(3):
            d = lam * g[a] / norm * ((smooth >> a) & 1)
            slope += np.roll(d, 1, a) - d
        new = (y - step * slope).astype(np.float32)
        y = new + np.float32(n / (n + 3)) * (new - x)
        x = new
    return x


def test_objective_is_no_higher_than_that_of_a_slow_reference(scene) -> None:
    _, field, magnitude, mask = scene
    lam, sigma = 15.0, 0.0025
    box = working_box(mask, ACQ)
    whole = {}
    # Nothing is assumed outside the mask: the grid of the method holds values there too, as the reference's does.
    options = {"noise_ppm": sigma, "outside_ppm": 1e3, "lam": lam, "merit": False, "tolerance": 1e-3}
    smooth = smooth_places(box.crop(magnitude), box.crop(mask), ACQ.voxel_size_mm, 0.3)
    scale = ACQ.rad_per_ppm(0.007)
    args = (box.crop(field), box.crop(mask), smooth, lam, sigma, scale)
    reference = slow_reference(*args)
    whole["reference"] = objective(reference, *args)
    values = []
    chi = medi_on_grid(values, field, mask, magnitude, options)
    whole["medi"] = objective(values[-1], *args)
    assert whole["medi"] <= 1.002 * whole["reference"]
    a, b = chi[mask] - chi[mask].mean(), box.restore(reference)[mask]
    assert np.linalg.norm(a - (b - b.mean())) < 0.15 * np.linalg.norm(b - b.mean())


def medi_on_grid(values, field, mask, magnitude, options) -> np.ndarray:
    """MEDI's map, and in `values` that on its working grid, caught before it is cut to the mask."""
    from chimap.numerics.box import Box

    original = Box.restore

    def catch(self, volume):
        values.append(volume.copy())
        return original(self, volume)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Box, "restore", catch)
        return medi(field, mask, ACQ, magnitude=magnitude, **options)


def error(chi, truth, mask) -> float:
    a, b = chi[mask] - chi[mask].mean(), truth[mask] - truth[mask].mean()
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_edges_of_the_magnitude_help(scene) -> None:
    chi, field, magnitude, mask = scene
    with_edges = medi(field, mask, ACQ, magnitude=magnitude, lam=30.0)
    without = medi(field, mask, ACQ, lam=30.0)
    assert error(with_edges, chi, mask) < 0.95 * error(without, chi, mask)


def test_ten_times_longer_changes_little(scene) -> None:
    chi, field, magnitude, mask = scene
    quick = medi(field, mask, ACQ, magnitude=magnitude)
    long = medi(field, mask, ACQ, magnitude=magnitude, tolerance=1e-6, iterations=300)
    assert abs(error(quick, chi, mask) - error(long, chi, mask)) < 0.01


def test_where_no_phase_comes_near_a_wrap_the_nonlinear_term_is_the_linear_one(scene) -> None:
    _, field, magnitude, mask = scene
    nonlinear = medi(field, mask, ACQ, magnitude=magnitude, merit=False, tolerance=1e-3)
    linear = medi(field, mask, ACQ, magnitude=magnitude, merit=False, tolerance=1e-3, nonlinear=False)
    assert np.linalg.norm(nonlinear - linear) < 0.01 * np.linalg.norm(linear)


def test_merit_lowers_what_outliers_do(scene) -> None:
    chi, field, magnitude, mask = scene
    wrong = field.copy()
    wrong[6:8, 20:22, 12:14] += 0.5
    options = {"magnitude": magnitude, "nonlinear": False}
    with_merit = medi(wrong, mask, ACQ, **options)
    without = medi(wrong, mask, ACQ, merit=False, **options)
    assert error(with_merit, chi, mask) < 0.8 * error(without, chi, mask)


def test_csf_is_the_zero_reference(scene) -> None:
    _, field, magnitude, mask = scene
    csf = np.zeros(SHAPE, bool)
    csf[12:17, 4:8, 11:15] = True
    chi = medi(field, mask, ACQ, magnitude=magnitude, csf_mask=csf)
    assert abs(chi[csf].mean()) < 1e-5
    r2star = np.where(csf, 2.0, 30.0)
    np.testing.assert_array_equal(
        medi(field, mask, ACQ, magnitude=magnitude, r2star=r2star, csf_zero=True), chi
    )
    free = medi(field, mask, ACQ, magnitude=magnitude, csf_mask=csf, lam_csf=0.0)
    assert chi[csf].std() < free[csf].std()
    with pytest.raises(InputError, match="r2star"):
        medi(field, mask, ACQ, magnitude=magnitude, csf_zero=True)
    with pytest.raises(InputError, match="no CSF"):
        medi(field, mask, ACQ, magnitude=magnitude, r2star=np.full(SHAPE, 30.0, np.float32), csf_zero=True)


def test_r2star_alone_does_not_move_the_zero(scene) -> None:
    _, field, _, mask = scene
    r2star = np.full(SHAPE, 2.0, np.float32)
    plain, given = medi(field, mask, ACQ, iterations=3), medi(field, mask, ACQ, iterations=3, r2star=r2star)
    np.testing.assert_array_equal(plain, given)


def test_without_edges_and_outliers_it_is_total_variation(scene) -> None:
    _, field, _, mask = scene
    options = {"lam": 6.0, "outside_ppm": 1e3, "tolerance": 1e-4, "iterations": 300}
    a = medi(field, mask, ACQ, merit=False, nonlinear=False, **options)
    b = tv(field, mask, ACQ, outliers=0.0, **options)
    assert error(a, b, mask) < 0.02


def test_smv_takes_a_background_out(scene) -> None:
    chi, field, magnitude, mask = scene
    x = np.linspace(-1, 1, SHAPE[0])[:, None, None]
    y = np.linspace(-1, 1, SHAPE[1])[None, :, None]
    background = (0.1 * (x**2 - (SHAPE[1] / SHAPE[0]) ** -2 * y**2) * mask).astype(np.float32)
    plain = medi(field + background, mask, ACQ, magnitude=magnitude)
    smv = medi(field + background, mask, ACQ, magnitude=magnitude, smv_radius_mm=4.0)
    inner = np.zeros(SHAPE, bool)
    inner[6:-6, 6:-6, 6:-6] = True
    assert error(smv, chi, inner & mask) < error(plain, chi, inner & mask)


def test_rotating_object_and_field_rotates_the_map(scene) -> None:
    _, field, magnitude, mask = scene
    a = medi(field, mask, ACQ, magnitude=magnitude)
    turned = [np.ascontiguousarray(v.transpose(2, 1, 0)) for v in (field, mask, magnitude)]
    b = medi(turned[0], turned[1], ACQ.with_(b0_dir=(1, 0, 0)), magnitude=turned[2])
    np.testing.assert_allclose(b.transpose(2, 1, 0)[mask], a[mask], atol=2e-3)


def test_noise_of_the_magnitude_is_found_and_makes_no_edges(rng) -> None:
    magnitude = (100 + rng.normal(0, 2, (30, 30, 30))).astype(np.float32)
    mask = np.ones(magnitude.shape, bool)
    assert noise_of(magnitude, mask) == pytest.approx(2, rel=0.1)
    smooth = smooth_places(magnitude, mask, (1, 1, 1), 0.3)
    assert np.mean(smooth != 7) < 0.02


def test_bad_parameters_are_errors(scene) -> None:
    _, field, _, mask = scene
    for wrong in ({"lam": -1.0}, {"edges": 1.5}, {"smv_radius_mm": 200.0}):
        with pytest.raises(InputError):
            medi(field, mask, ACQ, **wrong)
