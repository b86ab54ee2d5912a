"""R2*: closed forms, bias at a realistic signal-to-noise ratio, limits."""

from __future__ import annotations

import numpy as np
import pytest

from chimap import map_r2star, registry
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import set_threads

METHODS = sorted(registry.methods("r2star"))
NO_GRADIENT = {"gradient_corrected"}
"""Methods that need the field; here it is uniform."""
EQUAL = (0.004, 0.010, 0.016, 0.022, 0.028)
UNEQUAL = (0.003, 0.006, 0.012, 0.020, 0.030)


def mapped(magnitude, mask, acq, method, **params):
    if method in NO_GRADIENT:
        params["field"] = np.full(mask.shape, 0.3, np.float32)
    return map_r2star(magnitude, mask, acq, method=method, **params)


def decay(rate, te_s, shape=(30, 25, 20), snr=np.inf, s0=3.0):
    rng = np.random.default_rng(7)
    signal = s0 * np.exp(-rate * np.array(te_s)) * np.ones((*shape, 1))
    noise = rng.standard_normal((2, *signal.shape)) * (s0 / snr)
    return np.abs(signal + noise[0] + 1j * noise[1]), Acquisition(te_s=te_s, b0_t=3.0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("te_s", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("rate", [5.0, 20.0, 50.0, 100.0])
def test_bias_and_spread(name, te_s, rate):
    magnitude, acq = decay(rate, te_s, snr=50)
    mask = np.zeros(magnitude.shape[:3], bool)
    mask[1:, :, 2:] = True
    out = mapped(magnitude, mask, acq, name)
    found = out.r2star[mask]
    te = np.array(te_s)
    # Cramer-Rao bound of the rate with an unknown amplitude.
    e = np.exp(-rate * te)
    bound = 1 / (50 * np.sqrt((te**2 * e**2).sum() - (te * e**2).sum() ** 2 / (e**2).sum()))
    assert abs(found.mean() - rate) < 0.02 * rate
    assert found.std() < 1.2 * bound
    assert abs(out.s0[mask].mean() / 3.0 - 1) < 0.01
    np.testing.assert_allclose(out.t2star[mask], 1 / np.maximum(found, 1), rtol=1e-5)
    for volume in (out.r2star, out.t2star, out.s0):
        assert volume.dtype == np.float32 and not volume[~mask].any()


def test_loglinear_is_exact_without_noise():
    for te_s in ((0.005, 0.013), UNEQUAL):
        magnitude, acq = decay(37.0, te_s, shape=(3, 4, 5))
        out = map_r2star(magnitude, np.ones((3, 4, 5), bool), acq, method="loglinear")
        np.testing.assert_allclose(out.r2star, 37.0, rtol=1e-4)


def test_arlo_is_as_good_as_its_quadrature():
    magnitude, acq = decay(50.0, EQUAL, shape=(3, 4, 5))
    out = map_r2star(magnitude, np.ones((3, 4, 5), bool), acq, method="arlo")
    np.testing.assert_allclose(out.r2star, 50.0, rtol=2e-3)


@pytest.mark.parametrize("name", METHODS)
def test_limits(name):
    te = np.array(EQUAL)
    magnitude = np.ones((4, 1, 1, 5))
    magnitude[1] = np.exp(30 * te)
    magnitude[2] = np.exp(-400 * te)
    magnitude[3] = 0
    out = mapped(magnitude, np.ones((4, 1, 1), bool), Acquisition(EQUAL, 3.0), name, max_r2star=300)
    np.testing.assert_allclose(out.r2star.ravel(), [0, 0, 300, 0], atol=1e-3)
    np.testing.assert_allclose(out.t2star.ravel(), [1, 1, 1 / 300, 0], rtol=1e-3)
    assert np.isfinite(out.s0).all()


@pytest.mark.parametrize("name", METHODS)
def test_threads_do_not_matter(name):
    magnitude, acq = decay(20.0, EQUAL, shape=(7, 9, 11), snr=20)
    magnitude[0, 0, 0] = np.nan
    mask = np.ones((7, 9, 11), bool)
    mask[0] = False
    found = []
    for n in (1, 2, 3):
        set_threads(n)
        try:
            found.append(mapped(magnitude, mask, acq, name).r2star)
        finally:
            set_threads(None)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_too_few_echoes():
    magnitude, acq = decay(20.0, (0.004, 0.010), shape=(3, 3, 3))
    mask = np.ones((3, 3, 3), bool)
    with pytest.raises(InputError, match=r"arlo needs 3 echoes; there are 2\. Use the method loglinear"):
        map_r2star(magnitude, mask, acq)
    with pytest.raises(InputError, match="loglinear needs 2"):
        map_r2star(magnitude[..., :1], mask, acq.with_(te_s=(0.004,)), method="loglinear")
    with pytest.raises(InputError, match="positive rate"):
        map_r2star(magnitude, mask, acq, method="loglinear", max_r2star=0)
