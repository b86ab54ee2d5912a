"""The plain U-Net: it inverts what it was trained for, says when a scan is something else, and is wrong there."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion.unet import unet, unet_inputs
from chimap.metrics import correlation
from chimap.numerics.dipole import forward_field
from small_nets import conv_net

SHAPE = (40, 36, 34)
AXIAL = Acquisition(te_s=0.02, b0_t=3.0, voxel_size_mm=(1.0, 1.0, 1.0))
SIDEWAYS = AXIAL.with_(b0_dir=(1.0, 0.0, 0.0))


def _object() -> tuple[np.ndarray, np.ndarray]:
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    chi = np.zeros(SHAPE, np.float32)
    for centre, radius, value in (((6, 2, 0), 4, 0.12), ((-5, -4, 3), 5, -0.06), ((0, 6, -6), 3, 0.2)):
        chi[sum((a - c) ** 2 for a, c in zip((x, y, z), centre)) < radius**2] = value
    mask = (x / 17) ** 2 + (y / 15) ** 2 + (z / 14) ** 2 < 1
    return chi * mask, mask


def test_an_axial_scan_is_inverted_and_a_sideways_one_is_not_but_says_so():
    chi, mask = _object()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = unet(forward_field(chi, AXIAL), mask, AXIAL)
    with pytest.warns(UserWarning, match="outside what network unet was trained on: .*B0"):
        bad = unet(forward_field(chi, SIDEWAYS), mask, SIDEWAYS)
    assert correlation(good, chi, mask) > 0.75
    assert correlation(bad, chi, mask) < correlation(good, chi, mask) - 0.1


def test_twice_the_field_is_twice_the_map():
    chi, mask = _object()
    field = forward_field(chi, AXIAL)
    one, two = unet(field, mask, AXIAL), unet(2 * field, mask, AXIAL)
    assert np.allclose(two, 2 * one, atol=1e-4 * np.abs(two).max())
    assert one[mask].mean() == pytest.approx(0, abs=1e-5)
    assert not one[~mask].any()


def test_the_channels_do_not_depend_on_scale_or_offset():
    chi, mask = _object()
    field = forward_field(chi, AXIAL)
    one, scale = unet_inputs(field, mask)
    two, larger = unet_inputs(5 * field + 1, mask)
    assert larger == pytest.approx(5 * scale, rel=1e-3)
    assert np.allclose(one, two, atol=1e-3)


def test_a_network_of_another_kind_is_refused(tmp_path: Path):
    chi, mask = _object()
    model = conv_net(tmp_path / "three.onnx", (3, 4, 1))
    with pytest.raises(InputError, match="not a plain U-Net"):
        unet(chi, mask, AXIAL, model=str(model))
