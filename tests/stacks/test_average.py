"""Averaging: motion and drift are found, and the noise goes down as it should."""

import numpy as np
import pytest
from stack_heads import ACQ, MOTION, TE_S, apart, as_stack, centred, head

from chimap.errors import InputError
from chimap.stacks._drift import Drift, drift
from chimap.stacks.average import average_repeats

SHAPE = (32, 36, 30)
AFFINE = centred(SHAPE, (2, 2, 2))
DRIFT = Drift(0.7, (0.004, -0.003, 0.002), 12.0, (0.05, 0.02, -0.06))


def repeat(seed, noise=0.03, motion=None, drifted=None, gain=1.0):
    rng = np.random.default_rng(seed)
    echoes = head(SHAPE, motion=motion, detail_mm=4.5)
    for e, te in enumerate(TE_S):
        for factor in (drifted or Drift()).factors(SHAPE, (2, 2, 2), te):
            echoes[..., e] *= factor
    echoes = echoes + noise * (rng.standard_normal(echoes.shape) + 1j * rng.standard_normal(echoes.shape))
    return as_stack(gain * echoes, AFFINE)


def rms(average):
    found = average.magnitude * np.exp(1j * average.phase)
    return float(np.sqrt((np.abs(found - head(SHAPE, detail_mm=4.5)) ** 2).mean() / 2))


def test_drift_is_found_from_wrapped_phases():
    echoes = head(SHAPE)
    products = []
    for e, te in enumerate(TE_S):
        p = np.abs(echoes[..., e]) ** 2 * np.exp(0j)
        for factor in DRIFT.factors(SHAPE, (2, 2, 2), te):
            p = p * factor
        products.append(p)
    found = drift(products, TE_S, (2, 2, 2))
    for name in ("offset_rad", "offset_rad_per_mm", "frequency_hz", "frequency_hz_per_mm"):
        assert getattr(found, name) == pytest.approx(getattr(DRIFT, name), abs=1e-4)
    assert found.residual_rad < 1e-4


def test_repeats_without_motion_are_averaged_by_their_noise():
    a = average_repeats([repeat(1), repeat(2, noise=0.06, gain=2.0)], ACQ, estimate_motion=False)
    # The second has the noise of the first times two, and its scale besides.
    assert a.weights == pytest.approx([0.8, 0.2], abs=0.03)
    assert a.gain == pytest.approx([1, 2], rel=0.01)
    assert rms(a) == pytest.approx(0.03 * np.sqrt(0.8), rel=0.05)


def test_motion_and_drift_are_corrected():
    repeats = [repeat(1), repeat(2, motion=MOTION, drifted=DRIFT), repeat(3)]
    a = average_repeats(repeats, ACQ, keep_aligned=True)
    assert apart(a.motion[1], MOTION) < 0.2
    assert a.drift[1].frequency_hz == pytest.approx(12, abs=0.5)
    assert a.drift[1].offset_rad == pytest.approx(0.7, abs=0.05)
    assert a.weights == pytest.approx([1 / 3] * 3, abs=0.05)
    assert rms(a) < 1.15 * 0.03 / np.sqrt(3)
    # Each repeat by itself, in its new place, is like the first.
    phase, magnitude = a.aligned[1]
    first = repeats[0].echo(0)
    other = magnitude[..., 0] * np.exp(1j * phase[..., 0])
    assert np.abs(other - first).std() < 1.2 * 0.03 * np.sqrt(2)


def test_a_spoilt_repeat_counts_less():
    spoilt = repeat(3)
    magnitude = spoilt.magnitude.copy()
    magnitude[::2] *= 1.5  # ghosting
    repeats = [repeat(1), repeat(2), type(spoilt)(spoilt.phase, magnitude, AFFINE)]
    a = average_repeats(repeats, ACQ, estimate_motion=False)
    assert a.weights[2] < 0.5 * min(a.weights[:2])


def test_grids_must_agree():
    other = as_stack(head((30, 36, 30)), centred((30, 36, 30), (2, 2, 2)))
    with pytest.raises(InputError, match="one protocol"):
        average_repeats([repeat(1), other], ACQ)
    with pytest.raises(InputError, match="two or more"):
        average_repeats([repeat(1)], ACQ)
