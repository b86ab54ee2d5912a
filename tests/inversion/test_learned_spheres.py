"""The learned inversion of a field with background left over."""

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._spheres import without_means
from chimap.inversion.learned import learned
from chimap.numerics.dipole import forward_field

ACQ = Acquisition((0.01, 0.02), 3.0)
SHAPE = (36, 34, 32)


@pytest.fixture(scope="module")
def sample():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.85
    rng = np.random.default_rng(4)
    chi = np.zeros(SHAPE, np.float32)
    for _ in range(14):
        c, r = rng.uniform(-0.5, 0.5, 3), rng.uniform(0.08, 0.25)
        chi[(x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2 < r**2] = rng.uniform(-0.08, 0.15)
    field = forward_field(chi, ACQ) + rng.normal(0, 0.001, SHAPE)
    background = 0.02 * x * y + 0.01 * (x * x - y * y)
    return chi, field.astype(np.float32) * mask, (background * mask).astype(np.float32), mask


def _error(found, chi, mask):
    d = (found - chi)[mask]
    return float((d - d.mean()).std())


def test_background_left_over_hardly_reaches_the_map(sample):
    chi, field, background, mask = sample
    plain = _error(learned(field + background, mask, ACQ), chi, mask)
    spheres = _error(learned(field + background, mask, ACQ, smv_mm=10.0), chi, mask)
    alone = _error(learned(field, mask, ACQ, smv_mm=10.0), chi, mask)
    assert spheres < 0.8 * plain
    assert spheres < 1.15 * alone


def test_means_over_spheres_of_a_harmonic_field_are_itself(sample):
    _, _, background, mask = sample
    left = without_means(background, mask, ACQ, 8.0)
    assert np.abs(left).max() < 0.03 * np.abs(background).max()
    thin = np.zeros_like(mask)
    thin[:, :, 16] = mask[:, :, 16]
    assert without_means(background, thin, ACQ, 8.0) is background


def test_a_negative_radius_is_refused(sample):
    _, field, _, mask = sample
    with pytest.raises(InputError, match="smv_mm"):
        learned(field, mask, ACQ, smv_mm=-1.0)
