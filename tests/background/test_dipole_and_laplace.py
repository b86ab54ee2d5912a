"""PDF, LBV, HARPERELLA and the high-pass filters: what lies outside goes, what lies inside stays."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.background.harperella import harperella
from chimap.background.highpass import highpass
from chimap.background.homodyne import homodyne
from chimap.background.lbv import lbv
from chimap.background.pdf import pdf
from chimap.errors import InputError
from chimap.registry import Method
from chimap.simulate.analytic import sphere

SHAPE = (45, 43, 23)
ACQ = Acquisition(te_s=(0.005, 0.012), b0_t=3.0, b0_dir=(0.2, 0.1, 0.97), voxel_size_mm=(1.0, 1.0, 2.0))


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, ACQ.voxel_size_mm)), indexing="ij"
    )
    return (x / 20) ** 2 + (y / 19) ** 2 + (z / 20) ** 2 < 1


@pytest.fixture(scope="module")
def background() -> np.ndarray:
    return sum(
        sphere(SHAPE, ACQ, radius_mm=5.0, chi_ppm=9.4, centre_mm=c).field_ppm
        for c in ((29, 0, 8), (-5, -29, -10), (0, 5, 32))
    ) + np.float32(0.3)


@pytest.fixture(scope="module")
def ball() -> np.ndarray:
    return sphere(SHAPE, ACQ, radius_mm=4.0, chi_ppm=0.3).field_ppm


def wrapped(field: np.ndarray) -> np.ndarray:
    phases = [field * ACQ.rad_per_ppm(t) for t in ACQ.te_s]
    return np.angle(np.exp(1j * np.stack(phases, axis=-1))).astype(np.float32)


def classic_lbv(*args: object, **kwargs: object) -> object:
    return lbv(*args, edge=0.0, **kwargs)


@pytest.mark.parametrize("method", [pdf, lbv, classic_lbv])
def test_outside_sources_leave_little(method: Method, mask, background) -> None:
    local = method(background, mask, ACQ)
    left = local.field_ppm[local.mask]
    assert np.sqrt((left**2).mean()) < 0.02 * background[local.mask].std()


@pytest.mark.parametrize("method", [pdf, lbv, classic_lbv])
def test_a_sphere_inside_survives(method: Method, mask, ball, background) -> None:
    local = method(ball + background, mask, ACQ)
    assert local.field_ppm.max() == pytest.approx(ball[mask].max(), rel=0.05)
    near = slice(14, 31), slice(13, 30), slice(7, 16)
    assert local.field_ppm[near].min() == pytest.approx(ball[mask].min(), rel=0.05)
    assert np.linalg.norm((local.field_ppm - ball)[near]) < 0.15 * np.linalg.norm(ball[near])


def test_a_sphere_survives_from_wrapped_phase(mask, ball, background) -> None:
    total = ball + background
    phase = wrapped(total)
    assert (np.abs(total * ACQ.rad_per_ppm(ACQ.te_s[1]))[mask] > np.pi).any()
    local = harperella(phase, mask, ACQ, magnitude=np.ones((*SHAPE, 2), np.float32))
    assert local.field_ppm.max() == pytest.approx(ball[mask].max(), rel=0.05)


def test_harperella_is_lbv_where_nothing_is_ambiguous(mask, ball, background) -> None:
    total = 0.2 * (ball + background)
    a = harperella(wrapped(total), mask, ACQ).field_ppm
    b = lbv(total, mask, ACQ).field_ppm
    assert np.abs(a - b).max() < 0.01 * np.abs(b).max()


def test_harperella_takes_off_what_the_receiver_adds(mask, ball, background) -> None:
    acq = ACQ.with_(te_s=(0.004, 0.011, 0.018))
    total = ball + background
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    receiver = 1.6 * x**2 + 1.2 * y**2 * z  # rad, not harmonic
    k = np.array([acq.rad_per_ppm(t) for t in acq.te_s])
    plain, offset = (
        np.angle(np.exp(1j * (k * total[..., None] + o))).astype(np.float32) for o in (0, receiver[..., None])
    )
    truth = harperella(plain, mask, acq).field_ppm
    off = harperella(offset, mask, acq).field_ppm - truth
    blind = harperella(offset, mask, acq, offset_mm=0).field_ppm - truth
    assert np.linalg.norm(off) < 0.15 * np.linalg.norm(blind)
    assert np.linalg.norm(off) < 0.15 * np.linalg.norm(truth)


def test_harperella_follows_late_echoes_beyond_half_a_turn(mask, ball) -> None:
    acq = ACQ.with_(te_s=(0.003, 0.006, 0.04), b0_t=7.0)
    k = np.array([acq.rad_per_ppm(t) for t in acq.te_s])
    steps = np.abs(np.diff(ball, axis=2))[mask[:, :, 1:]].max() * k
    assert steps[1] < np.pi < steps[2]
    phase = np.angle(np.exp(1j * k * ball[..., None])).astype(np.float32)
    three = harperella(phase, mask, acq).field_ppm
    two = harperella(phase[..., :2], mask, acq.with_(te_s=acq.te_s[:2])).field_ppm
    assert np.abs(three - two).max() < 0.01 * np.abs(two).max()


@pytest.mark.parametrize("method", [pdf, lbv])
def test_a_lost_voxel_does_not_spread(method: Method, mask, ball) -> None:
    noise = np.full(SHAPE, 0.002, np.float32)
    field = ball.copy()
    at = (22, 33, 11)
    field[at] += 20.0
    noise[at] = 5.0
    others = mask.copy()
    others[at] = False
    clean = method(ball, mask, ACQ, noise=noise).field_ppm
    assert np.abs(method(field, mask, ACQ, noise=noise).field_ppm - clean)[others].max() < 0.01
    assert np.abs(method(field, mask, ACQ).field_ppm - clean)[others].max() > 0.02


def test_validity_is_said(mask, ball) -> None:
    from scipy.ndimage import binary_dilation, binary_erosion

    spiked = mask.copy()
    spiked[22, :, 11] = True
    inner = binary_erosion(spiked)
    for method in (pdf, highpass):
        assert np.array_equal(method(ball, spiked, ACQ).mask, spiked)
    assert np.array_equal(lbv(ball, spiked, ACQ, edge=0.0).mask, inner)
    local = lbv(ball, spiked, ACQ)
    assert np.array_equal(local.mask, binary_dilation(inner) & spiked)
    assert not local.field_ppm[~local.mask].any()


@pytest.mark.parametrize("filter", ["gaussian", "mean"])
def test_highpass_takes_a_constant_and_keeps_an_edge(mask, filter: str) -> None:
    field = np.full(SHAPE, 0.7, np.float32)
    assert np.abs(highpass(field, mask, ACQ, filter=filter).field_ppm).max() < 1e-4
    field[22, 21, 11] += 0.1
    assert highpass(field, mask, ACQ, filter=filter).field_ppm[22, 21, 11] == pytest.approx(0.1, rel=0.05)


def test_filters_lose_what_is_slow(mask) -> None:
    axes = (((np.arange(n) - n // 2) * v / 8) ** 2 for n, v in zip(SHAPE, ACQ.voxel_size_mm))
    x, y, z = np.meshgrid(*axes, indexing="ij")
    bump = (0.2 * np.exp(-(x + y + z) / 2)).astype(np.float32)
    centre = tuple(n // 2 for n in SHAPE)
    for local in (highpass(bump, mask, ACQ), homodyne(wrapped(bump), mask, ACQ)):
        assert 0.2 * bump[centre] < local.field_ppm[centre] < 0.7 * bump[centre]


def test_homodyne_ignores_wraps_and_offset(mask, ball) -> None:
    plain = homodyne(wrapped(ball), mask, ACQ).field_ppm
    shifted = homodyne(wrapped(ball + np.float32(3.3)), mask, ACQ).field_ppm
    assert np.abs(plain - shifted).max() < 1e-4


def test_noise_is_handed_on(mask, ball) -> None:
    noise = np.full(SHAPE, 0.004, np.float32)
    for method in (pdf, lbv, highpass):
        out = method(ball, mask, ACQ, noise=noise).noise_ppm
        valid = method(ball, mask, ACQ).mask
        assert out[valid].min() == out[valid].max() == np.float32(0.004)
        assert not out[~valid].any()
        assert method(ball, mask, ACQ).noise_ppm is None


def test_pdf_says_when_it_has_converged(mask, background) -> None:
    calls = []
    pdf(background, mask, ACQ, progress=lambda done, total, **facts: calls.append(facts))
    assert calls[-1]["converged"]
    assert calls[-1]["change"] < 0.02 <= calls[-2]["change"]


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (pdf, {"local_ppm": 0.0}),
        (pdf, {"gap_mm": -1.0}),
        (lbv, {"edge": -0.1}),
        (highpass, {"size_mm": 1.0}),
        (highpass, {"filter": "box"}),
    ],
)
def test_parameters_out_of_range_are_errors(method: Method, wrong, mask, ball) -> None:
    with pytest.raises(InputError):
        method(ball, mask, ACQ, **wrong)


def test_a_mask_one_voxel_thin_is_an_error() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 12] = True
    with pytest.raises(InputError, match="neighbours"):
        lbv(np.ones(SHAPE, np.float32), mask, ACQ)
