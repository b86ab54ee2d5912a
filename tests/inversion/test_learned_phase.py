"""The learned inversion of wrapped phase: turns make no difference, and wrong arguments are named."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion.learned_phase import learned_phase
from chimap.numerics.dipole import forward_field


@pytest.fixture(scope="module")
def scan() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Acquisition]:
    """A ball of 0.2 ppm in a larger one: phase, magnitude, mask, susceptibility."""
    acq = Acquisition((0.005, 0.012, 0.020), 3.0, b0_dir=(0.0, 0.3, 0.954), voxel_size_mm=(1.0, 1.0, 1.5))
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 for n in (28, 30, 24)), indexing="ij")
    chi = np.where(x**2 + y**2 + z**2 < 16, 0.2, 0).astype(np.float32)
    mask = (x / 12) ** 2 + (y / 13) ** 2 + (z / 10) ** 2 < 1
    field = forward_field(chi, acq)
    rng = np.random.default_rng(0)
    signal = np.stack([np.exp(1j * acq.rad_per_ppm(t) * field - 20 * t) for t in acq.te_s], -1)
    signal = signal + 0.01 * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    return np.angle(signal).astype(np.float32), np.abs(signal).astype(np.float32), mask, chi, acq


def test_it_finds_the_ball(scan) -> None:  # type: ignore[no-untyped-def]
    phase, magnitude, mask, chi, acq = scan
    out = learned_phase(phase, mask, acq, magnitude=magnitude)
    assert abs(out[mask].mean()) < 1e-6
    inner = chi > 0
    assert 0.1 < out[inner].mean() - out[mask & ~inner].mean() < 0.3


def test_turns_make_no_difference(scan) -> None:  # type: ignore[no-untyped-def]
    phase, magnitude, mask, _, acq = scan
    turns = np.random.default_rng(1).integers(-2, 3, phase.shape)
    turned = (phase + 2 * np.pi * turns).astype(np.float32)
    one, two = (learned_phase(p, mask, acq, magnitude=magnitude) for p in (phase, turned))
    assert np.abs(one - two).max() < 2e-3


def test_wrong_arguments_are_named(scan) -> None:  # type: ignore[no-untyped-def]
    phase, magnitude, mask, _, acq = scan
    with pytest.raises(InputError, match="refine"):
        learned_phase(phase, mask, acq, refine=-1)
    with pytest.raises(InputError, match="every echo"):
        learned_phase(phase, mask, acq, magnitude=magnitude[..., 0])
    with pytest.raises(InputError, match="not one of an unrolled inversion"):
        learned_phase(phase, mask, acq, model="unwrap")
