import numpy as np
import pytest
from scipy import ndimage

from chimap.errors import InputError
from chimap.masking import morphology
from chimap.numerics import threads

VOXEL = (0.8, 1.0, 2.5)


def blob(shape=(31, 26, 17), seed=0):
    noise = np.random.default_rng(seed).standard_normal(shape)
    return ndimage.gaussian_filter(noise, 2) > 0.05


def test_distance_is_euclidean_in_mm():
    mask = np.zeros((21, 18, 13), bool)
    mask[4, 5, 6] = mask[15, 2, 1] = True
    expected = ndimage.distance_transform_edt(~mask, sampling=VOXEL)
    np.testing.assert_allclose(morphology.distance(mask, VOXEL, 100.0), expected, rtol=1e-5)
    np.testing.assert_allclose(morphology.distance(mask, VOXEL, 6.0), np.minimum(expected, 6), rtol=1e-5)


@pytest.mark.parametrize("radius", [1.0, 2.5, 4.0])
def test_dilation_of_a_point_is_a_ball(radius):
    mask = np.zeros((25, 23, 15), bool)
    mask[12, 11, 7] = True
    grid = np.indices(mask.shape) - np.array([12, 11, 7]).reshape(3, 1, 1, 1)
    r = np.sqrt(sum((g * v) ** 2 for g, v in zip(grid, VOXEL, strict=True)))
    np.testing.assert_array_equal(morphology.dilate(mask, radius, VOXEL), r <= radius + 1e-6)


def test_erosion_is_dilation_of_the_background():
    mask = blob()
    np.testing.assert_array_equal(morphology.erode(mask, 2.0, VOXEL), ~morphology.dilate(~mask, 2.0, VOXEL))
    full = np.ones((9, 9, 9), bool)
    assert morphology.erode(full, 2.0, (1, 1, 1)).all()
    assert morphology.erode(full, 2.0, (1, 1, 1), border=True).sum() == 5**3


def test_opening_and_closing_are_ordered_and_idempotent():
    mask = blob()
    opened, closed = morphology.open_(mask, 2.0, VOXEL), morphology.close(mask, 2.0, VOXEL)
    assert (opened <= mask).all() and (mask <= closed).all()
    np.testing.assert_array_equal(morphology.open_(opened, 2.0, VOXEL), opened)
    np.testing.assert_array_equal(morphology.close(closed, 2.0, VOXEL), closed)


def test_fill_holes_in_3d_and_per_slice():
    mask = np.zeros((9, 9, 9), bool)
    mask[1:8, 1:8, 1:8] = True
    mask[4, 4, 4] = False  # a hole
    mask[4, 4, 6:] = False  # a well, open at the top
    filled = morphology.fill_holes(mask)
    assert filled[4, 4, 4] and not filled[4, 4, 6]
    assert morphology.fill_holes(mask, axis=2)[4, 4, 6]


def test_largest_component_and_the_one_near():
    mask = np.zeros((12, 12, 12), bool)
    mask[:5, :5, :5] = True
    mask[8:11, 8:11, 8:11] = True
    near = np.zeros_like(mask)
    near[9, 9, 9] = True
    assert morphology.largest_component(mask).sum() == 125
    assert morphology.largest_component(mask, near).sum() == 27


def test_input_stays_as_it_is_and_threads_do_not_matter():
    mask = np.asfortranarray(blob())
    before = mask.copy()
    results = []
    for n in (1, 3):
        threads.set_threads(n)
        results.append(morphology.close(mask, 3.0, VOXEL))
    threads.set_threads(0)
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(mask, before)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="3-D array of bool"):
        morphology.dilate(np.ones((3, 3, 3)), 1.0, VOXEL)
    with pytest.raises(InputError, match="radius"):
        morphology.dilate(np.ones((3, 3, 3), bool), -1.0, VOXEL)
