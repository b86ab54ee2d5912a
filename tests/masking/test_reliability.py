"""Reliability of a field: against the error of a simulated head at 3 mm, and each reason on its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from chimap import Acquisition, estimate_field
from chimap.errors import InputError
from chimap.masking import morphology
from chimap.masking.reliability import REASONS, reliability
from chimap.results import Field
from chimap.simulate import head_phantom, simulate_scan


@pytest.fixture(scope="module")
def head():
    """Scan at 7 T and 3 mm, where the sinuses dephase whole voxels, its field, and the field's error in ppm."""
    acq = Acquisition((0.004, 0.012, 0.020), 7.0, voxel_size_mm=(3.0, 3.0, 3.0))
    scan = simulate_scan(head_phantom((1.5, 1.5, 1.5)), acq, snr=60)
    field = estimate_field(scan.phase, scan.mask, acq, magnitude=scan.magnitude)
    error = field.field_ppm - scan.total_field_ppm
    return scan, field, np.abs(error - np.median(error[scan.mask]))


def rms(error, where, weight=None):
    return float(np.sqrt(np.average(error[where] ** 2, weights=None if weight is None else weight[where])))


def test_lost_voxels_are_wrong_and_weights_rank_the_error(head):
    scan, field, error = head
    r = reliability(field, scan.acq, scan.magnitude, scan.phase)
    mask = scan.mask
    assert 0.005 < r.lost.sum() / mask.sum() < 0.06
    assert rms(error, r.lost) > 5 * rms(error, mask & ~r.lost)
    assert rms(error, mask, r.weight) < 0.35 * rms(error, mask)
    wrapped = mask & (error * scan.acq.rad_per_ppm() > np.pi)
    assert wrapped.sum() > 20
    assert (wrapped & r.lost).sum() > 0.75 * wrapped.sum()
    bins = [0, 0.05, 0.25, 0.5, 0.75, 0.99, 1.01]
    spread = [rms(error, mask & (r.weight >= a) & (r.weight < b)) for a, b in zip(bins, bins[1:])]
    assert all(a > b for a, b in zip(spread, spread[1:]))
    assert (r.weight[mask] > 0.99).mean() > 0.75


def test_what_is_returned(head):
    scan, field, _ = head
    before = {f.name: getattr(field, f.name) for f in dataclasses.fields(field)}
    before = {k: v.copy() for k, v in before.items() if v is not None}
    r = reliability(field, scan.acq, scan.magnitude, scan.phase)
    assert r.weight.dtype == np.float32 and r.lost.dtype == bool and r.reasons.dtype == np.uint8
    assert r.weight.min() == 0 and r.weight.max() == 1
    assert not r.weight[~scan.mask].any() and not (r.lost & ~scan.mask).any()
    np.testing.assert_array_equal(r.reasons > 0, r.lost)
    assert not r.weight[r.lost].any() and (r.weight[scan.mask & ~r.lost] >= 0.05).all()
    assert list(r.counts) == list(REASONS.values()) and sum(r.counts.values()) == r.lost.sum()
    assert r.counts["incoherent phase"] and r.counts["misfit of the echoes"] and r.counts["low signal"]
    # Holes are filled: lost voxels inside stay in the mask, those at the rim leave it.
    assert (scan.mask & ~r.lost <= r.mask).all() and (r.mask <= scan.mask).all()
    assert (r.mask & r.lost).any() and (~r.mask & r.lost).any()
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(field, name), value)


def even(shape=(20, 22, 18)):
    """A perfect field of a block, its magnitude and phase."""
    acq = Acquisition((0.005, 0.012), 3.0, voxel_size_mm=(2.0, 2.0, 2.0))
    mask = np.zeros(shape, bool)
    mask[2:-2, 2:-2, 2:-2] = True
    ppm = np.where(mask, 0.05 * np.indices(shape)[0], 0).astype(np.float32)
    phase = np.stack([np.angle(np.exp(1j * acq.rad_per_ppm(t) * ppm)) for t in acq.te_s], -1)
    magnitude = np.stack([mask * 1.0, mask * 0.8], -1).astype(np.float32)
    noise = np.full(shape, 0.002, np.float32) * mask
    residual = np.full(shape, 0.05, np.float32) * mask
    return Field(ppm, noise, mask, residual=residual), acq, magnitude, phase.astype(np.float32)


def test_each_reason_alone():
    field, acq, magnitude, phase = even()
    user = np.ones(field.mask.shape, bool)
    spots = {n: (slice(4, 6), slice(3 * n, 3 * n + 2), slice(8, 10)) for n in range(1, 6)}
    spots[4] = (slice(10, 16), slice(10, 16), slice(6, 12))
    magnitude[spots[1]] *= 0.1
    field.noise_ppm[spots[2]] = 2.0
    field.residual[spots[3]] = 1.5
    rng = np.random.default_rng(2)
    phase[spots[4]] = rng.uniform(-np.pi, np.pi, (6, 6, 6, 2))
    user[spots[5]] = False
    r = reliability(field, acq, magnitude, phase, user_mask=user)
    for n in (1, 2, 3, 5):
        assert (r.reasons[spots[n]] == n).all(), REASONS[n]
    assert r.counts["incoherent phase"] > 20
    # A voxel at a corner has no neighbours that tell its phase.
    rest = morphology.erode(field.mask, 2.0, acq.voxel_size_mm)
    for spot in spots.values():
        rest[tuple(slice(s.start - 2, s.stop + 2) for s in spot)] = False
    assert (r.weight[rest] > 0.95).all() and not r.reasons[rest].any()
    # Enclosed holes are part of the mask, what the user left out is not.
    assert r.mask[spots[1]].all() and not r.mask[spots[5]].any()


def test_missing_data_are_left_out():
    field, acq, magnitude, _ = even()
    bare = Field(field.field_ppm, None, field.mask)
    r = reliability(bare, acq)
    np.testing.assert_array_equal(r.weight, field.mask)
    np.testing.assert_array_equal(r.mask, field.mask)
    one = reliability(bare, acq, magnitude[..., 0])
    assert not one.lost.any()
    magnitude[0, 0, 0] = np.nan  # outside the mask
    np.testing.assert_array_equal(reliability(bare, acq, magnitude).lost, one.lost)


def test_wrong_input_is_named():
    field, acq, magnitude, phase = even()
    with pytest.raises(InputError, match=r"magnitude has shape \(19"):
        reliability(field, acq, magnitude[1:], phase)
    with pytest.raises(InputError, match="phase has 1 echoes"):
        reliability(field, acq, magnitude, phase[..., 0])
    with pytest.raises(InputError, match="limits of misfit_rad"):
        reliability(field, acq, misfit_rad=(0.5, 0.5))
    with pytest.raises(InputError, match="mask"):
        reliability(field, acq, user_mask=np.ones((2, 2, 2), bool))
    magnitude[10, 10, 10] = np.nan
    with pytest.raises(InputError, match="NaN"):
        reliability(field, acq, magnitude)
