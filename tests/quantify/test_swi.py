"""Susceptibility-weighted images: the masks at known values, filters on known phases, projections."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.quantify import swi

ACQ = Acquisition((0.01, 0.02, 0.03), 3.0, voxel_size_mm=(1.0, 1.0, 2.0))
SHAPE = (64, 60, 6)


def test_masks_at_known_values():
    m = np.full((1, 1, 5), 2, np.float32)
    phase = np.array([-1, 0, np.pi / 2, np.pi, 1.0], np.float32).reshape(1, 1, 5)
    assert swi.swi(m, phase)[0, 0] == pytest.approx([2, 2, 2 / 16, 0, 2 * (1 - 1 / np.pi) ** 4], abs=1e-6)
    assert swi.swi(m, phase, veins="-")[0, 0, 0] == pytest.approx(2 * (1 - 1 / np.pi) ** 4, abs=1e-6)
    chi = np.array([-0.1, 0, 0.225, 0.45, 0.9], np.float32).reshape(1, 1, 5)
    assert swi.true_swi(m, chi)[0, 0] == pytest.approx([2, 2, 0.5, 0, 0], abs=1e-6)
    assert swi.smwi(m, chi, threshold_ppm=0.9, power=1)[0, 0] == pytest.approx([2, 2, 1.5, 1, 0], abs=1e-6)
    dark = swi.smwi(m, chi, threshold_ppm=0.2, power=2, sources="diamagnetic")[0, 0]
    assert dark == pytest.approx([0.5, 2, 2, 2, 2], abs=1e-6)


def test_high_pass_keeps_the_vein_and_drops_the_slope():
    x, y, _ = np.meshgrid(*((np.arange(n) - n / 2) for n in SHAPE), indexing="ij")
    vein = (np.abs(x - 3) < 1) & (np.abs(y) < 20)
    slow = 0.002 * (x**2 + 0.5 * y**2) + 0.03 * x
    magnitude = 100 * np.exp(-((x / 28) ** 8) - (y / 26) ** 8)
    phase = np.angle(np.exp(1j * (slow + 1.2 * vein))).astype(np.float32)
    out = swi.high_pass_phase(phase, magnitude.astype(np.float32), ACQ)
    middle = (np.abs(x) < 18) & (np.abs(y) < 15)
    assert np.median(out[vein & middle]) > 0.6
    assert np.abs(out[middle & ~vein & (np.abs(x - 3) > 8)]).mean() < 0.05


def test_clear_swi_darkens_veins_and_takes_the_shading_out(rng):
    x, y, _ = np.meshgrid(*((np.arange(n) - n / 2) for n in SHAPE), indexing="ij")
    mask = (x / 28) ** 2 + (y / 26) ** 2 < 1
    vein = (np.abs(x - 3) < 1) & mask
    te = np.array(ACQ.te_s)
    shade = (1 + 0.01 * x)[..., None]
    magnitude = (100 * shade * np.exp(-te * 20) * mask[..., None]).astype(np.float32)
    magnitude += rng.normal(0, 0.5, magnitude.shape).astype(np.float32) * mask[..., None]
    phase = (vein * 40)[..., None] * te + 2 * np.pi * np.arange(3) + rng.normal(0, 0.02, magnitude.shape)
    out = swi.clear_swi(magnitude, phase.astype(np.float32), mask, ACQ)
    inner = (x / 20) ** 2 + (y / 18) ** 2 < 1
    tissue = inner & (np.abs(x - 3) > 10)
    assert out[vein & inner].mean() < 0.6 * out[tissue].mean()
    assert abs(out[tissue & (x > 0)].mean() / out[tissue & (x < 0)].mean() - 1) < 0.1
    assert not out[~mask].any() and np.isfinite(out).all()
    with pytest.raises(InputError, match="3 echoes"):
        swi.clear_swi(magnitude[..., :2], phase[..., :2].astype(np.float32), mask, ACQ)


def test_projections():
    volume = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 8)
    mask = np.array([0, 1, 1, 1, 1, 1, 1, 1], bool).reshape(1, 1, 8)
    thin = swi.projection(volume, (1, 1, 2), mask, thickness_mm=6)
    assert thin[0, 0].tolist() == [0, 2, 2, 3, 4, 5, 6, 7]
    assert swi.projection(volume, (1, 1, 2), thickness_mm=6)[0, 0].tolist() == [1, 1, 2, 3, 4, 5, 6, 7]
    assert swi.projection(volume, (1, 1, 2), mask, thickness_mm=6, kind="maximum")[0, 0, 3] == 5
    assert swi.projection(volume, (1, 1, 2), mask, thickness_mm=6, kind="mean")[
        0, 0, :3
    ].tolist() == pytest.approx([0, 2.5, 3])
    assert np.array_equal(swi.projection(volume, (1, 1, 2), thickness_mm=0.5), volume)


@pytest.mark.parametrize("call", [
    lambda v: swi.swi(v, v, power=0), lambda v: swi.true_swi(v, v, low_ppm=0.5), lambda v: swi.smwi(v, v, threshold_ppm=-1),
    lambda v: swi.projection(v, (1, 1, 1), thickness_mm=0), lambda v: swi.high_pass_phase(v, v, ACQ, filter_mm=0),
])  # fmt: skip
def test_bad_values(call):
    with pytest.raises(InputError):
        call(np.ones((2, 2, 2), np.float32))
