"""What the linear inversions promise: exact linearity, turned with the object, and a filled-in outside."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion.iterative_tikhonov import iterative_tikhonov
from chimap.inversion.l2 import l2
from chimap.inversion.tikhonov import tikhonov
from chimap.inversion.tkd import tkd
from chimap.inversion.tsvd import tsvd
from chimap.inversion.weighted_l2 import weighted_l2
from chimap.numerics.dipole import forward_field

CLOSED = [tkd, tsvd, tikhonov, l2]
ITERATED = [iterative_tikhonov, weighted_l2]
SHAPE = (32, 30, 28)


@pytest.fixture(scope="module")
def scan() -> tuple[np.ndarray, np.ndarray, np.ndarray, Acquisition]:
    """Susceptibility, its field, an ellipsoid of a mask that cuts a source at its edge."""
    acq = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0, 0, 1), voxel_size_mm=(1.0, 1.1, 1.3))
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.8**2
    chi = np.zeros(SHAPE, np.float32)
    chi[10:20, 12:18, 9:20] = 0.1
    chi[14:22, 20:24, 12:16] = -0.1
    chi[4:9, 13:17, 12:17] = 0.15
    chi *= mask
    return chi, forward_field(chi, acq), mask, acq


def error(found: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    d = (found - found[mask].mean() - truth + truth[mask].mean())[mask]
    return float(np.linalg.norm(d) / np.linalg.norm(truth[mask] - truth[mask].mean()))


@pytest.mark.parametrize("method", CLOSED + ITERATED)
def test_halving_the_field_halves_the_map_exactly(method, scan) -> None:
    _, field, mask, acq = scan
    a, b = method(field, mask, acq), method(field / 2, mask, acq)
    np.testing.assert_array_equal(a, 2 * b)


@pytest.mark.parametrize("method", CLOSED)
def test_sum_of_fields_gives_the_sum_of_maps(method, scan, rng) -> None:
    _, field, mask, acq = scan
    other = rng.normal(0, 0.01, SHAPE).astype(np.float32)
    both = method(field + other, mask, acq)
    np.testing.assert_allclose(both, method(field, mask, acq) + method(other, mask, acq), atol=1e-5)


@pytest.mark.parametrize("method", CLOSED + ITERATED)
def test_turned_object_and_field_give_the_turned_map(method, scan) -> None:
    _, field, mask, acq = scan
    turned = acq.with_(b0_dir=(1, 0, 0), voxel_size_mm=acq.voxel_size_mm[::-1])
    a = method(field, mask, acq)
    b = method(np.ascontiguousarray(field.T), np.ascontiguousarray(mask.T), turned)
    np.testing.assert_allclose(b.T, a, atol=2e-4)


@pytest.mark.parametrize("method", [l2])
def test_a_second_pass_brings_the_map_closer(method, scan) -> None:
    chi, field, mask, acq = scan
    once, twice = (error(method(field, mask, acq, passes=n), chi, mask) for n in (1, 2))
    assert twice < once


@pytest.mark.parametrize("method", ITERATED)
def test_iterations_have_converged(method, scan) -> None:
    chi, field, mask, acq = scan
    quick = method(field, mask, acq)
    long = method(field, mask, acq, tolerance=1e-5, iterations=600)
    assert abs(error(quick, chi, mask) - error(long, chi, mask)) < 0.01


@pytest.mark.parametrize("method", ITERATED)
def test_zero_gradient_at_the_end(method, scan, rng) -> None:
    """The objective rises from the converged map in every direction tried."""
    _, field, mask, acq = scan
    keys = {"alpha": 0.01} if method is iterative_tikhonov else {"lam": 0.02}
    x = method(field, mask, acq, tolerance=1e-5, iterations=600, **keys)

    def objective(chi: np.ndarray) -> float:
        residual = (forward_field(chi, acq) - field)[mask].astype(np.float64)
        if method is iterative_tikhonov:
            penalty = 0.01 * (chi.astype(np.float64) ** 2).sum()
        else:
            padded = np.pad(chi.astype(np.float64), 1)
            penalty = 0.02 * sum(
                ((np.diff(padded, axis=a) / h) ** 2).sum() for a, h in enumerate(acq.voxel_size_mm)
            )
        return float((residual**2).sum() + penalty)

    least = objective(x)
    for _ in range(5):
        step = (rng.normal(0, 0.02, SHAPE) * mask).astype(np.float32)
        assert objective(x + step) > least
        assert objective(x - step) > least


def test_edges_of_the_magnitude_are_spared(scan, rng) -> None:
    chi, field, mask, acq = scan
    magnitude = (100 + 200 * chi + rng.normal(0, 0.5, SHAPE)).astype(np.float32)
    noisy = field + rng.normal(0, 0.004, SHAPE).astype(np.float32)
    plain = weighted_l2(noisy, mask, acq, lam=0.2)
    guided = weighted_l2(noisy, mask, acq, lam=0.2, magnitude=magnitude)
    assert error(guided, chi, mask) < error(plain, chi, mask)


@pytest.mark.parametrize(
    ("method", "bad"),
    [
        (tkd, {"threshold": 0.9}),
        (tsvd, {"threshold": 0.0}),
        (tikhonov, {"lam": -1.0}),
        (l2, {"lam": 0.0}),
        (l2, {"passes": 0}),
        (iterative_tikhonov, {"alpha": 0.0}),
        (weighted_l2, {"edges": 1.0}),
    ],
)
def test_impossible_parameters_are_refused(method, bad, scan) -> None:
    _, field, mask, acq = scan
    with pytest.raises(InputError):
        method(field, mask, acq, **bad)
