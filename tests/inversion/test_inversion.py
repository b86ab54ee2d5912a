"""Dipole inversion against objects whose susceptibility and field are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.inversion.tkd import tkd
from chimap.inversion.tv import tv
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.numerics.fft import irfftn, rfftn
from chimap.simulate.analytic import sphere

ACQ = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0.1, 0.2, 0.97), voxel_size_mm=(1.0, 1.0, 1.2))
SHAPE = (48, 47, 42)


@pytest.fixture(scope="module")
def ball():
    return sphere(SHAPE, ACQ, radius_mm=7.0, chi_ppm=0.2)


def whole() -> np.ndarray:
    return np.ones(SHAPE, bool)


def contrast(chi: np.ndarray, phantom) -> float:
    """Mean of the ball's core minus the mean of the surroundings."""
    outside = ~phantom.inside & ~phantom.surface
    return float(chi[phantom.inside].mean() - chi[outside].mean())


@pytest.mark.parametrize(("method", "how", "tolerance"), [(tkd, {"correction": True}, 0.10), (tv, {}, 0.04)])
def test_closed_form_field_of_a_sphere_gives_its_susceptibility(method, how, tolerance, ball) -> None:
    chi = method(ball.field_ppm, whole(), ACQ, **how)
    assert contrast(chi, ball) == pytest.approx(0.2, rel=tolerance)


def test_tv_is_flat_in_and_out_of_the_sphere(ball) -> None:
    chi = tv(forward_field(ball.chi_ppm, ACQ), whole(), ACQ)
    outside = ~ball.inside & ~ball.surface
    assert chi[ball.inside].std() < 0.02 * 0.2
    assert chi[outside].std() < 0.01 * 0.2


def test_tkd_is_linear(ball) -> None:
    a = tkd(ball.field_ppm, whole(), ACQ)
    b = tkd(2 * ball.field_ppm, whole(), ACQ)
    np.testing.assert_allclose(b, 2 * a, atol=1e-6)


def test_tkd_brings_back_what_lies_above_its_threshold(rng) -> None:
    """A map without the frequencies near the cone comes back, up to what padding a periodic field changes."""
    shape = (32, 32, 32)
    acq = Acquisition(te_s=0.02, b0_t=3.0)
    kernel = dipole_kernel(shape, acq.voxel_size_mm, acq.b0_dir)
    spectrum = rfftn(rng.standard_normal(shape).astype(np.float32)) * (np.abs(kernel) > 0.2)
    field = irfftn(spectrum * kernel, shape)
    chi = tkd(field, np.ones(shape, bool), acq, threshold=0.1, correction=False)
    truth = irfftn(spectrum, shape)
    inner = (slice(10, 22),) * 3
    assert np.corrcoef(chi[inner].ravel(), truth[inner].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("method", [tkd, tv])
def test_rotating_object_and_field_rotates_the_map(method, rng) -> None:
    chi = np.zeros((32, 32, 32), np.float32)
    chi[10:20, 12:18, 9:24] = 0.1
    chi[14:25, 20:24, 12:16] = -0.1
    acq = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0, 0, 1))
    field = forward_field(chi, acq)
    turned = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(1, 0, 0))
    a = method(field, np.ones(chi.shape, bool), acq)
    b = method(np.ascontiguousarray(field.transpose(2, 1, 0)), np.ones(chi.shape, bool), turned)
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(b.transpose(2, 1, 0)[inner], a[inner], atol=2e-3 if method is tv else 2e-4)


def test_tv_trusts_the_noise_map(ball, rng) -> None:
    noise = np.full(SHAPE, 0.002, np.float32)
    noise[:, :, :12] = 0.5
    field = ball.field_ppm + rng.normal(0, 1, SHAPE).astype(np.float32) * noise
    weighted = tv(field, whole(), ACQ, noise=noise)
    plain = tv(field, whole(), ACQ)
    error = [
        np.abs(chi - chi.mean() - (ball.chi_ppm - ball.chi_ppm.mean())).mean() for chi in (weighted, plain)
    ]
    assert error[0] < 0.2 * error[1]


def test_tv_reaches_the_minimum_of_its_objective(rng) -> None:
    """Ten times the iterations change the error by less than one percentage point."""
    chi = np.zeros((32, 32, 32), np.float32)
    chi[8:20, 10:22, 12:20] = 0.1
    acq = Acquisition(te_s=0.02, b0_t=3.0)
    field = forward_field(chi, acq) + rng.normal(0, 0.003, chi.shape).astype(np.float32)
    mask = np.ones(chi.shape, bool)
    quick = tv(field, mask, acq, lam=20.0, noise_ppm=0.003)
    long = tv(field, mask, acq, lam=20.0, noise_ppm=0.003, tolerance=1e-6, iterations=600)
    truth = chi - chi.mean()
    errors = [np.linalg.norm(found - found.mean() - truth) / np.linalg.norm(truth) for found in (quick, long)]
    assert abs(errors[0] - errors[1]) < 0.01


def test_progress_reports_convergence(ball) -> None:
    calls = []
    tv(ball.field_ppm, whole(), ACQ, progress=lambda done, total, **facts: calls.append((done, facts)))
    assert calls[-1][1]["converged"]
    assert calls[-1][1]["change"] < 0.01
    assert [c[0] for c in calls] == list(range(1, len(calls) + 1))
