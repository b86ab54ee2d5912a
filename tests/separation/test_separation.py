"""Source separation against closed forms and a simulated head."""

from __future__ import annotations

import numpy as np
import pytest

import chimap
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.metrics import xsim
from chimap.numerics.dipole import forward_field
from chimap.numerics.noise import median_noise
from chimap.separation._steps import nearest
from chimap.simulate import head_phantom, simulate_scan, sphere

ACQ = Acquisition(te_s=(0.005, 0.010, 0.015, 0.020), b0_t=3.0, b0_dir=(0.1, 0.2, 0.97))
SHAPE = (48, 44, 40)
DR = 137.0
WHOLE = np.ones(SHAPE, bool)


def balls(para: float, dia: float, acq: Acquisition = ACQ):
    """Field, R2' and the inside of a ball that holds both kinds."""
    ball = sphere(SHAPE, acq, radius_mm=8.0, chi_ppm=para + dia)
    rate = DR * acq.b0_t / 3 * (para - dia) * ball.inside
    return ball.field_ppm, rate.astype(np.float32), ball.inside, ball.inside | ball.surface


@pytest.mark.parametrize(("para", "dia"), [(0.15, 0.0), (0.0, -0.15), (0.12, -0.08), (0.06, -0.06)])
def test_a_ball_of_each_kind_and_of_both(para, dia):
    field, rate, inside, reach = balls(para, dia)
    # A little of the contrast is the price of the regularisation.
    s = chimap.separate_sources(field, WHOLE, ACQ, r2prime=rate)
    assert s.paramagnetic_ppm[inside].mean() == pytest.approx(para, abs=0.015)
    assert s.diamagnetic_ppm[inside].mean() == pytest.approx(dia, abs=0.015)
    # The zero of the maps is that of tissue without sources, not their mean.
    assert abs(s.paramagnetic_ppm[~reach]).mean() < 0.003 and abs(s.diamagnetic_ppm[~reach]).mean() < 0.003


def test_constants_of_each_kind_are_kept_apart():
    field, _, inside, _ = balls(0.10, -0.05)
    rate = (200 * 0.10 + 90 * 0.05) * inside
    s = chimap.separate_sources(field, WHOLE, ACQ, r2prime=rate, dr_pos=200.0, dr_neg=90.0)
    assert s.paramagnetic_ppm[inside].mean() == pytest.approx(0.10, abs=0.012)
    assert s.diamagnetic_ppm[inside].mean() == pytest.approx(-0.05, abs=0.012)


def test_relaxation_scales_with_the_field_strength():
    maps = []
    for b0 in (3.0, 7.0):
        acq = ACQ.with_(b0_t=b0)
        field, rate, inside, _ = balls(0.12, -0.08, acq)
        # The tolerance of R2' is in 1/s: the same share of the sources at both fields.
        s = chimap.separate_sources(field, WHOLE, acq, r2prime=rate, r2prime_sd=8 * b0 / 3)
        maps.append((s.paramagnetic_ppm[inside].mean(), s.diamagnetic_ppm[inside].mean()))
    assert np.allclose(maps[0], maps[1], atol=1e-4)
    # Taken for 3 T data, the same R2' would mean 7/3 of the sources.
    wrong = chimap.separate_sources(field, WHOLE, ACQ, r2prime=rate)
    assert wrong.paramagnetic_ppm[inside].mean() > 1.4 * maps[1][0]


def test_signs_determinism_and_sum(rng):
    field, rate, inside, _ = balls(0.12, -0.08)
    field = field + rng.normal(0, 0.002, SHAPE).astype(np.float32)
    rate = rate + rng.normal(0, 2, SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[3:-3, 3:-3, 3:-3] = True
    a = chimap.separate_sources(field, mask, ACQ, r2prime=rate)
    field[~mask], rate[~mask] = np.nan, np.inf
    b = chimap.separate_sources(field, mask, ACQ, r2prime=rate)
    assert np.array_equal(a.paramagnetic_ppm, b.paramagnetic_ppm)
    assert np.array_equal(a.diamagnetic_ppm, b.diamagnetic_ppm)
    assert (a.paramagnetic_ppm >= 0).all() and (a.diamagnetic_ppm <= 0).all()
    assert not a.paramagnetic_ppm[~mask].any() and not a.diamagnetic_ppm[~mask].any()
    # Both together are what an inversion of the field gives.
    chi = chimap.invert(field, mask, ACQ)
    total = a.paramagnetic_ppm + a.diamagnetic_ppm
    contrast = [v[inside].mean() - v[mask & ~inside].mean() for v in (chi, total)]
    assert contrast[1] == pytest.approx(contrast[0], abs=0.01)


def test_r2star_models():
    field, rate, inside, _ = balls(0.12, -0.08)
    run = {"method": "chi_separation_r2star"}
    given = chimap.separate_sources(field, WHOLE, ACQ, r2prime=rate)
    share = chimap.separate_sources(field, WHOLE, ACQ, r2star=rate / 0.4, **run)
    constant = chimap.separate_sources(field, WHOLE, ACQ, r2star=rate + 12, model="constant", **run)
    for s in (share, constant):
        assert np.allclose(s.paramagnetic_ppm, given.paramagnetic_ppm, atol=2e-4)
        assert np.allclose(s.diamagnetic_ppm, given.diamagnetic_ppm, atol=2e-4)
    # R2' doubles with B0 and R2 stays: 0.4 at 3 T is 4 / 7 at 6 T.
    acq = ACQ.with_(b0_t=6.0)
    strong = chimap.separate_sources(field, WHOLE, acq, r2star=2 * rate / (4 / 7), **run)
    assert strong.paramagnetic_ppm[inside].mean() == pytest.approx(0.12, abs=0.015)


def pools(para, dia, rate, acq=ACQ):
    """Signal of three pools: (amplitude, susceptibility) of each kind, and the rate of all."""
    t = np.asarray(acq.te_s)
    decay, turn = 323.5 * acq.b0_t / 3, 2 / 3 * acq.rad_per_ppm(1.0)
    s = para[0] * np.exp((-decay + 1j * turn) * para[1] * t) + (1 - para[0] - dia[0])
    return (s + dia[0] * np.exp((-decay - 1j * turn) * dia[1] * t)) * np.exp(-rate * t)


@pytest.mark.parametrize("b0", [3.0, 7.0])
@pytest.mark.parametrize(
    ("para", "dia"), [((0.3, 0.2), (0.2, 0.25)), ((0.5, 0.2), (0, 0)), ((0, 0), (0.5, 0.1))]
)
def test_decompose_finds_the_pools(para, dia, b0):
    acq = ACQ.with_(b0_t=b0, te_s=tuple(t * 3 / b0 for t in ACQ.te_s))
    signal = np.broadcast_to(50 * pools(para, dia, 12.0, acq), (3, 4, 5, 4))
    chi = np.angle(signal) / (2 / 3 * acq.rad_per_ppm(1.0) * np.asarray(acq.te_s))
    s = chimap.separate_sources(chi, np.ones((3, 4, 5)), acq, magnitude=np.abs(signal), method="decompose")
    assert np.allclose(s.paramagnetic_ppm, para[0] * para[1], atol=2e-3)
    assert np.allclose(s.diamagnetic_ppm, -dia[0] * dia[1], atol=2e-3)


def test_decompose_takes_one_map_for_all_echoes():
    chi = np.full((4, 4, 4), 0.05, np.float32)
    magnitude = 100 * np.exp(-25 * np.asarray(ACQ.te_s)) * np.ones((4, 4, 4, 1))
    s = chimap.separate_sources(chi, chi > 0, ACQ, magnitude=magnitude, method="decompose")
    assert np.allclose(s.paramagnetic_ppm + s.diamagnetic_ppm, 0.05, atol=0.003)


def test_nearest_is_the_best_of_a_fine_grid(rng):
    side = np.linspace(0, 2, 401)
    a, b = np.meshgrid(side, side, indexing="ij")
    for _ in range(60):
        ta, tb = rng.uniform(-1, 1, 2)
        strength, rate, mu = rng.uniform(0, 2), rng.uniform(0, 1.5), rng.uniform(0.1, 1)
        ga, gb = rng.uniform(0.5, 1.5, 2)

        def cost(a, b, p=(ta, tb, strength, rate, mu, ga, gb)):
            ta, tb, strength, rate, mu, ga, gb = p
            return strength * (ga * a + gb * b - rate) ** 2 + mu * ((a - ta) ** 2 + (b - tb) ** 2)

        x, y = nearest(*map(np.float32, (ta, tb, strength, rate, ga, gb, mu)))
        assert x >= 0 and y >= 0
        assert cost(x, y) <= cost(a, b).min() + 1e-5


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({}, "chi_separation_r2star"),
        ({"method": "chi_separation_r2star"}, "chimap r2star"),
        ({"method": "decompose"}, "Give magnitude"),
    ],
)
def test_what_is_missing_is_said_with_the_remedy(call, said):
    with pytest.raises(InputError, match="needs") as e:
        chimap.separate_sources(np.zeros((8, 8, 8)), np.ones((8, 8, 8)), ACQ, **call)
    assert said in str(e.value)


def test_parameters_out_of_range():
    flat = np.zeros((8, 8, 8), np.float32)
    for wrong in ({"dr_pos": 0}, {"lam": -1}, {"iterations": 0}, {"outliers": -1}, {"r2prime_sd": np.nan}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            chimap.separate_sources(flat, flat == 0, ACQ, r2prime=flat, **wrong)
    for wrong in ({"share": 1.5}, {"r2": -1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            chimap.separate_sources(
                flat, flat == 0, ACQ, r2star=flat, method="chi_separation_r2star", **wrong
            )
    with pytest.raises(InputError, match="echoes"):
        chimap.separate_sources(flat, flat == 0, ACQ.with_(te_s=(0.01, 0.02)), method="decompose")


@pytest.fixture(scope="module")
def head():
    """A head of 3 mm whose R2' deviates from the line and is noisy."""
    acq = Acquisition((0.005, 0.012, 0.019), 3.0, b0_dir=(0.05, 0.2, 0.978), voxel_size_mm=(3.0, 3.0, 3.0))
    return simulate_scan(head_phantom((2, 2, 2), sources=True, r2prime_deviation=0.1), acq)


def test_a_head_comes_apart(head, rng):
    m = head.mask
    r2prime = np.maximum(head.r2prime + rng.normal(0, 2, m.shape), 0) * m
    field = (head.local_field_ppm + rng.normal(0, 0.002, m.shape)) * m
    s = chimap.separate_sources(field, m, head.acq, r2prime=r2prime, magnitude=head.magnitude)
    assert xsim(s.paramagnetic_ppm, head.paramagnetic_ppm * m, m) > 0.7
    assert xsim(s.diamagnetic_ppm, head.diamagnetic_ppm * m, m) > 0.7
    # White matter has more myelin than grey matter, the pallidum more iron than the putamen.
    mean = {n: s.diamagnetic_ppm[m & (head.labels == n)].mean() for n in (8, 9)}
    assert mean[8] < 1.4 * mean[9]
    mean = {n: s.paramagnetic_ppm[m & (head.labels == n)].mean() for n in (2, 3, 9)}
    assert mean[2] > 1.2 * mean[3] > 1.5 * mean[9]


def test_air_near_by_does_not_spoil_the_maps(head):
    """R2* next to air is far too high: such voxels lose their weight."""
    m = head.mask
    spoilt = head.r2prime * m
    spoilt[m & (np.random.default_rng(1).random(m.shape) < 0.03)] += 150
    given = {"r2prime": spoilt, "magnitude": head.magnitude}
    clear = chimap.separate_sources(
        head.local_field_ppm * m, m, head.acq, **{**given, "r2prime": head.r2prime * m}
    )
    least = np.abs(clear.paramagnetic_ppm - head.paramagnetic_ppm)[m].mean()
    errors = []
    for outliers in (0.0, 0.3):
        s = chimap.separate_sources(head.local_field_ppm * m, m, head.acq, outliers=outliers, **given)
        errors.append(np.abs(s.paramagnetic_ppm - head.paramagnetic_ppm)[m].mean())
    assert errors[1] - least < 0.75 * (errors[0] - least)


def test_the_fields_noise_counts(head):
    """Voxels without a reliable field are told by their neighbours and R2'."""
    m = head.mask
    noise = np.where(m, np.float32(0.002), 0)
    bad = m & (np.random.default_rng(2).random(m.shape) < 0.02)
    noise[bad] = 1.0
    assert median_noise(noise, m) == pytest.approx(0.002)
    field = np.where(bad, 2.0, head.local_field_ppm * m)
    s = chimap.separate_sources(
        field, m, head.acq, r2prime=head.r2prime * m, noise=noise, magnitude=head.magnitude
    )
    assert xsim(s.paramagnetic_ppm, head.paramagnetic_ppm * m, m) > 0.7


def test_a_given_field_is_explained():
    """The maps' sum makes the field that was given."""
    field, rate, _, _ = balls(0.12, -0.08)
    s = chimap.separate_sources(field, WHOLE, ACQ, r2prime=rate)
    made = forward_field(s.paramagnetic_ppm + s.diamagnetic_ppm, ACQ)
    assert np.std((made - field)[4:-4, 4:-4, 4:-4]) < 0.2 * np.std(field)
