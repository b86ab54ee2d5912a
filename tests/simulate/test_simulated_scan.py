import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.signal import fftconvolve

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.dipole import forward_field
from chimap.simulate import flask, head_phantom, simulate_scan, sphere
from chimap.simulate.resample import average, crop_kspace, image_shape, nearest
from chimap.simulate.scan import ernst_signal


@pytest.fixture(scope="module")
def acq():
    return Acquisition((0.003, 0.009, 0.015), 3.0, (0.1, 0.2, 0.97), (4.5, 4.5, 4.5))


@pytest.fixture(scope="module")
def phantom():
    return head_phantom((3, 3, 3))


@pytest.fixture(scope="module")
def scan(phantom, acq):
    return simulate_scan(phantom, acq, snr=80, seed=5)


def test_shapes_and_types(scan, acq):
    shape = scan.mask.shape
    assert scan.phase.shape == scan.magnitude.shape == (*shape, 3)
    assert scan.phase.dtype == scan.magnitude.dtype == scan.chi_ppm.dtype == np.float32
    assert scan.labels.dtype == np.uint8 and scan.mask.dtype == bool
    assert np.abs(scan.phase).max() <= np.float32(np.pi)
    assert np.moveaxis(scan.phase, -1, 0).flags.c_contiguous
    assert not np.isin(scan.labels[scan.mask], [0, 12, 13, 14, 15, 19, 20, 21]).any()
    # The field of view of the image is the phantom's.
    assert shape[0] * acq.voxel_size_mm[0] == pytest.approx(head_phantom((3, 3, 3)).labels.shape[0] * 3)


def test_phase_is_the_field_times_echo_time(phantom, acq):
    scan = simulate_scan(phantom, acq, snr=None, receive_phase=False, receive_magnitude=False)
    edge = scan.mask & (np.abs(scan.total_field_ppm) < 0.3)
    for e, te in enumerate(acq.te_s):
        expected = acq.rad_per_ppm(te) * scan.total_field_ppm
        difference = np.angle(np.exp(1j * (scan.phase[..., e] - expected)))[edge]
        assert np.median(np.abs(difference)) < 0.05 * (e + 1)
        assert abs(difference.mean()) < 0.05


def test_receive_phase_is_the_same_in_all_echoes(phantom, acq):
    plain = simulate_scan(phantom, acq, snr=None, receive_phase=False)
    coil = simulate_scan(phantom, acq, snr=None, receive_phase=True)
    offset = np.exp(1j * (coil.phase - plain.phase))[plain.mask]
    np.testing.assert_allclose(offset[:, 0], offset[:, 2], atol=2e-3)
    assert np.abs(np.angle(offset[:, 0])).std() > 0.2


def test_signal_equation():
    m0, r1 = np.float32(1.5), np.float32(0.8)
    e, a = np.exp(-0.03 * 0.8), np.deg2rad(20)
    expected = 1.5 * np.sin(a) * (1 - e) / (1 - e * np.cos(a))
    assert ernst_signal(m0, r1, 0.03, 20) == pytest.approx(expected, rel=1e-5)
    acq = Acquisition((0.005, 0.02), 3.0, voxel_size_mm=(2, 2, 2))
    fine = acq.with_(voxel_size_mm=(1, 1, 1))
    water = flask(sphere((48, 48, 48), fine, radius_mm=5, chi_ppm=0), fine)
    scan = simulate_scan(water, acq, snr=None, receive_magnitude=False, tr_s=0.03, flip_deg=20)
    inner = np.s_[9:15, 9:15, 9:15]
    expected = 1000 * ernst_signal(np.float32(1), np.float32(0.8), 0.03, 20)
    for e, te in enumerate(acq.te_s):
        # Gibbs ringing from the wall goes up and down about the value.
        assert scan.magnitude[..., e][inner].mean() == pytest.approx(expected * np.exp(-20 * te), rel=0.02)


def test_truth_is_consistent(scan, phantom, acq):
    """The total field less the local one has no sources in the brain, and the local one is the brain's."""
    chi = phantom.chi_ppm * phantom.mask
    fine = acq.with_(voxel_size_mm=phantom.voxel_size_mm)
    local = average(forward_field(chi, fine), scan.mask.shape)
    np.testing.assert_allclose(scan.local_field_ppm, local, atol=2e-3)
    # A harmonic field is its own mean over a sphere (here of 5 voxels' radius), away from the edge.
    background = scan.total_field_ppm - scan.local_field_ppm
    n = np.mgrid[-5:6, -5:6, -5:6]
    ball = (n**2).sum(0) <= 5.3**2
    deep = binary_erosion(scan.mask, ball)
    assert deep.sum() > 100
    mean = fftconvolve(background, ball / ball.sum(), mode="same")
    residue = (mean - background)[deep]
    assert np.std(residue) < 0.35 * np.std(scan.local_field_ppm[deep])
    assert np.std(scan.total_field_ppm[scan.mask]) > 3 * np.std(scan.local_field_ppm[scan.mask])


def test_shim_takes_solid_harmonics_off(phantom, acq):
    none = simulate_scan(phantom, acq.with_(te_s=(0.003,)), snr=None, shim_order=None)
    two = simulate_scan(phantom, acq.with_(te_s=(0.003,)), snr=None, shim_order=2)
    m = none.mask
    assert abs(two.total_field_ppm[m].mean()) < 0.02
    assert two.total_field_ppm[m].std() < none.total_field_ppm[m].std()


def test_noise_has_the_snr_asked_for(phantom, acq):
    quiet = simulate_scan(phantom, acq, snr=None, seed=1)
    noisy = simulate_scan(phantom, acq, snr=40, seed=1)
    m = quiet.mask
    signal = [s.magnitude[..., 0] * np.exp(1j * s.phase[..., 0]) for s in (quiet, noisy)]
    noise = (signal[1] - signal[0])[m]
    assert quiet.magnitude[..., 0][m].mean() / noise.real.std() == pytest.approx(40, rel=0.03)
    assert quiet.magnitude[..., 0][m].mean() / noise.imag.std() == pytest.approx(40, rel=0.03)
    assert noisy.parameters["noise_sd"] == pytest.approx(noise.real.std(), rel=0.03)


def test_same_seed_same_scan(phantom, acq, scan):
    again = simulate_scan(phantom, acq, snr=80, seed=5)
    np.testing.assert_array_equal(again.phase, scan.phase)
    np.testing.assert_array_equal(again.magnitude, scan.magnitude)
    assert (simulate_scan(phantom, acq, snr=80, seed=6).phase != scan.phase).mean() > 0.9


@pytest.mark.parametrize("b0_dir", [(0, 0, 1), (1, 0, 0), (0.3, 0.4, 0.8)])
def test_a_scanned_sphere_has_its_closed_form(b0_dir):
    acq = Acquisition((0.005,), 3.0, b0_dir, (2, 2, 2))
    fine = acq.with_(voxel_size_mm=(1, 1, 1))
    content = sphere((72, 72, 72), fine, radius_mm=9)
    scan = simulate_scan(flask(content, fine), acq, snr=None, shim_order=None, receive_phase=False)
    truth = average(content.field_ppm, scan.mask.shape)
    where = binary_erosion(scan.mask, iterations=7)
    surface = average(content.surface.astype(np.float32), scan.mask.shape) > 0
    near = where & ~binary_dilation(surface)
    # The flask stands in a periodic room and is round only up to voxels: a few hundredths of a ppm.
    error = (scan.total_field_ppm - truth)[near]
    assert np.abs(error - np.median(error)).max() < 0.06
    assert np.corrcoef(scan.total_field_ppm[near], truth[near])[0, 1] > 0.98
    phase = scan.phase[..., 0][near] / acq.rad_per_ppm()
    # Signal from the whole voxel, and ringing from the wall: not quite the mean field.
    assert np.abs(phase - scan.total_field_ppm[near]).max() < 0.06
    assert abs(np.mean(phase - scan.total_field_ppm[near])) < 0.002


def test_kspace_crop_keeps_position_and_value():
    n, m = 36, 24
    x = (np.arange(n) + 0.5) / n
    wave = np.exp(2j * np.pi * 3 * x)[:, None, None] * np.ones((1, 6, 6))
    out = crop_kspace(wave.astype(np.complex64), (m, 6, 6))
    expected = np.exp(2j * np.pi * 3 * (np.arange(m) + 0.5) / m)
    np.testing.assert_allclose(out[:, 0, 0], expected, atol=1e-5)
    np.testing.assert_allclose(average(np.ones((9, 6, 7), np.float32), (6, 3, 7)), 1, rtol=1e-6)
    ramp = (np.arange(9, dtype=np.float32) + 0.5)[:, None, None] * np.ones((1, 6, 4), np.float32)
    means = [(0.5 + 1.5 / 2) / 1.5, (1.5 / 2 + 2.5) / 1.5]
    np.testing.assert_allclose(average(ramp, (6, 6, 4))[:2, 0, 0], means, rtol=1e-6)
    assert nearest(np.arange(9).reshape(9, 1, 1), (6, 1, 1)).ravel().tolist() == [0, 2, 3, 5, 6, 8]


def test_anisotropic_voxels(phantom):
    acq = Acquisition((0.01,), 3.0, (0, 0.3, 1), (3.0, 4.5, 6.0))
    scan = simulate_scan(phantom, acq)
    n = phantom.labels.shape
    assert scan.mask.shape == (n[0], n[1] * 2 // 3, n[2] // 2)


@pytest.mark.parametrize(
    ("voxel", "settings"),
    [
        ((2, 2, 2), {}),
        ((4.5, 4.5, 4.5), {"snr": 0}),
        ((4.5, 4.5, 4.5), {"tr_s": 0.001}),
        ((4.5, 4.5, 4.5), {"flip_deg": 0}),
        ((4.5, 4.5, 4.5), {"shim_order": 3}),
    ],
)
def test_bad_settings_are_told(phantom, voxel, settings):
    with pytest.raises(InputError):
        simulate_scan(phantom, Acquisition((0.003, 0.01), 3.0, voxel_size_mm=voxel), **settings)


def test_grids_that_do_not_fit_are_filled_up():
    assert image_shape((10, 12, 12), (1, 1, 1), (1.5, 2, 1)) == ((12, 12, 12), (8, 6, 12))
