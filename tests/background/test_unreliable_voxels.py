"""Voxels whose field is unknown take that of the sources which the field around them shows."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.background._unreliable import MOST, from_around
from chimap.background.pdf import pdf
from chimap.background.vsharp import vsharp
from chimap.simulate.analytic import sphere

SHAPE = (34, 33, 30)
ACQ = Acquisition(te_s=0.02, b0_t=7.0, b0_dir=(0.2, 0.1, 0.97), voxel_size_mm=(1.0, 1.0, 1.2))


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, ACQ.voxel_size_mm)), indexing="ij"
    )
    return x**2 + y**2 + z**2 < 15**2


@pytest.fixture(scope="module")
def stone(mask) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Field of a calcification, the same with its inside lost, and the noise."""
    true = sphere(SHAPE, ACQ, radius_mm=2.5, chi_ppm=-1.5).field_ppm * mask
    lost = sphere(SHAPE, ACQ, radius_mm=3.2, chi_ppm=1.0).chi_ppm > 0.5
    rng = np.random.default_rng(1)
    measured = np.where(lost, rng.uniform(-1, 1, SHAPE), true).astype(np.float32)
    noise = np.where(lost, 0.5, 0.002).astype(np.float32) * mask
    return true, measured, noise


def filled(stone, mask, limit: float = 25.0) -> np.ndarray:
    return from_around(stone[1], stone[2], mask, limit, ACQ.voxel_size_mm, ACQ.b0_dir)


def test_the_field_of_a_lost_core_is_estimated_from_around_it(stone, mask) -> None:
    true, measured, noise = stone
    lost = noise > 0.1
    assert 20 < lost.sum() < 200
    left = np.linalg.norm((filled(stone, mask) - true)[lost])
    assert left < 0.85 * np.linalg.norm(true[lost])  # better than no field
    assert left < 0.3 * np.linalg.norm((measured - true)[lost])


def test_other_voxels_stay(stone, mask) -> None:
    out = filled(stone, mask)
    assert np.array_equal(out[stone[2] < 0.1], stone[1][stone[2] < 0.1])
    assert filled(stone, mask, 0.0) is stone[1]
    assert from_around(stone[1], None, mask, 25.0, (1, 1, 1), (0, 0, 1)) is stone[1]


def test_a_large_void_is_left_alone(mask) -> None:
    x, y, z = np.indices(SHAPE) - np.array(SHAPE).reshape(3, 1, 1, 1) // 2
    lost = x**2 + y**2 + z**2 < 49
    assert lost.sum() > MOST
    noise = np.where(lost, 1.0, 0.002).astype(np.float32)
    field = lost.astype(np.float32)
    assert np.array_equal(from_around(field, noise, mask, 25.0, (1, 1, 1), (0, 0, 1)), field)


@pytest.mark.parametrize("method", [pdf, vsharp], ids=lambda m: m.name)
def test_methods_use_it(method, stone, mask) -> None:
    true, measured, noise = stone
    lost = noise > 0.1
    errors = [
        np.linalg.norm((method(measured, mask, ACQ, noise=noise, unreliable=u).field_ppm - true)[lost])
        for u in (0.0, 25.0)
    ]
    assert errors[1] < 0.7 * errors[0]
