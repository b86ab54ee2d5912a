"""Total variation and wavelets: the minimum they promise, edges of the magnitude, and the wavelets themselves."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion import _total_variation
from chimap.inversion.tv import tv
from chimap.inversion.wavelet import wavelet
from chimap.inversion.weighted_tv import weighted_tv
from chimap.numerics import wavelets
from chimap.numerics.box import Box
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.numerics.tv import total_variation

ACQ = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0.1, 0.2, 0.97), voxel_size_mm=(1.0, 1.0, 1.2))
SHAPE = (32, 30, 28)


@pytest.fixture(scope="module")
def scan() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Susceptibility of a few boxes in an ellipsoid, its noisy field, and the mask."""
    noise = np.random.default_rng(5).normal(0, 0.003, SHAPE).astype(np.float32)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.9**2
    chi = np.zeros(SHAPE, np.float32)
    chi[10:20, 12:18, 9:20] = 0.1
    chi[14:22, 20:24, 12:16] = -0.1
    return chi, forward_field(chi, ACQ) + noise, mask


def error(found: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    d = (found - found[mask].mean() - truth + truth[mask].mean())[mask]
    return float(np.linalg.norm(d) / np.linalg.norm(truth[mask] - truth[mask].mean()))


def slow_tv(field: np.ndarray, weight: float, iterations: int) -> np.ndarray:
    """Chambolle and Pock's primal-dual iteration on the periodic grid in float64, with exact steps of the data term."""
    h = ACQ.voxel_size_mm
    kernel = dipole_kernel(field.shape, h, ACQ.b0_dir).astype(np.float64)
    spectrum = np.fft.rfftn(field.astype(np.float64)) * kernel
    sigma = 100 * weight
    tau = 1 / (sigma * sum(4 / v**2 for v in h))
    x = np.zeros(field.shape)
    ahead = x
    y = np.zeros((3, *field.shape))
    for _ in range(iterations):
        for a in range(3):
            y[a] += sigma * (np.roll(ahead, -1, a) - ahead) / h[a]
        y /= np.maximum(1, np.sqrt((y**2).sum(0)) / weight)
        divergence = sum((y[a] - np.roll(y[a], 1, a)) / h[a] for a in range(3))
        moved = np.fft.rfftn(x + tau * divergence)
        before, x = (
            x,
            np.fft.irfftn((moved + tau * spectrum) / (1 + tau * kernel**2), field.shape, axes=(0, 1, 2)),
        )
        ahead = 2 * x - before
    return x


def test_tv_objective_is_no_higher_than_that_of_a_slow_reference(scan, monkeypatch) -> None:
    _, field, _ = scan
    monkeypatch.setattr(_total_variation, "working_box", lambda mask, acq: Box.around(mask, 0, fast=False))
    lam, noise = 10.0, 0.004
    weight = lam * noise**2
    whole = np.ones(SHAPE, bool)
    found = tv(field, whole, ACQ, lam=lam, noise_ppm=noise, outliers=0)

    def objective(chi: np.ndarray) -> float:
        kernel = dipole_kernel(SHAPE, ACQ.voxel_size_mm, ACQ.b0_dir)
        fitted = np.fft.irfftn(np.fft.rfftn(chi.astype(np.float64)) * kernel, SHAPE, axes=(0, 1, 2))
        data = 0.5 * ((fitted - field) ** 2).sum()
        return float(data + weight * total_variation(chi.astype(np.float64), ACQ.voxel_size_mm))

    reference = objective(slow_tv(field, weight, 400))
    assert objective(found) < 1.005 * reference
    long = tv(field, whole, ACQ, lam=lam, noise_ppm=noise, outliers=0, tolerance=1e-6, iterations=400)
    assert objective(long) < (1 + 1e-4) * reference


@pytest.mark.parametrize("method", [tv, weighted_tv, wavelet])
def test_ten_times_longer_changes_the_error_by_less_than_a_point(method, scan) -> None:
    chi, field, mask = scan
    quick = method(field, mask, ACQ)
    long = method(field, mask, ACQ, tolerance=1e-4, iterations=150 if method is wavelet else 300)
    assert abs(error(quick, chi, mask) - error(long, chi, mask)) < 0.01


def test_a_voxel_that_fits_no_map_does_not_streak(scan) -> None:
    chi, field, mask = scan
    wrong = field.copy()
    wrong[16, 8, 14] += 1.0
    trusting, wary = (error(tv(wrong, mask, ACQ, outliers=o), chi, mask) for o in (0, 1))
    assert wary < 0.5 * trusting


def test_background_left_in_the_field_keeps_its_sources_outside(scan) -> None:
    """A strong source beyond the mask: nearly the same map, whether sources outside were to be ruled out or not."""
    _, field, mask = scan
    outside = np.zeros(SHAPE, np.float32)
    outside[0:2, 12:18, 10:18] = 1.0
    spoilt = field + forward_field(outside, ACQ)
    a, b = (tv(spoilt, mask, ACQ, outside_ppm=s) for s in (0.012, 10.0))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_edges_of_the_magnitude_are_spared(scan) -> None:
    chi, field, mask = scan
    magnitude = 100 + 300 * chi
    plain, guided = (
        error(weighted_tv(field, mask, ACQ, lam=60.0, magnitude=m), chi, mask) for m in (None, magnitude)
    )
    assert guided < plain


def test_without_magnitude_weighted_tv_is_tv(scan) -> None:
    _, field, mask = scan
    np.testing.assert_array_equal(weighted_tv(field, mask, ACQ), tv(field, mask, ACQ))


@pytest.mark.parametrize("method", [tv, weighted_tv, wavelet])
def test_impossible_parameters_are_refused(method, scan) -> None:
    _, field, mask = scan
    with pytest.raises(InputError):
        method(field, mask, ACQ, lam=0.0)


@pytest.mark.parametrize("moments", sorted(wavelets.FILTERS))
def test_wavelets_are_orthonormal_and_blind_to_polynomials(moments, rng) -> None:
    x = rng.standard_normal((32, 16, 24)).astype(np.float32)
    c = wavelets.forward(x, 3, moments)
    assert np.linalg.norm(c) == pytest.approx(np.linalg.norm(x), rel=1e-5)
    np.testing.assert_allclose(wavelets.inverse(c, 3, moments), x, atol=1e-5)
    line = (np.arange(32) / 32.0) ** (moments - 1)
    details = wavelets.forward(np.broadcast_to(line[:, None, None], x.shape).astype(np.float32), 1, moments)[
        16:
    ]
    np.testing.assert_allclose(details[: 16 - moments], 0, atol=1e-5)
