"""Multigrid: exact on harmonic functions, quick on any mask."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from chimap.numerics.multigrid import Laplace


def grid(shape: tuple[int, ...], voxel: tuple[float, ...]) -> list[np.ndarray]:
    return np.meshgrid(*((np.arange(n) - n // 2) * v for n, v in zip(shape, voxel)), indexing="ij")


@pytest.mark.parametrize(
    ("shape", "voxel"),
    [((41, 37, 44), (1.0, 1.0, 1.0)), ((40, 38, 19), (1.0, 1.0, 2.3)), ((9, 30, 31), (3.0, 1.0, 1.0))],
)
def test_a_quadratic_harmonic_function_is_exact(shape, voxel) -> None:
    x, y, z = grid(shape, voxel)
    mask = (x / x.max()) ** 2 + (y / y.max()) ** 2 + (z / z.max()) ** 2 < 1.1
    mask &= (np.abs(x) > 2) | (y < 3)  # a slit
    inner = binary_erosion(mask)
    f = (0.02 * (x**2 + y**2 - 2 * z**2) + 0.3 * x + 0.05 * x * z + 2).astype(np.float32)
    laplace = Laplace(inner, mask & ~inner, voxel)
    solution = laplace.solve(laplace.right_hand_side(f), tolerance=1e-6)
    assert solution.iterations <= 20
    assert np.abs(solution.x - f)[inner].max() < 1e-4 * np.abs(f[mask]).max()
    assert not solution.x[~inner].any()


def test_second_order_away_from_a_source() -> None:
    errors = []
    for n in (16, 32):
        h = 16 / n
        x, y, z = grid((n, n, n), (h, h, h))
        f = (1 / np.sqrt((x - 14) ** 2 + y**2 + z**2)).astype(np.float32)
        inner = np.zeros((n, n, n), bool)
        inner[1:-1, 1:-1, 1:-1] = True
        laplace = Laplace(inner, ~inner, (h, h, h))
        solution = laplace.solve(laplace.right_hand_side(f), tolerance=1e-6)
        errors.append(np.abs(solution.x - f)[inner].max())
    assert errors[1] < 0.35 * errors[0]


def test_transposes(rng) -> None:
    unknown = rng.random((13, 12, 11)) < 0.6
    known = ~unknown & (rng.random(unknown.shape) < 0.5)
    laplace = Laplace(unknown, known, (1.0, 1.5, 2.0))
    a, b, c = ((rng.standard_normal(unknown.shape) * m).astype(np.float32) for m in (unknown, unknown, known))
    assert np.vdot(a, laplace.apply(b)) == pytest.approx(np.vdot(b, laplace.apply(a)), rel=1e-4)
    assert np.vdot(a, laplace.cycle(b)) == pytest.approx(np.vdot(b, laplace.cycle(a)), rel=1e-4)
    assert np.vdot(a, laplace.right_hand_side(c)) == pytest.approx(np.vdot(laplace.spread(a), c), rel=1e-4)


def test_a_region_without_known_values_stays_zero() -> None:
    unknown = np.zeros((12, 12, 12), bool)
    unknown[2:4, 2:4, 2:4] = unknown[7:10, 7:10, 7:10] = True
    known = np.zeros_like(unknown)
    known[10, 7:10, 7:10] = True
    laplace = Laplace(unknown, known, (1.0, 1.0, 1.0))
    x = laplace.solve(laplace.right_hand_side(np.ones(unknown.shape, np.float32))).x
    assert np.isfinite(x).all()
    assert not x[:5].any()
    assert np.allclose(x[7:10, 7:10, 7:10], 1, atol=1e-3)


def test_pull() -> None:
    unknown = np.ones((10, 9, 8), bool)
    pull = np.zeros(unknown.shape, np.float32)
    pull[0] = 0.5
    laplace = Laplace(unknown, ~unknown, (1.0, 1.0, 1.0), pull)
    x = laplace.solve(3 * pull, tolerance=1e-5).x
    assert np.allclose(x, 3, atol=1e-2)
