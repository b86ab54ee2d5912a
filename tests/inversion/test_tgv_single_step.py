"""Single-step TGV from wrapped phase: a known map below a strong background, wraps, offsets and symmetry."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._tgv_field import field_steps, integrate
from chimap.inversion.tgv_phase import tgv_phase
from chimap.numerics.box import working_box
from chimap.numerics.dipole import forward_field

ACQ = Acquisition(
    te_s=(0.006, 0.014, 0.022), b0_t=3.0, b0_dir=(0.1, 0.2, 0.97), voxel_size_mm=(1.0, 1.0, 1.2)
)
SHAPE = (40, 38, 34)


def wrap(x):
    return (x - 2 * np.pi * np.round(x / (2 * np.pi))).astype(np.float32)


@pytest.fixture(scope="module")
def scene():
    """Two sources in an ellipsoid, a strong one outside; map, total field, mask, wrapped phase and magnitude."""
    rng = np.random.default_rng(4)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.75
    chi = np.zeros(SHAPE, np.float32)
    chi[12:18, 12:20, 12:19] = 0.15
    chi[23:29, 15:22, 12:22] = -0.1
    air = np.where((x - 0.5) ** 2 + (y + 0.3) ** 2 + (z - 1) ** 2 < 0.03, np.float32(9), np.float32(0))
    total = forward_field(chi, ACQ) + forward_field(air, ACQ)
    offset = 1.5 * x + 0.3 * y * z
    scale = np.array([ACQ.rad_per_ppm(t) for t in ACQ.te_s], np.float32)
    magnitude = np.exp(-np.asarray(ACQ.te_s, np.float32) / 0.03) * (1 + 0.2 * x[..., None])
    signal = magnitude * np.exp(1j * (total[..., None] * scale + offset[..., None]))
    signal = signal + 0.01 * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape))
    return chi, total * mask, mask, np.angle(signal).astype(np.float32), np.abs(signal).astype(np.float32)


@pytest.fixture(scope="module")
def found(scene):
    _, _, mask, phase, magnitude = scene
    return tgv_phase(phase, mask, ACQ, magnitude=magnitude)


def error(chi, truth, mask) -> float:
    a, b = chi[mask] - chi[mask].mean(), truth[mask] - truth[mask].mean()
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_contrast_comes_back_below_a_strong_background(scene, found) -> None:
    chi, total, mask, _, _ = scene
    last = total * ACQ.rad_per_ppm(ACQ.te_s[-1])
    assert np.ptp(last[mask]) > 4 * np.pi  # so the phase does wrap
    rest = mask & (chi == 0)
    assert found[chi > 0].mean() - found[rest].mean() == pytest.approx(0.15, rel=0.1)
    assert found[chi < 0].mean() - found[rest].mean() == pytest.approx(-0.1, rel=0.1)
    assert error(found, chi, mask) < 0.3


def test_large_volumes_are_not_copied(scene) -> None:
    """Float32 volumes of the working grid, whatever the number and memory order of the echoes (here 36 volumes come in)."""
    _, _, mask, phase, magnitude = scene
    volumes = [np.repeat(v, 6, axis=-1) for v in (phase, magnitude)]
    many = ACQ.with_(te_s=tuple(0.003 * n for n in range(1, 19)))
    tracemalloc.start()
    tgv_phase(volumes[0], mask, many, magnitude=volumes[1], iterations=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 23 * 4 * np.prod(working_box(mask, ACQ).shape)


def test_what_lies_outside_the_mask_is_not_read(scene, found) -> None:
    _, _, mask, phase, magnitude = scene
    volumes = [np.where(mask[..., None], v, np.float32(np.nan)) for v in (phase, magnitude)]
    np.testing.assert_array_equal(tgv_phase(volumes[0], mask, ACQ, magnitude=volumes[1]), found)
    volumes[0][mask, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        tgv_phase(volumes[0], mask, ACQ)


def test_single_echo_without_magnitude(scene) -> None:
    chi, total, mask, _, _ = scene
    acq = ACQ.with_(te_s=(0.014,))
    chi_found = tgv_phase(wrap(total * acq.rad_per_ppm(0.014))[..., None], mask, acq)
    rest = mask & (chi == 0)
    assert chi_found[chi > 0].mean() - chi_found[rest].mean() == pytest.approx(0.15, rel=0.1)


def test_whole_turns_change_nothing(scene, found) -> None:
    _, _, mask, phase, magnitude = scene
    turns = np.random.default_rng(0).integers(-2, 3, phase.shape)
    again = tgv_phase((phase + 2 * np.pi * turns).astype(np.float32), mask, ACQ, magnitude=magnitude)
    np.testing.assert_allclose(again[mask], found[mask], atol=2e-3)


def test_rotating_object_and_field_rotates_the_map(scene, found) -> None:
    _, _, mask, phase, magnitude = scene
    turned = ACQ.with_(b0_dir=(0.97, 0.2, 0.1), voxel_size_mm=(1.2, 1.0, 1.0))
    again = tgv_phase(
        phase.transpose(2, 1, 0, 3),
        mask.transpose(2, 1, 0),
        turned,
        magnitude=magnitude.transpose(2, 1, 0, 3),
    )
    np.testing.assert_allclose(again.transpose(2, 1, 0)[mask], found[mask], atol=0.015)


def test_field_from_differences_has_no_wraps_and_no_offset(scene) -> None:
    _, total, mask, phase, magnitude = scene
    scales = [ACQ.rad_per_ppm(t) for t in ACQ.te_s]
    steps, info = field_steps(phase, magnitude, mask, scales, ACQ.voxel_size_mm)
    solution = integrate(steps, info, ACQ.voxel_size_mm)
    assert solution.converged
    assert error(solution.x, total, mask) < 0.05


def test_bad_input_is_an_error(scene) -> None:
    _, _, mask, phase, magnitude = scene
    with pytest.raises(InputError, match="lam"):
        tgv_phase(phase, mask, ACQ, lam=0.0)
    with pytest.raises(InputError, match="magnitude"):
        tgv_phase(phase, mask, ACQ, magnitude=magnitude[..., 0])
