"""Nonlinear, robust and streak-aware inversions: known spheres, outliers, whole turns, minima and symmetries."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._dipole_lsq import least_squares
from chimap.inversion._proximal import L1, L2, PHASE_L1, PHASE_L2, proximal, signal_gradient
from chimap.inversion.fansi_tgv import fansi_tgv
from chimap.inversion.fansi_tv import fansi_tv
from chimap.inversion.hdqsm import hdqsm
from chimap.inversion.ilsqr import ilsqr, weighted_laplacian
from chimap.inversion.l1_data import l1_data
from chimap.inversion.ndi import ndi
from chimap.inversion.rts import rts
from chimap.inversion.star import star
from chimap.inversion.weak_harmonic import weak_harmonic
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.simulate.analytic import sphere

ACQ = Acquisition(te_s=(0.008, 0.02), b0_t=3.0, b0_dir=(0.1, 0.2, 0.97), voxel_size_mm=(1.0, 1.0, 1.2))
SHAPE = (40, 39, 34)
SPLITTING = [fansi_tv, fansi_tgv, l1_data, hdqsm, star, weak_harmonic]
EVERY = [*SPLITTING, ndi, rts, ilsqr]
IDS = [m.name for m in EVERY]


@pytest.fixture(scope="module")
def ball():
    return sphere(SHAPE, ACQ, radius_mm=6.0, chi_ppm=0.2)


@pytest.fixture(scope="module")
def mask():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return x**2 + y**2 + z**2 < 0.9


def contrast(chi, phantom, mask) -> float:
    outside = mask & ~phantom.inside & ~phantom.surface
    return float(chi[phantom.inside].mean() - chi[outside].mean())


def error(chi, truth, mask) -> float:
    a, b = chi[mask] - chi[mask].mean(), truth[mask] - truth[mask].mean()
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("method", "low"), [(m, 0.93) for m in SPLITTING] + [(ndi, 0.5), (rts, 0.9), (ilsqr, 0.8)]
)
def test_closed_form_field_of_a_sphere_gives_its_susceptibility(method, low, ball, mask) -> None:
    chi = method(ball.field_ppm * mask, mask, ACQ)
    assert low < contrast(chi, ball, mask) / 0.2 < 1.07


@pytest.mark.parametrize("method", EVERY, ids=IDS)
def test_progress_reports_every_step_and_convergence(method, ball, mask) -> None:
    calls = []
    method(
        ball.field_ppm * mask,
        mask,
        ACQ,
        progress=lambda done, total, **facts: calls.append((done, total, facts)),
    )
    assert calls[-1][2]["converged"]
    assert not calls[0][2]["converged"]
    assert [c[0] for c in calls] == list(range(1, len(calls) + 1))
    assert len({c[1] for c in calls}) == 1


@pytest.mark.parametrize("method", SPLITTING, ids=IDS[:6])
def test_ten_times_longer_changes_less_than_a_point(method, rng) -> None:
    chi = np.zeros((24, 24, 24), np.float32)
    chi[8:16, 7:15, 9:18] = 0.1
    chi[14:20, 4:9, 5:10] = -0.05
    acq = Acquisition(te_s=0.02, b0_t=3.0)
    full = np.ones(chi.shape, bool)
    field = forward_field(chi, acq) + rng.normal(0, 0.002, chi.shape).astype(np.float32)
    calls = []
    short = method(field, full, acq, progress=lambda done, total, **facts: calls.append(done))
    long = method(field, full, acq, tolerance=1e-7, iterations=10 * calls[-1])
    assert abs(error(short, chi, full) - error(long, chi, full)) < 0.01


@pytest.mark.parametrize("method", EVERY, ids=IDS)
def test_rotating_object_and_field_rotates_the_map(method) -> None:
    chi = np.zeros((30, 30, 30), np.float32)
    chi[10:20, 12:18, 9:24] = 0.1
    chi[14:22, 20:24, 12:16] = -0.1
    acq = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0, 0, 1))
    field = forward_field(chi, acq)
    full = np.ones(chi.shape, bool)
    a = method(field, full, acq)
    b = method(np.ascontiguousarray(field.transpose(2, 1, 0)), full, acq.with_(b0_dir=(1, 0, 0)))
    np.testing.assert_allclose(b.transpose(2, 1, 0), a, atol=1e-3)


@pytest.mark.parametrize("method", [fansi_tv, fansi_tgv, l1_data, weak_harmonic, ndi])
def test_whole_turns_of_phase_cost_nothing(method, ball, mask) -> None:
    field = ball.field_ppm * mask
    wrapped = field.copy()
    wrapped[8:10, 20:22, 16:18] += np.float32(1 / (ACQ.hz_per_ppm * np.mean(ACQ.te_s)))
    clean, folded = method(field, mask, ACQ), method(wrapped, mask, ACQ)
    assert np.abs(folded - clean).max() < 0.02


def test_outliers_disturb_the_robust_methods_less(ball, mask) -> None:
    field = ball.field_ppm * mask
    field[10:12, 22:24, 16:18] += 0.3

    def disturbed(method, **parameters) -> float:
        return error(method(field, mask, ACQ, **parameters), ball.chi_ppm, mask)

    least_squares_error = disturbed(star)
    assert disturbed(hdqsm) < 0.6 * least_squares_error
    assert disturbed(l1_data, nonlinear=False) < 0.6 * least_squares_error


def test_weak_harmonic_forgives_what_background_removal_left(ball, mask) -> None:
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    left = (ball.field_ppm + 0.03 * x + 0.03 * (x**2 - y**2)).astype(np.float32) * mask
    plain = error(fansi_tv(left, mask, ACQ), ball.chi_ppm, mask)
    # A background of that size asks for a soft harmonic term.
    soft = weak_harmonic(left, mask, ACQ, beta=50.0, outside_ppm=0.05)
    assert error(soft, ball.chi_ppm, mask) < 0.8 * plain


def test_generalised_variation_keeps_slopes_where_total_variation_makes_steps(mask, rng) -> None:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    chi = (0.1 * np.clip(1 - np.sqrt(x**2 + y**2 + z**2) / 0.7, 0, 1)).astype(np.float32)
    field = (forward_field(chi, ACQ) + rng.normal(0, 0.002, SHAPE).astype(np.float32)) * mask
    arguments = {"lam": 20.0, "tolerance": 1e-4, "iterations": 500}
    steps = error(fansi_tv(field, mask, ACQ, **arguments), chi, mask)
    slopes = error(fansi_tgv(field, mask, ACQ, second_mm=1.5, **arguments), chi, mask)
    assert slopes < 0.85 * steps


def test_ilsqr_scales_with_the_field(ball, mask) -> None:
    field = ball.field_ppm * mask
    a, b = ilsqr(field, mask, ACQ, iterations=20), ilsqr(2 * field, mask, ACQ, iterations=20)
    np.testing.assert_allclose(b, 2 * a, atol=1e-4)


def test_more_descent_follows_the_data_more_closely(ball, mask, rng) -> None:
    """NDI ends at the noise: a lower discrepancy goes on for longer and to a smaller residual."""
    field = (ball.field_ppm + rng.normal(0, 0.004, SHAPE).astype(np.float32)) * mask
    ends = []
    for discrepancy in (2.0, 1.0):
        calls = []
        ndi(
            field,
            mask,
            ACQ,
            discrepancy=discrepancy,
            hidden=0,
            tolerance=1e-9,
            progress=lambda done, total, calls=calls, **facts: calls.append((done, facts)),
        )
        assert calls[-1][1]["converged"]
        assert calls[-1][1]["residual_ppm"] <= discrepancy * 0.004
        ends.append(calls[-1][0])
    assert ends[0] < ends[1]


@pytest.mark.parametrize("claimed", [None, 0.002, 0.02])
@pytest.mark.parametrize("sd", [0.0, 0.002, 0.006])
def test_descent_stops_near_its_best_map_whatever_the_noise_map_says(sd, claimed, ball, mask, rng) -> None:
    truth = np.where(ball.inside, 0.2, 0).astype(np.float32)
    field = (ball.field_ppm + rng.normal(0, sd, SHAPE).astype(np.float32)) * mask
    noise = None if claimed is None else np.full(SHAPE, claimed, np.float32)
    found = error(ndi(field, mask, ACQ, noise=noise), truth, mask)

    def after(steps):
        return error(
            ndi(field, mask, ACQ, noise=noise, hidden=0, tolerance=1e-9, iterations=steps), truth, mask
        )

    assert found < 1.12 * min(after(n) for n in (1, 2, 4, 8, 16, 32, 64, 128))


@pytest.mark.parametrize("term", [L2, PHASE_L2, L1, PHASE_L1])
def test_proximal_step_finds_the_minimum(term, rng) -> None:
    """Against a search on a fine grid, for residuals within half a turn."""
    shape, s, mu = (3, 4, 5), 20.0, 1.0
    field = rng.normal(0, 0.05, shape).astype(np.float32)
    strength = rng.uniform(0, 0.9 if term in (L2, PHASE_L2) else 0.03, shape).astype(np.float32)
    predicted = (field + rng.uniform(-0.12, 0.12, shape)).astype(np.float32)
    zero = np.zeros(shape, np.float32)
    q, u = zero.copy(), zero.copy()
    proximal(
        term, predicted, q, u, strength, field, zero, zero, zero.copy(), np.ones(shape, bool), np.empty((3, 2)),
        hold=1.0, mu=mu, relax=1.0, phase_scale=s,
    )  # fmt: skip
    z = np.linspace(-0.4, 0.4, 40001)[:, None, None, None]
    d = z - field
    cost = {
        L2: strength * d**2 / 2,
        PHASE_L2: strength * (1 - np.cos(s * d)) / s**2,
        L1: strength * np.abs(d),
        PHASE_L1: 2 * strength * np.abs(np.sin(s * d / 2)) / s,
    }[term] + mu / 2 * (z - predicted) ** 2
    best = z[cost.argmin(0), 0, 0, 0]
    np.testing.assert_allclose(q + u, best, atol=1e-3)


def test_signal_gradient_is_the_derivative_of_the_misfit(rng) -> None:
    shape, s = (2, 3, 4), 30.0
    field, predicted = (rng.normal(0, 0.05, shape).astype(np.float32) for _ in range(2))
    weight = rng.uniform(0, 1, shape).astype(np.float32)
    out, sums = np.zeros(shape, np.float32), np.empty((2, 3))
    signal_gradient(predicted, field, weight, out, sums, s)
    np.testing.assert_allclose(out, weight * np.sin(s * (field - predicted)) / s, atol=5e-6)
    misfit = (weight * np.abs(np.exp(1j * s * field) - np.exp(1j * s * predicted)) ** 2).sum() / s**2
    assert sums[:, 2].sum() == pytest.approx(misfit, rel=1e-4)


def test_weighted_laplacian_is_symmetric_and_positive(rng) -> None:
    shape = (5, 6, 7)
    a, b = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    w = rng.uniform(0, 1, (3, *shape)).astype(np.float32)
    la, lb = weighted_laplacian(a, w), weighted_laplacian(b, w)
    assert (a * lb).sum() == pytest.approx((b * la).sum(), rel=1e-3)
    assert (a * la).sum() > 0


def test_least_squares_keeps_sources_inside(ball, mask) -> None:
    kernel = dipole_kernel(SHAPE, ACQ.voxel_size_mm, ACQ.b0_dir)
    chi = least_squares(kernel, ball.field_ppm * mask, mask.astype(np.float32), mask, 5, 1e-6)
    assert chi[mask].any()
    assert not chi[~mask].any()


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (fansi_tv, {"lam": 0}),
        (fansi_tv, {"phase_te_s": 20}),
        (fansi_tgv, {"second_mm": -1}),
        (l1_data, {"tau": np.nan}),
        (hdqsm, {"outlier": 0}),
        (hdqsm, {"first_iterations": 0}),
        (star, {"strong": 0}),
        (weak_harmonic, {"beta": 0}),
        (ndi, {"step": 5}),
        (ndi, {"hidden": 1}),
        (rts, {"threshold": 0.7}),
        (rts, {"first_iterations": 0}),
        (ilsqr, {"threshold": 0}),
    ],
)
def test_impossible_parameters_are_named(method, wrong, ball, mask) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}|threshold|step"):
        method(ball.field_ppm, mask, ACQ, **wrong)
