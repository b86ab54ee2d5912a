"""Combination of receive channels, and the singularities that a bad one leaves."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from phase_scans import scan

from chimap.errors import InputError
from chimap.phase.aspire import combine_coils
from chimap.phase.singularities import phase_residues
from chimap.simulate.coils import coil_sensitivities, receive
from chimap.simulate.effects import join

SHAPE = (28, 31, 25)
VOXEL = (7.0, 7.0, 7.0)
COILS = functools.cache(lambda: coil_sensitivities(SHAPE, VOXEL, channels=8))


def truth(te_s):
    """A head without noise or offset, as large as one, to be received by channels."""
    s = scan(te_s, shape=SHAPE, voxel=VOXEL, offset=False, snr=1e6)
    # Nothing but air outside.
    s.magnitude *= s.mask[..., None]
    return s


def received(s, noise_sd=0.02):
    """Phase and magnitude (x, y, z, echo, channel)."""
    channels = list(receive(join(s.magnitude, s.phase), COILS(), noise_sd=noise_sd, seed=3))
    signal = np.stack(channels, axis=-1)
    return np.angle(signal), np.abs(signal)


def spread(phase, s):
    """RMS distance of combined and true phase of each echo in rad, one constant for all echoes apart."""
    turn = np.exp(1j * (phase - s.phase))[s.mask]
    turn *= np.conj(turn.sum()) / np.abs(turn.sum())
    return np.sqrt(np.mean(np.angle(turn) ** 2, axis=0))


@pytest.mark.parametrize(
    ("te_s", "method", "used", "pair"),
    [
        ((0.005, 0.010, 0.015), "aspire", "aspire", [1, 2]),
        ((0.004, 0.009, 0.018), "aspire", "aspire", [2, 3]),
        ((0.008, 0.012), "aspire", "aspire", [1, 2]),
        ((0.004, 0.0105, 0.017), "aspire", "mcpc3ds", [1, 2]),
        ((0.005, 0.010), "mcpc3ds", "mcpc3ds", [1, 2]),
    ],
    ids=["twice", "later pair", "ratio 2", "no pair", "as told"],
)
def test_combined_phase_is_that_of_the_field(te_s, method, used, pair):
    s = truth(te_s)
    data = received(s)
    facts = {}
    phase, magnitude = combine_coils(
        *data, s.acq, s.mask, method=method, progress=lambda done, total, **new: facts.update(new)
    )
    assert facts == {"method": used, "echoes": pair}
    assert phase.dtype == magnitude.dtype == np.float32 and phase.shape == s.phase.shape
    assert np.moveaxis(phase, 3, 0).flags.c_contiguous
    assert not phase[~s.mask].any() and not magnitude[~s.mask].any()
    assert np.abs(phase).max() <= np.float32(np.pi)
    assert spread(phase, s).max() < 0.05
    assert phase_residues(phase[..., 0], s.mask).count == 0
    # Decay is that of the channels.
    decay = magnitude[s.mask, -1] / magnitude[s.mask, 0]
    assert np.median(decay) == pytest.approx(np.exp(-20 * (te_s[-1] - te_s[0])), rel=0.01)


def test_without_mask_the_whole_image_is_combined():
    s = truth((0.005, 0.010))
    phase, magnitude = combine_coils(*received(s), s.acq)
    assert spread(phase, s).max() < 0.05
    assert magnitude[0, 0, 0].min() > 0


@pytest.mark.parametrize("te_s", [(0.010,), (0.004, 0.011)], ids=["1 echo", "2 echoes"])
def test_virtual_reference_coil(te_s):
    s = truth(te_s)
    phase, _ = combine_coils(*received(s), s.acq, s.mask, method="vrc")
    offset = np.angle(np.exp(1j * (phase - s.phase)))
    # The virtual coil's phase: smooth, the same in all echoes, without singularities.
    for echo in range(len(te_s)):
        assert phase_residues(phase[..., echo], s.mask).count == 0
        for axis in range(3):
            step = np.diff(np.where(s.mask, offset[..., echo], np.nan), axis=axis)
            assert np.nanmedian(np.abs(np.angle(np.exp(1j * step)))) < 0.1
    if len(te_s) > 1:
        apart = np.angle(np.exp(1j * (offset[..., 1] - offset[..., 0])))[s.mask]
        assert np.sqrt(np.mean(apart**2)) < 0.05


def test_a_plain_sum_of_channels_has_singularities_and_the_combination_not():
    s = truth((0.005, 0.010))
    phase, magnitude = received(s, noise_sd=0)
    plain = np.angle((magnitude * np.exp(1j * phase)).sum(-1))[..., 0]
    assert phase_residues(plain, s.mask).per_100k > 20
    assert phase_residues(s.phase[..., 0], s.mask).count == 0


def test_reads_volume_by_volume_and_leaves_what_is_not_finite_out():
    s = truth((0.005, 0.010))
    phase, magnitude = received(s)

    class OnDisk:
        def __init__(self, array):
            self.array, self.shape, self.largest = array, array.shape, 0

        def __getitem__(self, key):
            part = self.array[key]
            self.largest = max(self.largest, part.size)
            return part

    lazy = OnDisk(phase), OnDisk(magnitude)
    a = combine_coils(*lazy, s.acq, s.mask)
    assert lazy[0].largest == s.mask.size
    for x, y in zip(a, combine_coils(phase, magnitude, s.acq, s.mask), strict=True):
        np.testing.assert_array_equal(x, y)
    # A channel with a broken voxel is one channel less there.
    magnitude[14, 15, 12, :, 2] = np.nan
    b = combine_coils(phase, magnitude, s.acq, s.mask)
    assert all(np.isfinite(v).all() for v in b) and spread(b[0], s).max() < 0.05


def test_errors_say_what_to_do():
    s = truth((0.005, 0.010))
    phase, magnitude = np.zeros((2, *SHAPE, 2, 3), np.float32)
    with pytest.raises(InputError, match=r"must be \(x, y, z, echo, channel\)"):
        combine_coils(phase[..., 0], magnitude, s.acq)
    with pytest.raises(InputError, match="2 echoes but 1 echo time"):
        combine_coils(phase, magnitude, s.acq.with_(te_s=(0.005,)))
    with pytest.raises(InputError, match=r'aspire needs two echoes\. Use method "vrc"'):
        combine_coils(phase[..., :1, :], magnitude[..., :1, :], s.acq.with_(te_s=(0.005,)))
    with pytest.raises(InputError, match="no method 'sum'"):
        combine_coils(phase, magnitude, s.acq, method="sum")
    with pytest.raises(InputError, match="smoothing_mm is -1"):
        combine_coils(phase, magnitude, s.acq, smoothing_mm=-1)
    with pytest.raises(InputError, match="order is 8"):
        combine_coils(phase, magnitude, s.acq, order=8)


def test_residues_of_a_vortex_line():
    x, y, _ = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (20, 18, 12)), indexing="ij")
    vortex = np.arctan2(y, x).astype(np.float32)
    everywhere = np.ones(vortex.shape, bool)
    # A line along an axis goes through one loop of each plane across it.
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        turned = vortex.transpose(axes)
        found = phase_residues(turned, everywhere.transpose(axes))
        assert found.count == 12
        assert found.per_100k == pytest.approx(12e5 / vortex.size)
        # Turns of 2 pi do not matter, nor does the line outside the mask.
        assert phase_residues(turned + 4 * np.pi * (turned > 0.5), everywhere.transpose(axes)).count == 12
        assert phase_residues(turned, (abs(x) + abs(y) > 2).transpose(axes)).count == 0


def test_no_residues_in_wraps_one_voxel_or_an_empty_mask():
    x, y, z = np.meshgrid(*(np.arange(12.0),) * 3, indexing="ij")
    wraps = np.angle(np.exp(1j * (1.1 * x - 0.7 * y + 0.1 * z**2))).astype(np.float32)
    assert phase_residues(wraps, np.ones(wraps.shape, bool)).count == 0
    assert phase_residues(wraps[:1, :1, :1], np.ones((1, 1, 1), bool)).count == 0
    assert phase_residues(wraps, np.zeros(wraps.shape, bool)).per_100k == 0
