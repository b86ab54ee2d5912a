"""The echoes side by side: what the field explains is taken off, and what it does not stands out."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from matplotlib.image import imread

from chimap.acquisition import Acquisition
from chimap.report.echoes import echo_carpet, echo_picture, echoes_of

SHAPE = (24, 30, 20)
ACQ = Acquisition((0.004, 0.010, 0.016, 0.022), 3.0, voxel_size_mm=(1.0, 1.0, 1.5))
AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])


def scan(acq=ACQ, sign=1, noise=0.01):
    """Phase, magnitude, field, mask: an offset that differs from voxel to voxel, phase beyond half a turn."""
    rng = np.random.default_rng(5)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.8
    field = (0.5 * x + 0.2 * y * z).astype(np.float32)
    offset = 1.5 * y + 0.5 * rng.standard_normal(SHAPE)
    rate = np.array([acq.rad_per_ppm(t) for t in acq.te_s])
    phase = (
        offset[..., None] + sign * rate * field[..., None] + noise * rng.standard_normal((*SHAPE, acq.echoes))
    )
    magnitude = 100 * np.exp(-np.array(acq.te_s) / 0.03) * (0.05 + mask)[..., None]
    return np.angle(np.exp(1j * phase)).astype(np.float32), magnitude.astype(np.float32), field, mask


@pytest.mark.parametrize("sign", [1, -1])
def test_field_and_offset_are_taken_off(sign):
    phase, magnitude, field, mask = scan(sign=sign)
    found = echoes_of(phase, magnitude, field, mask, ACQ, AFFINE, sign=sign)
    assert found.rms_rad.max() < 0.02
    assert found.worst is None
    assert np.nanmax(np.abs(found.misfit)) < 0.08
    wrong = echoes_of(phase, magnitude, field, mask, ACQ, AFFINE, sign=-sign)
    assert wrong.rms_rad.max() > 0.5


def test_a_bad_echo_stands_out():
    phase, magnitude, field, mask = scan()
    x = np.linspace(-1, 1, SHAPE[0], dtype=np.float32)[:, None, None]
    phase[..., 2] = np.angle(np.exp(1j * (phase[..., 2] + 4 * x)))
    found = echoes_of(phase, magnitude, field, mask, ACQ, AFFINE)
    assert found.worst == 3
    assert found.rows()[2]["te_ms"] == pytest.approx(16)
    assert int(np.argmax(np.abs(found.carpet).mean(axis=0))) == 2


def test_slice_is_turned_and_masked():
    """An array stored from left to right and from back to front shows the same slice."""
    phase, magnitude, field, mask = scan()
    plain = echoes_of(phase, magnitude, field, mask, ACQ, AFFINE)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    turned = echoes_of(phase[::-1], magnitude[::-1], field[::-1], mask[::-1], ACQ, AFFINE @ flip)
    for name in ("magnitude", "phase", "misfit"):
        assert np.array_equal(getattr(plain, name), getattr(turned, name), equal_nan=True), name
    assert plain.z_mm == pytest.approx(1.5 * round(float(np.argwhere(mask)[:, 2].mean())))
    # No phase where there is no signal; misfit in the mask only.
    assert np.isnan(plain.phase[0, 0]).all()
    assert np.isfinite(plain.misfit[plain.misfit.shape[0] // 2, plain.misfit.shape[1] // 2]).all()
    assert np.isnan(plain.misfit[0, 0]).all()


def test_carpet_runs_from_the_centre_to_the_rim():
    phase, magnitude, field, mask = scan(noise=0.0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    rim = x**2 + y**2 + z**2 > 0.6
    phase[rim, 3] = np.angle(np.exp(1j * (phase[rim, 3] + 1.0)))
    found = echoes_of(phase, magnitude, field, mask, ACQ, AFFINE)
    third = len(found.carpet) // 3
    assert np.abs(found.carpet[:third, 3]).max() < 0.01
    assert np.abs(found.carpet[-third // 2 :, 3]).mean() > 0.3


def size(png: bytes) -> tuple[int, int]:
    return struct.unpack(">II", png[16:24])


def test_pictures():
    found = echoes_of(*scan(), ACQ, AFFINE)
    png = echo_picture(found)
    assert png == echo_picture(found)
    width, height = size(png)
    assert width <= 1101 and height > width / 3
    colours = imread(io.BytesIO(echo_carpet(found)))[:, 40:400, :3]
    # A scan without a fault has a pale carpet.
    assert np.mean(colours.min(axis=2) > 0.85) > 0.6


def test_without_magnitude_and_with_many_echoes():
    acq = Acquisition(tuple(0.002 * (e + 1) for e in range(16)), 3.0, voxel_size_mm=(1.0, 1.0, 1.5))
    phase, _, field, mask = scan(acq)
    found = echoes_of(phase, None, field, mask, acq, AFFINE)
    assert found.magnitude is None
    assert found.rms_rad.max() < 0.02
    width, height = size(echo_picture(found))
    assert width <= 1101 and height < 600
