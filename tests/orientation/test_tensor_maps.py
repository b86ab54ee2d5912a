"""Maps of a tensor, and the correction of a map from one position."""

import numpy as np
import pytest

from chimap import Acquisition, InputError
from chimap.numerics.tensor import from_matrix, tensor_field, to_matrix
from chimap.orientation.tensor_maps import (
    correct_orientation,
    cylindrical_tensor,
    direction_colours,
    fibre_angle,
    tensor_maps,
)

V = np.array([2.0, -1.0, 2.0]) / 3


def test_eigenvalues_and_direction_of_a_known_tensor():
    tensor = np.zeros((2, 2, 2, 6), np.float32)
    tensor[0, 0, 0] = from_matrix(-0.03 * np.eye(3) + 0.018 * (np.outer(V, V) - np.eye(3) / 3))
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0] = True
    maps = tensor_maps(tensor, mask)
    assert maps.mean_ppm[0, 0, 0] == pytest.approx(-0.03, abs=1e-7)
    assert maps.anisotropy_ppm[0, 0, 0] == pytest.approx(0.018, abs=1e-7)
    np.testing.assert_allclose(maps.eigenvalues_ppm[0, 0, 0], [-0.018, -0.036, -0.036], atol=1e-7)
    np.testing.assert_allclose(maps.direction[0, 0, 0], V, atol=1e-5)
    assert not maps.direction[1].any()


def test_the_cylindrical_tensor_is_read_back():
    axis = np.zeros((3, 1, 1, 3), np.float32)
    axis[0, 0, 0], axis[1, 0, 0] = 5 * V, [0, 0, -1]
    mean = np.array([0.01, -0.02, 0.05], np.float32).reshape(3, 1, 1)
    tensor = cylindrical_tensor(axis, 0.02, mean)
    maps = tensor_maps(tensor, np.ones((3, 1, 1), bool))
    np.testing.assert_allclose(maps.mean_ppm, mean, atol=1e-7)
    np.testing.assert_allclose(maps.anisotropy_ppm.ravel(), [0.02, 0.02, 0], atol=1e-7)
    np.testing.assert_allclose(maps.direction[0, 0, 0], V, atol=1e-5)
    assert not maps.direction[2].any()


def test_angles_to_b0():
    axis = np.array([[0, 0, 2], [0, 0, -1], [1, 0, 0], [1, 0, 1], [0, 0, 0]], np.float32).reshape(5, 1, 1, 3)
    np.testing.assert_allclose(fibre_angle(axis, (0, 0, 1)).ravel(), [0, 0, 90, 45, 0], atol=1e-3)


def test_colours_are_those_of_the_head_not_of_the_voxels():
    axis = np.zeros((1, 1, 2, 3), np.float32)
    axis[..., 0] = 1
    strength = np.array([0.01, 0.005]).reshape(1, 1, 2)
    assert direction_colours(axis, strength, full=0.01).tolist() == [[[[255, 0, 0], [128, 0, 0]]]]
    # The first voxel axis runs up.
    axes = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert direction_colours(axis, strength, full=0.01, axes=axes)[0, 0, 0].tolist() == [0, 0, 255]


def test_the_correction_takes_off_the_quadratic_form():
    h = np.array([0.1, 0.2, 0.97])
    h /= np.linalg.norm(h)
    axis = np.zeros((4, 1, 1, 3), np.float32)
    axis[:3, 0, 0] = [[1, 0, 0], V, [0, 0, 3]]
    tensor = cylindrical_tensor(axis, 0.015, np.full((4, 1, 1), -0.03, np.float32))
    seen = np.einsum("xyzab,a,b->xyz", to_matrix(tensor), h, h)
    corrected = correct_orientation(seen, axis, np.ones((4, 1, 1), bool), h, delta_chi_ppm=0.015)
    np.testing.assert_allclose(corrected, -0.03, atol=1e-7)
    assert np.abs(seen + 0.03).max() > 0.005


def test_the_field_correction_leaves_the_isotropic_field():
    rng = np.random.default_rng(0)
    shape, h = (16, 16, 16), (0.0, 0.3, 0.95)
    axis = rng.standard_normal((*shape, 3)).astype(np.float32)
    mean = rng.standard_normal(shape).astype(np.float32) * 0.02
    whole = tensor_field(cylindrical_tensor(axis, 0.015, mean), h, (1, 1, 1))
    rest = whole - tensor_field(cylindrical_tensor(axis, 0.015), h, (1, 1, 1))
    from chimap.numerics.dipole import forward_field

    expected = forward_field(mean, Acquisition((0.02,), 3.0, h))
    np.testing.assert_allclose(rest[..., 0], expected, atol=1e-7)


def test_what_is_no_tensor_is_refused():
    with pytest.raises(InputError, match="6"):
        tensor_maps(np.zeros((2, 2, 2, 3)), np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="NaN"):
        tensor_maps(np.full((2, 2, 2, 6), np.nan), np.ones((2, 2, 2)))
