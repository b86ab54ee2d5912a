"""Bipolar readouts: told from the data, and corrected as if they had been monopolar."""

from __future__ import annotations

from functools import partial

import nibabel as nib
import numpy as np
import pytest
from phase_scans import scan

from chimap import estimate_field, registry
from chimap.errors import InputError
from chimap.phase.bipolar import correct_bipolar, detect_bipolar, odd_even_phase
from chimap.simulate.effects import (
    bipolar_phase,
    bipolar_readout,
    eddy_current_phase,
    homodyne_filter,
    join,
    motion_between_echoes,
    split,
)

TE_S = (0.005, 0.010, 0.015, 0.020)
SHAPE = (60, 55, 50)
READOUT = {"constant_rad": 0.3, "shift_samples": 0.5, "slice_rad": 0.4, "curve_rad": 0.3}


@pytest.fixture(scope="module")
def mono():
    return scan(TE_S, shape=SHAPE, snr=60)


def changed(s, effect):
    return split(effect(join(s.magnitude, s.phase), s.acq))


@pytest.fixture(scope="module")
def bipolar(mono):
    return changed(mono, partial(bipolar_readout, axis=1, **READOUT))


def rms(difference, mask):
    return float(np.sqrt(np.mean(difference[mask] ** 2)))


@pytest.mark.parametrize("echoes", [3, 4])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_found_with_its_axis_and_size(mono, echoes, axis):
    magnitude, phase = changed(mono, partial(bipolar_readout, axis=axis, **READOUT))
    acq = mono.acq.with_(te_s=TE_S[:echoes])
    found = detect_bipolar(phase[..., :echoes], magnitude[..., :echoes], mono.mask, acq)
    theta = bipolar_phase(SHAPE, axis=axis, **READOUT)
    assert found.found and found.axis == axis
    assert found.amplitude_rad == pytest.approx(theta[mono.mask].std(), rel=0.05)
    assert detect_bipolar(phase[..., :echoes], None, mono.mask, acq).found


@pytest.mark.parametrize(
    "effect",
    [
        lambda echoes, acq: echoes,
        partial(eddy_current_phase, amplitude_rad=1.0),
        motion_between_echoes,
        partial(homodyne_filter, size=12),
    ],
    ids=["plain", "eddy currents", "motion", "filtered"],
)
@pytest.mark.parametrize("echoes", [3, 4])
def test_not_found_in_monopolar_data(mono, effect, echoes):
    magnitude, phase = changed(mono, effect)
    acq = mono.acq.with_(te_s=TE_S[:echoes])
    found = detect_bipolar(phase[..., :echoes], magnitude[..., :echoes], mono.mask, acq)
    assert not found.found and found.amplitude_rad < 0.05


def test_not_found_in_noise_few_echoes_or_unequal_ones(mono):
    noise = np.random.default_rng(1).uniform(-np.pi, np.pi, mono.phase.shape).astype(np.float32)
    assert not detect_bipolar(noise, None, mono.mask, mono.acq).found
    two = mono.acq.with_(te_s=TE_S[:2])
    assert not detect_bipolar(mono.phase[..., :2], None, mono.mask, two).found
    unequal = mono.acq.with_(te_s=(0.003, 0.009, 0.011, 0.020))
    assert not detect_bipolar(mono.phase, None, mono.mask, unequal).found
    with pytest.raises(InputError, match="Three echoes in a row"):
        odd_even_phase(mono.phase, mono.mask, unequal)


def test_not_found_in_a_real_brain(shared_data):
    phase = np.asarray(nib.load(shared_data / "romeo_small" / "Phase.nii").dataobj, np.float32)
    magnitude = np.asarray(nib.load(shared_data / "romeo_small" / "Mag.nii").dataobj, np.float32)
    phase *= np.float32(np.pi) / np.abs(phase).max()
    mask = magnitude[..., 0] > 0.3 * np.percentile(magnitude[..., 0], 90)
    acq = scan((0.004, 0.008, 0.012), shape=(4, 4, 4), b0_t=7.0).acq
    found = detect_bipolar(phase, magnitude, mask, acq)
    assert not found.found and found.amplitude_rad < 0.02


@pytest.mark.parametrize(
    ("options", "most"),
    [({}, 0.005), ({"axis": 1}, 0.02), ({"smoothing_mm": 10.0}, 0.005), ({"order": 1}, 0.08)],
    ids=str,
)
def test_theta_is_known(mono, bipolar, options, most):
    magnitude, phase = bipolar
    theta = odd_even_phase(phase, mono.mask, mono.acq, magnitude=magnitude, **options)
    assert rms(theta - bipolar_phase(SHAPE, axis=1, **READOUT), mono.mask) < most
    assert theta.dtype == np.float32 and not theta[~mono.mask].any()


def test_phase_as_if_monopolar(mono, bipolar):
    magnitude, phase = bipolar
    before = phase.copy()
    out = correct_bipolar(phase, mono.mask, mono.acq, magnitude=magnitude)
    np.testing.assert_array_equal(phase, before)
    assert out.dtype == np.float32 and np.moveaxis(out, 3, 0).flags.c_contiguous
    assert not out[~mono.mask].any() and np.abs(out).max() <= 3.1416
    assert rms(np.angle(np.exp(1j * (out - mono.phase))), mono.mask) < 0.01


def test_outliers_and_difficult_masks(mono, bipolar):
    magnitude, phase = (a.copy() for a in bipolar)
    phase[20:26, 20:26, :, 1] += 2.0
    theta = odd_even_phase(phase, mono.mask, mono.acq, magnitude=magnitude)
    assert rms(theta - bipolar_phase(SHAPE, axis=1, **READOUT), mono.mask) < 0.01
    line = np.zeros_like(mono.mask)
    line[30, 10:40, 25] = True
    for axis in (None, 0, 1):
        assert np.isfinite(odd_even_phase(phase, line, mono.acq, axis=axis)).all()
    assert np.isfinite(detect_bipolar(phase, magnitude, line, mono.acq).amplitude_rad)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"order": 7}, "order is 7"), ({"axis": 3}, "axis is 3"), ({"smoothing_mm": -1}, "smoothing_mm is -1")],
)
def test_errors_say_what_to_do(mono, options, words):
    with pytest.raises(InputError, match=words):
        odd_even_phase(mono.phase, mono.mask, mono.acq, **options)


@pytest.mark.parametrize("name", ["weighted", "nonlinear"])
def test_field_corrects_by_itself_and_says_so(mono, bipolar, name):
    magnitude, phase = bipolar
    facts = {}
    run = partial(estimate_field, mask=mono.mask, acq=mono.acq, method=name)
    tell = {"progress": lambda done, total, **new: facts.update(new)}
    plain = run(mono.phase, magnitude=mono.magnitude, **tell)
    assert facts["bipolar_corrected"] is False and facts["bipolar_rad"] < 0.01
    auto = run(phase, magnitude=magnitude, **tell)
    assert facts["bipolar_corrected"] is True and facts["bipolar_rad"] > 0.3
    off = run(phase, magnitude=magnitude, bipolar="no")
    error = [np.linalg.norm((f.field_ppm - mono.field)[mono.mask]) for f in (plain, auto, off)]
    assert error[1] < 1.05 * error[0]
    assert error[2] > 5 * error[0]
    forced = run(phase, magnitude=magnitude, bipolar="yes")
    np.testing.assert_array_equal(forced.field_ppm, auto.field_ppm)
    np.testing.assert_array_equal(
        run(mono.phase, magnitude=mono.magnitude, bipolar="no").field_ppm, plain.field_ppm
    )
    with pytest.raises(InputError, match="bipolar is 'maybe'"):
        run(phase, bipolar="maybe")


def test_command_line_knows_the_choices():
    names = {p.name: p for p in registry.get("field").parameters}
    assert names["bipolar"].default == "auto" and "odd and even" in names["bipolar"].help


def test_constant_part_is_known_modulo_a_quarter_turn(mono):
    magnitude, phase = changed(mono, partial(bipolar_readout, constant_rad=0.9, shift_samples=1.5))
    theta = odd_even_phase(phase, mono.mask, mono.acq, magnitude=magnitude)
    true = bipolar_phase(SHAPE, **{**READOUT, "constant_rad": 0.9 - np.pi / 2, "shift_samples": 1.5})
    # About the middle of the field of view, where the mask lies.
    assert rms(theta - true, mono.mask) < 0.01
    # What is left is a constant field of half a turn between echoes.
    field = estimate_field(phase, mono.mask, mono.acq, magnitude=magnitude).field_ppm
    left = (field - mono.field)[mono.mask]
    assert left.std() < 0.005
    assert abs(left.mean()) == pytest.approx(100 / mono.acq.hz_per_ppm, rel=0.01)
