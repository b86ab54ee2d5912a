"""Quality-guided unwrapping through scikit-image, and what happens without it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from phase_scans import ellipsoid, scan, steps

from chimap import registry
from chimap.errors import InputError

quality_guided = registry.get("unwrap", "quality_guided")


def test_without_scikit_image_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    s = scan()
    with pytest.raises(InputError, match=r"needs scikit-image.*pip install chimap\[skimage\]"):
        quality_guided(s.phase, s.mask, s.acq)


@pytest.mark.parametrize("individual", [False, True])
def test_separate_parts_and_lone_voxels(individual):
    pytest.importorskip("skimage")
    mask = ellipsoid((34, 31, 27))
    mask[15:19] = False
    lone = mask.copy()
    lone[0, 0, 0] = True
    s = scan((0.006, 0.012), mask=lone, strength=1.5)
    out = quality_guided(s.phase, lone, s.acq, magnitude=s.magnitude, individual=individual)
    turns = (out - s.phase)[lone] / (2 * np.pi)
    assert np.abs(turns - np.rint(turns)).max() < 1e-5
    for e in range(2):
        assert steps((out[..., e] - s.true_phase(e))[mask]) == 0


def test_the_seed_decides_the_result():
    pytest.importorskip("skimage")
    s = scan(snr=2.0)
    first, again = (quality_guided(s.phase, s.mask, s.acq, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    with pytest.raises(InputError, match="seed is -1"):
        quality_guided(s.phase, s.mask, s.acq, seed=-1)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (1, 2)])
def test_one_slice_and_one_line(axes):
    pytest.importorskip("skimage")
    shape = [40, 37, 33]
    for axis in axes:
        shape[axis] = 1
    s = scan(shape=tuple(shape), strength=0.8)
    out = quality_guided(s.phase, s.mask, s.acq, individual=True)
    for e in range(3):
        assert steps((out[..., e] - s.true_phase(e))[s.mask]) == 0
