"""What a noise map becomes: weights, and the standard deviation that regularisation is weighed against."""

import numpy as np
import pytest

from chimap.numerics.noise import LEAST_PPM, data_weights

MASK = np.ones((4, 4, 4), bool)


def test_weights_fall_with_the_noise_and_are_zero_where_it_is_unknown():
    noise = np.full(MASK.shape, 0.004, np.float32)
    noise[0], noise[1] = 0.04, 0
    w2, typical = data_weights(MASK, noise, 0.01, 2.0)
    assert (w2[1] == 0).all()
    np.testing.assert_allclose(w2[2:], 1, rtol=1e-6)
    np.testing.assert_allclose(w2[0], (0.004**2 * 5) / (0.04**2 + 4 * 0.004**2), rtol=1e-5)
    assert typical == pytest.approx(np.sqrt(5 * 0.004**2 + LEAST_PPM**2))


def test_a_field_of_next_to_no_noise_still_has_an_error():
    _, typical = data_weights(MASK, np.full(MASK.shape, 1e-6, np.float32), 0.01, 2.0)
    assert typical == pytest.approx(LEAST_PPM, rel=1e-3)


def test_without_a_map_the_default_is_taken_as_it_is():
    w2, typical = data_weights(MASK, None, 0.01, 2.0)
    assert typical == 0.01 and (w2 == 1).all()
