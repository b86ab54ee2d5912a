"""The field of a susceptibility tensor: closed forms, covariance, adjoints."""

import numpy as np
import pytest

from chimap import Acquisition, InputError
from chimap.numerics.dipole import forward_field
from chimap.numerics.tensor import TensorKernel, design, from_matrix, plain, scaled, tensor_field, to_matrix

DIRECTIONS = np.array([[0, 0, 1], [0.3, -0.4, 0.87], [1, 1, 0], [-0.5, 0.2, 0.6]])


@pytest.mark.parametrize(("shape", "voxel"), [((20, 23, 18), (1, 1.5, 2)), ((16, 16, 16), (1, 1, 1))])
def test_an_isotropic_tensor_makes_the_dipole_field(shape, voxel):
    chi = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    tensor = np.zeros((*shape, 6), np.float32)
    tensor[..., [0, 3, 5]] = chi[..., None]
    fields = tensor_field(tensor, DIRECTIONS, voxel)
    for n, h in enumerate(DIRECTIONS):
        expected = forward_field(chi, Acquisition((0.02,), 3.0, tuple(h), voxel))
        np.testing.assert_allclose(fields[..., n], expected, atol=2e-6)


@pytest.mark.parametrize("cycles", [(3, 0, 0), (0, 2, 5), (2, -3, 1)])
def test_a_plane_wave_follows_the_formula(cycles):
    shape, voxel = (24, 20, 30), (1.0, 2.0, 0.8)
    k = np.array(cycles) / (np.array(shape) * voxel)
    grid = np.meshgrid(*(np.arange(n) * d for n, d in zip(shape, voxel, strict=True)), indexing="ij")
    wave = np.cos(2 * np.pi * sum(f * g for f, g in zip(k, grid, strict=True)))
    m = np.random.default_rng(1).standard_normal((3, 3))
    x = m + m.T
    tensor = (wave[..., None] * from_matrix(x)).astype(np.float32)
    fields = tensor_field(tensor, DIRECTIONS, voxel, pad=1)
    for n, h in enumerate(DIRECTIONS / np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)):
        factor = h @ x @ h / 3 - (h @ k) * (k @ x @ h) / (k @ k)
        np.testing.assert_allclose(fields[..., n], factor * wave, atol=2e-5)


def test_turning_object_and_field_together_turns_the_result():
    rng = np.random.default_rng(2)
    tensor = rng.standard_normal((14, 14, 14, 6)).astype(np.float32)
    h = np.array([0.3, -0.5, 0.8])
    # A quarter turn about z: exact on the grid. x' = -y, y' = x.
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    matrix = np.rot90(to_matrix(tensor), 1, axes=(0, 1))
    turned = from_matrix(turn @ matrix @ turn.T).astype(np.float32)
    field = tensor_field(tensor, h, (1.2, 1.2, 2.0))[..., 0]
    again = tensor_field(turned, turn @ h, (1.2, 1.2, 2.0))[..., 0]
    np.testing.assert_allclose(again, np.rot90(field, 1, axes=(0, 1)), atol=3e-6)


def test_a_ball_along_b0_has_no_field_inside_whatever_its_tensor():
    # By symmetry the mean of k k^T over directions is I/3.
    n = 48
    r = np.linalg.norm(np.indices((n,) * 3) - (n - 1) / 2, axis=0)
    x = from_matrix(np.array([[0.02, 0.01, 0], [0.01, 0, 0.005], [0, 0.005, -0.01]]))
    tensor = ((r < 12)[..., None] * x).astype(np.float32)
    field = tensor_field(tensor, [0.2, 0.3, 0.9], (1, 1, 1))[..., 0]
    assert abs(field[r < 9].mean()) < 1e-4
    assert np.abs(field[(r > 13) & (r < 16)]).max() > 2e-3


def test_six_and_nine_components():
    rng = np.random.default_rng(3)
    shape = (12, 15, 10)
    kernel = TensorKernel(shape, (1, 1.5, 2))
    x, y = (rng.standard_normal((6, *shape)).astype(np.float32) for _ in range(2))
    nine = rng.standard_normal((9, *shape)).astype(np.float32)
    assert np.vdot(kernel.apply(x), y) == pytest.approx(np.vdot(x, kernel.apply(y)), rel=1e-3)
    assert np.vdot(kernel.apply_nine(nine), y) == pytest.approx(
        np.vdot(nine, kernel.adjoint_nine(y)), rel=1e-3
    )
    symmetric = to_matrix(plain(x)).reshape(*shape, 9)
    stack = np.ascontiguousarray(np.moveaxis(symmetric, -1, 0))
    np.testing.assert_allclose(kernel.apply_nine(stack), kernel.apply(x), atol=3e-6)


def test_components_there_and_back():
    rng = np.random.default_rng(4)
    tensor = rng.standard_normal((3, 4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(from_matrix(to_matrix(tensor)), tensor, rtol=1e-6)
    np.testing.assert_allclose(plain(scaled(tensor)), tensor, rtol=1e-6)
    h = np.array([[0.6, 0.0, 0.8]])
    quadratic = h[0] @ to_matrix(tensor[0, 0, 0]) @ h[0]
    assert design(h)[0] @ scaled(tensor)[:, 0, 0, 0] == pytest.approx(quadratic, abs=1e-5)


def test_what_is_no_tensor_or_direction_is_refused():
    with pytest.raises(InputError, match="6"):
        tensor_field(np.zeros((4, 4, 4)), [0, 0, 1], (1, 1, 1))
    with pytest.raises(InputError, match="zero"):
        tensor_field(np.zeros((4, 4, 4, 6)), [0, 0, 0], (1, 1, 1))
