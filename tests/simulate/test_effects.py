"""Each effect does what it says and nothing else."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.simulate import head_phantom, simulate_scan
from chimap.simulate.coils import coil_sensitivities, receive
from chimap.simulate.effects import (
    alternating_slices,
    bipolar_phase,
    bipolar_readout,
    describe,
    eddy_current_phase,
    flow_phase,
    homodyne_filter,
    join,
    motion_between_echoes,
    split,
)

ACQ = Acquisition((0.004, 0.008, 0.012, 0.016), 3.0, voxel_size_mm=(2.0, 2.0, 3.0))
SHAPE = (24, 20, 15)


@pytest.fixture(scope="module")
def echoes():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    size = np.exp(-2 * (x**2 + y**2 + z**2))
    te = np.array(ACQ.te_s)
    signal = size[..., None] * np.exp((-20 + 200j * (x * y + 0.3 * z))[..., None] * te)
    return signal.astype(np.complex64)


VEINS = np.zeros(SHAPE, bool)
VEINS[10:12, :, 7] = True
EFFECTS = [
    bipolar_readout,
    partial(eddy_current_phase, seed=4),
    partial(motion_between_echoes, seed=4),
    partial(flow_phase, veins=VEINS),
    partial(homodyne_filter, size=8),
    alternating_slices,
]


def turn(after, before):
    return np.angle(after * before.conj())


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda e: describe(e).split("(")[0])
def test_pure_and_the_same_again(effect, echoes):
    before = echoes.copy()
    out = effect(echoes, ACQ)
    assert out.shape == echoes.shape and out.dtype == np.complex64
    assert np.moveaxis(out, 3, 0).flags.c_contiguous and np.isfinite(out).all()
    np.testing.assert_array_equal(echoes, before)
    np.testing.assert_array_equal(effect(echoes, ACQ), out)
    assert (out != echoes).any()
    if "motion" not in describe(effect):
        np.testing.assert_allclose(np.abs(out), np.abs(echoes), rtol=1e-4)


def test_bipolar_alternates_and_leaves_the_second_difference_of_four_theta(echoes):
    out = bipolar_readout(echoes, ACQ, axis=1, shift_samples=0.2)
    theta = bipolar_phase(SHAPE, axis=1, constant_rad=0.3, shift_samples=0.2, slice_rad=0.4, curve_rad=0.3)
    for e in range(4):
        np.testing.assert_allclose(turn(out[..., e], echoes[..., e]), (-1) ** e * theta, atol=1e-5)
    # One sample of shift is one turn over the field of view.
    ramp = bipolar_phase((8, 8, 8), axis=0, constant_rad=0, shift_samples=1, slice_rad=0, curve_rad=0)
    np.testing.assert_allclose(np.diff(ramp[:, 0, 0]), 2 * np.pi / 8, rtol=1e-5)


def test_a_k_space_shift_is_a_phase_ramp():
    image = np.random.default_rng(0).standard_normal((16, 6, 5, 1)).astype(np.complex64)
    acq = ACQ.with_(te_s=(0.004,))
    out = bipolar_readout(image, acq, constant_rad=0, shift_samples=1, slice_rad=0, curve_rad=0)
    k = [np.fft.fft(a[..., 0], axis=0) for a in (image, out)]
    np.testing.assert_allclose(np.abs(k[1]), np.abs(np.roll(k[0], 1, axis=0)), atol=1e-4)


def test_eddy_currents_decay(echoes):
    out = eddy_current_phase(echoes, ACQ, amplitude_rad=0.5, decay_s=0.004)
    size = [np.abs(turn(out[..., e], echoes[..., e])).max() for e in range(4)]
    np.testing.assert_allclose(size, 0.5 * np.exp(-np.arange(4)), rtol=1e-3)


def test_motion_starts_with_the_second_echo_and_moves_by_what_it_says(echoes):
    out = motion_between_echoes(echoes, ACQ, shift_mm=0.6, turn_deg=0, seed=3)
    np.testing.assert_array_equal(out[..., 0], echoes[..., 0])
    # Small enough that the field of view cuts nothing off.
    first = np.repeat(echoes[..., :1] ** 4, 4, axis=3)
    moved = np.abs(motion_between_echoes(first, ACQ, shift_mm=0.6, turn_deg=0, seed=3))
    rng = np.random.default_rng([3, 22])
    shift = 0.0
    x = np.arange(SHAPE[0]) * 2.0
    centre = [(moved[..., e].sum((1, 2)) * x).sum() / moved[..., e].sum() for e in range(4)]
    for e in range(1, 4):
        shift += rng.normal(0, 0.6, 3)[0]
        rng.normal(0, 0, 3)
        # The volume is sampled at x + shift: the object goes the other way.
        assert centre[0] - centre[e] == pytest.approx(shift, abs=0.02)


def test_flow_only_in_veins_with_the_square_of_the_echo_time(echoes):
    out = flow_phase(echoes, ACQ, veins=VEINS, rad_at_last_echo=2.0)
    angle = turn(out, echoes)
    assert np.abs(angle[~VEINS]).max() < 1e-5
    np.testing.assert_allclose(angle[VEINS].mean(0), 2 * (np.arange(1, 5) / 4) ** 2, rtol=1e-4)


def test_homodyne_takes_out_smooth_phase_only():
    x = np.linspace(-1, 1, 64)
    smooth = (1.5 * x[:, None, None] + x[None, :, None] * np.ones((1, 1, 3)))[..., None]
    fine = np.zeros_like(smooth)
    fine[30, 30] = 1.0
    acq = ACQ.with_(te_s=(0.02,))
    out = np.angle(homodyne_filter(np.exp(1j * (smooth + fine)).astype(np.complex64), acq, size=16))
    assert np.abs(out[16:48, 16:48][fine[16:48, 16:48] == 0]).max() < 0.2
    assert out[30, 30].min() > 0.8
    with pytest.raises(InputError, match="filter size"):
        homodyne_filter(out, acq, size=1)


def test_alternating_slices(echoes):
    out = alternating_slices(echoes, ACQ, axis=1)
    np.testing.assert_array_equal(out[:, ::2], echoes[:, ::2])
    np.testing.assert_array_equal(out[:, 1::2], -echoes[:, 1::2])


def test_join_and_split(echoes):
    magnitude, phase = split(echoes)
    assert magnitude.dtype == phase.dtype == np.float32
    np.testing.assert_allclose(join(magnitude, phase), echoes, atol=1e-6)


def test_a_scan_with_effects():
    phantom = head_phantom((6, 6, 6))
    acq = Acquisition((0.004, 0.008, 0.012), 3.0, voxel_size_mm=(6, 6, 6))
    plain = simulate_scan(phantom, acq)
    out = simulate_scan(phantom, acq, effects=[partial(bipolar_readout, shift_samples=0), alternating_slices])
    assert out.parameters["effects"] == ["bipolar_readout(shift_samples=0)", "alternating_slices()"]
    assert plain.parameters["effects"] == []
    expected = alternating_slices(
        bipolar_readout(join(plain.magnitude, plain.phase), acq, shift_samples=0), acq
    )
    np.testing.assert_allclose(join(out.magnitude, out.phase), expected, atol=0.02)
    assert np.moveaxis(out.phase, 3, 0).flags.c_contiguous


def test_coils_surround_the_head_and_are_smooth():
    s = coil_sensitivities((30, 36, 24), (6, 6, 6), channels=8)
    assert s.shape == (30, 36, 24, 8) and s.dtype == np.complex64
    assert np.abs(s).mean() == pytest.approx(1, rel=1e-3)
    x, y = np.arange(30)[:, None, None] - 14.5, np.arange(36)[:, None] - 17.5
    angle = np.unwrap([np.angle((np.abs(s[..., c]) * (x + 1j * y)).sum()) for c in range(8)])
    assert np.diff(angle).min() > 0.4 and angle[-1] - angle[0] == pytest.approx(7 / 4 * np.pi, abs=0.6)
    inner = s[5:-5, 5:-5, 3:-3]
    for axis in range(3):
        step = turn(
            inner.take(range(1, inner.shape[axis]), axis), inner.take(range(inner.shape[axis] - 1), axis)
        )
        # A loop has lines without signal, where its phase turns fast.
        assert np.percentile(np.abs(step), 99) < 0.4
    again = coil_sensitivities((30, 36, 24), (6, 6, 6), channels=8)
    np.testing.assert_array_equal(s, again)
    with pytest.raises(InputError, match="0 receive channels"):
        coil_sensitivities((30, 36, 24), (6, 6, 6), channels=0)


def test_each_channel_receives_with_its_own_noise(echoes):
    s = coil_sensitivities(SHAPE, ACQ.voxel_size_mm, channels=3)
    clean = list(receive(echoes, s))
    noisy = list(receive(echoes, s, noise_sd=0.1, seed=2))
    assert len(clean) == 3
    for c in range(3):
        np.testing.assert_allclose(clean[c], echoes * s[..., c, None], rtol=1e-5)
        noise = noisy[c] - clean[c]
        assert noise.real.std() == pytest.approx(0.1, rel=0.03)
        assert noise.imag.std() == pytest.approx(0.1, rel=0.03)
        assert abs(np.corrcoef(noise.real.ravel(), (noisy[0] - clean[0]).imag.ravel())[0, 1]) < 0.03
