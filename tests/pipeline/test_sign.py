"""The sign of the phase is told from the air around and in the head, or said to be unknown."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.numerics.dipole import forward_field
from chimap.pipeline.sign import AIR_PPM, detect_sign


def _ball(shape, centre, radius):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


@pytest.fixture(scope="module")
def head():
    """A ball with an air cavity below its middle, in air, 3 mm voxels."""
    shape = (48, 52, 50)
    acq = Acquisition((0.01, 0.02), 3.0, (0.05, 0.1, 0.99), (3.0, 3.0, 3.0))
    tissue = _ball(shape, (24, 26, 25), 20) & ~_ball(shape, (24, 34, 14), 5)
    brain = _ball(shape, (24, 25, 28), 14) & tissue
    field = forward_field(np.where(tissue, 0, AIR_PPM).astype(np.float32) - np.float32(AIR_PPM), acq)
    rng = np.random.default_rng(1)
    magnitude = (tissue * 100 + rng.random(shape) * 5).astype(np.float32)
    x = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None, None]
    return field + 0.7 * x + 0.3 * x * x, magnitude, brain, acq


def test_both_signs(head):
    field, magnitude, brain, acq = head
    plus = detect_sign(field, magnitude, brain, acq)
    minus = detect_sign(-field, magnitude, brain, acq)
    assert (plus.sign, plus.decided) == (1, True)
    assert (minus.sign, minus.decided) == (-1, True)
    assert plus.correlation == -minus.correlation > 0.5
    assert "multiplied by -1" in str(minus)


def test_undecided_without_air(head):
    field, magnitude, brain, acq = head
    crop = (slice(14, 34), slice(16, 32), slice(22, 38))
    found = detect_sign(field[crop], magnitude[crop], brain[crop], acq)
    assert found == found.__class__(1, 0.0, False)
    assert "could not be told" in str(found)


def test_undecided_for_noise(head):
    _, magnitude, brain, acq = head
    noise = np.random.default_rng(2).standard_normal(brain.shape).astype(np.float32)
    assert not detect_sign(noise, magnitude, brain, acq).decided
