"""R2*: noise floor, signal loss by field gradients, and R2'."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ive

from chimap import map_r2star
from chimap.acquisition import GAMMA_BAR_MHZ_PER_T, Acquisition
from chimap.errors import InputError
from chimap.relaxometry._decay import _rician
from chimap.relaxometry.r2prime import r2prime

TE = (0.005, 0.010, 0.015, 0.020, 0.025, 0.030)


def noisy(signal, sigma, seed=5):
    noise = np.random.default_rng(seed).standard_normal((2, *signal.shape)) * sigma
    return np.abs(signal + noise[0] + 1j * noise[1])


def test_mean_of_a_rician_variable():
    for s in (0.0, 0.01, 0.3, 1.0, 2.5, 3.9, 4.1, 8.0, 40.0, 299.0, 301.0):
        sigma = 0.7
        q = (s * 0.7 / sigma) ** 2 / 4
        exact = sigma * np.sqrt(np.pi / 2) * ((1 + 2 * q) * ive(0, q) + 2 * q * ive(1, q))
        mean, slope = _rician(s * 0.7, sigma)
        assert mean == pytest.approx(exact, rel=1e-5)
        step = 1e-3 + 1e-4 * s
        numeric = (_rician(s * 0.7 + step, sigma)[0] - _rician(abs(s * 0.7 - step), sigma)[0]) / (2 * step)
        assert slope == pytest.approx(numeric, abs=2e-2 if s < 0.1 else 3e-4)
    assert _rician(2.0, 0.0) == (2.0, 1.0)


@pytest.mark.parametrize("sigma", [None, 0.02], ids=["estimated", "given"])
def test_late_echoes_in_the_noise_do_not_bias(sigma):
    shape, rate = (30, 30, 20), 200.0
    te = np.array(TE)
    magnitude = noisy(3.0 * np.exp(-rate * te) * np.ones((*shape, 1)), 3.0 * 0.02)
    acq, mask = Acquisition(TE, 3.0), np.ones(shape, bool)
    scaled = None if sigma is None else 3.0 * sigma
    found = map_r2star(magnitude, mask, acq, method="nonlinear", sigma=scaled).r2star
    plain = map_r2star(magnitude, mask, acq, method="nonlinear", sigma=0.0).r2star
    assert abs(found.mean() / rate - 1) < 0.03
    assert plain.mean() < 0.95 * rate


def test_noise_is_estimated():
    shape = (40, 40, 20)
    rate = np.random.default_rng(1).uniform(10, 60, shape)[..., None]
    magnitude = noisy(100.0 * np.exp(-rate * np.array(TE)), 2.0)
    told = {}
    map_r2star(
        magnitude,
        np.ones(shape, bool),
        Acquisition(TE, 3.0),
        method="nonlinear",
        progress=lambda done, total, **facts: told.update(facts),
    )
    assert told["sigma"] == pytest.approx(2.0, rel=0.03)


def slab(rate, mt_per_m, voxel, shape=(24, 22, 20), snr=None):
    """Scan of voxels with a rectangular profile in a uniform gradient (mT/m along each axis), and its field."""
    acq = Acquisition(TE, 3.0, voxel_size_mm=voxel)
    hz = [g * 1e-3 * GAMMA_BAR_MHZ_PER_T * 1e6 * v * 1e-3 for g, v in zip(mt_per_m, voxel, strict=True)]
    inside = (np.arange(400) + 0.5) / 400 - 0.5
    te = np.array(TE)
    kept = [np.abs(np.exp(2j * np.pi * h * te[:, None] * inside).mean(1)) for h in hz]
    magnitude = np.exp(-rate * te) * np.prod(kept, axis=0) * np.ones((*shape, 1))
    index = np.indices(shape)
    field = sum(h * i for h, i in zip(hz, index, strict=True)) / acq.hz_per_ppm
    mask = sum(((i - (n - 1) / 2) / (n / 2)) ** 2 for i, n in zip(index, shape, strict=True)) < 0.95
    if snr:
        magnitude = noisy(magnitude, 1 / snr)
        # What the phase of these echoes knows of the field.
        field = field + np.random.default_rng(8).normal(0, 1 / (snr * acq.rad_per_ppm(0.02)), shape)
    return magnitude, field.astype(np.float32), mask, acq


@pytest.mark.parametrize("rate", [20.0, 40.0])
@pytest.mark.parametrize("snr", [None, 50], ids=["no noise", "SNR 50"])
def test_through_slice_gradient(rate, snr):
    magnitude, field, mask, acq = slab(rate, (0, 0, 0.2), (1.0, 1.0, 2.0), snr=snr)
    plain = map_r2star(magnitude, mask, acq, method="arlo").r2star[mask]
    found = map_r2star(magnitude, mask, acq, method="gradient_corrected", field=field).r2star[mask]
    if rate == 20.0:
        assert plain.mean() > 1.3 * rate
    assert abs(found.mean() / rate - 1) < 0.02
    # At the edge of the mask as well.
    assert np.median(np.abs(found - rate)) < (0.01 if snr is None else 0.06) * rate


def test_gradient_along_all_axes_and_the_choice_of_axes():
    magnitude, field, mask, acq = slab(25.0, (0.1, -0.15, 0.1), (1.5, 1.2, 2.0))
    found = map_r2star(magnitude, mask, acq, method="gradient_corrected", field=field).r2star[mask]
    np.testing.assert_allclose(found, 25.0, rtol=5e-3)
    some = map_r2star(magnitude, mask, acq, method="gradient_corrected", field=field, axes="z").r2star[mask]
    assert (some > 26.0).all()


def test_steps_and_bad_voxels_of_the_field_do_not_count():
    magnitude, field, mask, acq = slab(25.0, (0, 0, 0.15), (1.0, 1.0, 2.0))
    field[:12] += np.float32(1 / (acq.hz_per_ppm * acq.te_s[0]))  # one turn at the first echo
    dark = (12, 11, slice(6, 9))
    field[dark] = 0
    magnitude[dark] *= 1e-3
    found = map_r2star(magnitude, mask, acq, method="gradient_corrected", field=field).r2star
    bright = mask.copy()
    bright[dark] = False
    np.testing.assert_allclose(found[bright], 25.0, rtol=0.02)


def test_without_a_field_and_with_bad_parameters():
    magnitude, field, mask, acq = slab(25.0, (0, 0, 0), (1.0, 1.0, 2.0), shape=(5, 5, 5))
    with pytest.raises(InputError, match=r"needs the total field.*Give field="):
        map_r2star(magnitude, mask, acq, method="gradient_corrected")
    for bad in ({"axes": "xw"}, {"axes": ""}, {"smooth_mm": -1.0}, {"sigma": -1.0}):
        with pytest.raises(InputError, match=next(iter(bad))):
            map_r2star(magnitude, mask, acq, method="gradient_corrected", field=field, **bad)
    # Methods that need no field take one and leave it alone.
    map_r2star(magnitude, mask, acq, method="arlo", field=field)


def test_one_slice_and_two_echoes():
    magnitude, field, mask, acq = slab(25.0, (0.1, 0, 0), (1.0, 1.0, 2.0), shape=(20, 20, 1))
    two = acq.with_(te_s=TE[:2])
    for method in ("nonlinear", "gradient_corrected"):
        out = map_r2star(magnitude[..., :2], mask, two, method=method, field=field)
        assert np.isfinite(out.r2star).all()
    np.testing.assert_allclose(out.r2star[mask], 25.0, rtol=0.01)


@pytest.mark.parametrize("sigma", [None, 0.0, 0.5, 1e6])
@pytest.mark.parametrize("echoes", [2, 3, 12])
def test_whatever_the_data_the_result_is_finite_and_within_limits(echoes, sigma):
    rng = np.random.default_rng(3)
    shape = (12, 11, 10)
    acq = Acquisition(tuple(0.003 + 0.004 * np.arange(echoes)), 3.0)
    magnitude = rng.choice([0.0, 1e-20, 1e-3, 1.0, 1.0, 7.0, 1e9], (*shape, echoes))
    field = rng.choice([0.0, 0.1, 0.5, 2.0, 1e4], shape)
    mask = np.ones(shape, bool)
    for smooth_mm in (0.0, 3.0):
        out = map_r2star(
            magnitude, mask, acq, method="gradient_corrected", field=field, sigma=sigma, smooth_mm=smooth_mm
        )
        assert all(np.isfinite(v).all() for v in (out.r2star, out.t2star, out.s0))
        assert out.r2star.min() >= 0 and out.r2star.max() <= 1000


def test_r2prime():
    r2star = np.array([30.0, 10.0, 20.0, np.nan, 40.0]).reshape(5, 1, 1)
    r2 = np.array([12.0, 14.0, -3.0, 1.0, 10.0]).reshape(5, 1, 1)
    mask = np.array([True, True, True, False, False]).reshape(5, 1, 1)
    out = r2prime(r2star, r2, mask)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out.ravel(), [18, 0, 20, 0, 0])
    with pytest.raises(InputError, match="shape"):
        r2prime(r2star, r2[:2], mask)
    with pytest.raises(InputError, match="NaN"):
        r2prime(r2star, r2, ~mask)
