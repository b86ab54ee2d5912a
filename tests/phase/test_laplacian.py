"""Laplacian unwrapping: exact where differences are, whatever the mask; smooth without multiples of 2 pi."""

from __future__ import annotations

import numpy as np
import pytest
from phase_scans import ellipsoid, scan, steps

from chimap import registry
from chimap.acquisition import Acquisition
from chimap.errors import InputError

laplacian = registry.get("unwrap", "laplacian")


@pytest.mark.parametrize("individual", [False, True])
def test_smooth_solution_is_the_true_phase(individual):
    s = scan(strength=2.0, snr=1e5)
    out = laplacian(s.phase, s.mask, s.acq, magnitude=s.magnitude, multiples=False, individual=individual)
    assert not out[~s.mask].any()
    for e in range(3):
        difference = (out[..., e] - s.true_phase(e))[s.mask]
        assert np.abs(difference - 2 * np.pi * np.rint(np.median(difference) / (2 * np.pi))).max() < 0.02
    assert np.abs(out - s.phase)[s.mask].max() > np.pi


def test_nothing_outside_the_mask_enters():
    # A steep ramp that ends at a ragged border: zeros beyond it would bend the solution.
    shape = (30, 26, 22)
    rng = np.random.default_rng(1)
    mask = ellipsoid(shape) & (rng.uniform(size=shape) > 0.1)
    x, y, z = np.indices(shape)
    truth = (1.3 * x - 0.9 * y + 0.4 * z).astype(np.float32)
    phase = np.angle(np.exp(1j * truth))[..., None]
    acq = Acquisition(te_s=(0.01,), b0_t=3.0, voxel_size_mm=(1.0, 1.4, 2.0))
    out = laplacian(phase, mask, acq, multiples=False)
    error = (out[..., 0] - truth)[mask]
    assert np.median(np.abs(error - np.median(error))) < 0.01
    assert steps((laplacian(phase, mask, acq)[..., 0] - truth)[mask]) == 0


def test_contradictions_stay_near_where_they_are():
    s = scan((0.008, 0.016), snr=60)
    hole = ellipsoid(s.mask.shape, 0.2)
    s.phase[hole] = np.random.default_rng(3).uniform(-np.pi, np.pi, s.phase[hole].shape)
    s.magnitude[hole] *= 0.02
    far = s.mask & ~ellipsoid(s.mask.shape, 0.5)
    out = laplacian(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    smooth = laplacian(s.phase, s.mask, s.acq, magnitude=s.magnitude, multiples=False)
    for e in range(2):
        assert steps((out[..., e] - s.true_phase(e))[far]) == 0
        assert steps((smooth[..., e] - s.true_phase(e))[far]) == 0
    turns = (smooth - s.phase)[hole] / (2 * np.pi)
    assert np.abs(turns - np.rint(turns)).max() > 0.1


def test_separate_regions_and_lone_voxels():
    mask = ellipsoid((34, 31, 27))
    mask[15:19] = False
    lone = mask.copy()
    lone[0, 0, 0] = True
    s = scan((0.006, 0.012), mask=lone, strength=2.0)
    for multiples in (True, False):
        out = laplacian(s.phase, lone, s.acq, magnitude=s.magnitude, multiples=multiples)
        for e in range(2):
            assert steps((out[..., e] - s.true_phase(e))[mask]) == 0


def test_one_slice_and_unknown_template():
    s = scan(shape=(40, 37, 1))
    out = laplacian(s.phase, s.mask, s.acq)
    for e in range(3):
        assert steps((out[..., e] - s.true_phase(e))[s.mask]) == 0
    with pytest.raises(InputError, match="template echo 9"):
        laplacian(s.phase, s.mask, s.acq, template_echo=9)
