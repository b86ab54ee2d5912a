"""Unwrapping: the right multiples of 2 pi, and nothing but multiples of 2 pi."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from phase_scans import ellipsoid, scan, steps

from chimap import registry
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import set_threads

METHODS = sorted(registry.methods("unwrap"))


def romeo(*args, **kwargs):
    return registry.get("unwrap", "romeo")(*args, **kwargs)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "te_s",
    [(0.012,), (0.004, 0.010), (0.003, 0.009, 0.011, 0.020), tuple(0.003 + 0.0025 * np.arange(12))],
    ids=["1 echo", "2 echoes", "unequal", "12 echoes"],
)
def test_true_phase_is_recovered(name, te_s):
    s = scan(te_s, strength=2.0)
    out = registry.get("unwrap", name)(s.phase, s.mask, s.acq)
    assert out.shape == s.phase.shape and out.dtype == np.float32
    assert not out[~s.mask].any()
    for e in range(len(te_s)):
        wrong = steps((out[..., e] - s.true_phase(e))[s.mask])
        assert wrong == 0, f"{wrong} voxels wrong in echo {e + 1}"
    turns = (out - s.phase)[s.mask] / (2 * np.pi)
    assert np.abs(turns - np.rint(turns)).max() < 1e-5
    # The field is strong enough for the test to mean something.
    assert np.ptp(np.rint(turns)) >= 2


def test_echoes_agree_about_the_global_multiple():
    s = scan((0.004, 0.010, 0.016), offset=False)
    out = romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    per_te = np.median(out[s.mask], axis=0) / np.array(s.acq.te_s)
    assert np.ptp(per_te) < 0.1 * np.abs(2 * np.pi / s.acq.te_s[-1])


@pytest.mark.parametrize("te_s", [(0.010, 0.015, 0.020), (0.011, 0.0145, 0.018, 0.0215)])
@pytest.mark.parametrize("shift_hz", [-85.0, 85.0])
def test_late_first_echo_off_resonance(te_s, shift_hz):
    # The first echo makes almost a full turn, so its own median says nothing.
    s = scan(te_s, strength=0.3)
    s.field += shift_hz / s.acq.hz_per_ppm
    turn = 2 * np.pi * shift_hz * np.array(te_s)
    s.phase = np.angle(np.exp(1j * (s.phase + turn))).astype(np.float32)
    out = romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    for e in range(len(te_s)):
        difference = (out[..., e] - s.true_phase(e))[s.mask]
        assert np.abs(difference).max() < np.pi


@pytest.mark.parametrize("template", [1, 2, 3])
def test_any_echo_can_be_the_template(template):
    s = scan()
    out = romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude, template_echo=template)
    for e in range(3):
        assert steps((out[..., e] - s.true_phase(e))[s.mask]) == 0


def test_individual_echoes():
    s = scan()
    out = romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude, individual=True, linearity=True)
    for e in range(3):
        assert steps((out[..., e] - s.true_phase(e))[s.mask]) == 0


def test_low_signal_steers_the_path_but_spreads_no_error():
    s = scan((0.008, 0.016), snr=60)
    hole = ellipsoid(s.mask.shape, 0.3)
    rng = np.random.default_rng(3)
    s.phase[hole] = rng.uniform(-np.pi, np.pi, s.phase[hole].shape)
    s.magnitude[hole] *= 0.02
    out = romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    for e in range(2):
        assert steps((out[..., e] - s.true_phase(e))[s.mask & ~hole]) == 0


def test_disconnected_regions_are_joined():
    mask = ellipsoid((34, 31, 27))
    mask[15:19] = False
    mask[:, 14:16] = False
    s = scan((0.006, 0.012), mask=mask)
    out = romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    for e in range(2):
        assert steps((out[..., e] - s.true_phase(e))[mask]) == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice(axis):
    shape = [40, 37, 33]
    shape[axis] = 1
    s = scan(shape=tuple(shape))
    out = romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    for e in range(3):
        assert steps((out[..., e] - s.true_phase(e))[s.mask]) == 0


def test_single_voxel_and_lone_voxels():
    mask = np.zeros((5, 6, 7), bool)
    mask[2, 3, 4] = True
    s = scan(shape=mask.shape, mask=mask)
    assert np.isfinite(romeo(s.phase, mask, s.acq)).all()
    mask[0, 0, 0] = mask[4, 5, 6] = True
    out = romeo(s.phase, mask, s.acq, magnitude=s.magnitude)
    assert np.isfinite(out).all() and not out[~mask].any()


def test_zero_magnitude_inside_the_mask():
    s = scan()
    s.magnitude[10:14, 10:14, 10:14] = 0
    assert np.isfinite(romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude)).all()
    s.magnitude[:] = 0
    assert np.isfinite(romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude)).all()


def test_input_is_not_changed_and_threads_do_not_matter():
    s = scan()
    s.phase[~s.mask] = np.nan
    before = s.phase.copy()
    results = []
    for n in (1, 2, 5):
        set_threads(n)
        try:
            results.append(romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude))
        finally:
            set_threads(None)
    np.testing.assert_array_equal(before, s.phase)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_errors_say_what_to_do():
    s = scan()
    with pytest.raises(InputError, match=r"template echo 4 does not exist\. Give a number from 1 to 3"):
        romeo(s.phase, s.mask, s.acq, template_echo=4)
    with pytest.raises(InputError, match="2 echoes but phase 3"):
        romeo(s.phase, s.mask, s.acq, magnitude=s.magnitude[..., :2])


def test_real_brain_has_no_steps_in_tissue(shared_data):
    folder = shared_data / "romeo_small"
    phase = nib.load(folder / "Phase.nii").get_fdata(dtype=np.float32)
    magnitude = nib.load(folder / "Mag.nii").get_fdata(dtype=np.float32)
    phase *= np.float32(np.pi) / np.abs(phase).max()
    acq = Acquisition(te_s=(0.004, 0.008, 0.012), b0_t=7.0, voxel_size_mm=(0.47, 0.47, 1.0))
    out = romeo(phase, np.ones(phase.shape[:3], bool), acq, magnitude=magnitude)
    for e in range(3):
        # Tissue: where the echo still has half of the first echo's signal; the rest lies over the sinus,
        # where the field changes by more than pi from voxel to voxel.
        tissue = magnitude[..., e] > 0.5 * np.median(magnitude[..., 0])
        assert tissue.mean() > 0.9
        for axis in range(3):
            jump = np.abs(np.diff(out[..., e], axis=axis)) > np.pi
            both = np.logical_and(*(np.delete(tissue, end, axis=axis) for end in (0, -1)))
            assert not (jump & both).any()
