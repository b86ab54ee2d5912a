"""Harmonic polynomials fitted in balls, also where these stick out of the data."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.numerics.harmonic import fit_harmonic, solid_harmonics

SHAPE = (20, 19, 16)
VOXEL = (1.0, 1.0, 1.4)


@pytest.fixture
def points() -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(n) * v for n, v in zip(SHAPE, VOXEL)), indexing="ij"), -1) - 9


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_reproduces_harmonic_fields_to_its_degree_up_to_the_edge(points, degree) -> None:
    rng = np.random.default_rng(degree)
    terms = solid_harmonics(points.reshape(-1, 3) / 9, degree)
    field = (terms @ rng.standard_normal(terms.shape[1]).astype(np.float32)).reshape(SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[3:, 2:17, :13] = True
    values, valid = fit_harmonic(field, mask.astype(np.float32), mask, VOXEL, 4.5, degree=degree, ridge=1e-6)
    assert np.array_equal(valid, mask)
    assert np.abs(values - field)[mask].max() < 2e-3 * np.abs(field).max()
    assert not values[~mask].any()


def test_extends_beyond_the_data(points) -> None:
    field = (points[..., 0] ** 2 - points[..., 2] ** 2).astype(np.float32)
    known = np.zeros(SHAPE, bool)
    known[:, :, 4:] = True
    wanted = np.zeros(SHAPE, bool)
    wanted[5:15, 5:14, 3] = True
    values, valid = fit_harmonic(field, known.astype(np.float32), wanted, VOXEL, 5.0, degree=2, ridge=1e-6)
    assert np.array_equal(valid, wanted)
    assert np.abs(values - field)[wanted].max() < 0.05


def test_weights_hold_bad_voxels_back(points) -> None:
    field = points[..., 1].astype(np.float32)
    weight = np.ones(SHAPE, np.float32)
    bad = (8, 8, 8)
    spoilt = field.copy()
    spoilt[bad] += 100
    weight[bad] = 1e-6
    values, _ = fit_harmonic(spoilt, weight, np.ones(SHAPE, bool), VOXEL, 4.0, degree=2)
    assert np.abs(values - field).max() < 0.05


def test_nothing_known_is_not_valid() -> None:
    nothing = np.zeros(SHAPE, np.float32)
    values, valid = fit_harmonic(nothing, nothing, np.ones(SHAPE, bool), VOXEL, 4.0)
    assert not valid.any()
    assert not values.any()


def test_the_polynomials_are_harmonic() -> None:
    h = 1e-2
    at = np.array([0.3, -0.2, 0.4])
    steps = np.vstack([np.eye(3), -np.eye(3), np.zeros((1, 3))]) * h + at
    t = solid_harmonics(steps, 3).astype(np.float64)
    assert np.abs((t[:6].sum(0) - 6 * t[6]) / h**2).max() < 2e-2
