"""Temporal unwrapping: right up to its stated limit, and in space only where it must."""

from __future__ import annotations

import numpy as np
import pytest
from phase_scans import scan, steps

from chimap import registry
from chimap.phase import temporal as module

temporal = registry.get("unwrap", "temporal")


def wrong(s, out):
    return [steps((out[..., e] - s.true_phase(e))[s.mask]) for e in range(s.acq.echoes)]


@pytest.mark.parametrize(
    "te_s",
    [(0.003, 0.006, 0.009), (0.010, 0.0125, 0.015, 0.0175), tuple(0.002 + 0.002 * np.arange(12))],
    ids=["3 echoes", "late first echo", "12 echoes"],
)
def test_voxel_by_voxel_within_the_limit(te_s):
    # The field stays within 1 / (2 dTE) of its mean for dTE up to 3 ms at least.
    s = scan(te_s)
    out = temporal(s.phase, s.mask, s.acq, offset=s.offset, magnitude=s.magnitude, spatial=False)
    assert wrong(s, out) == [0] * len(te_s)
    turns = (out - s.phase)[s.mask] / (2 * np.pi)
    assert np.abs(turns - np.rint(turns)).max() < 1e-5


def test_beyond_the_limit_space_helps():
    s = scan((0.006, 0.012, 0.018), strength=2.0)
    alone = temporal(s.phase, s.mask, s.acq, magnitude=s.magnitude, spatial=False)
    assert min(wrong(s, alone)) > 100
    assert wrong(s, temporal(s.phase, s.mask, s.acq, magnitude=s.magnitude)) == [0, 0, 0]


def test_space_is_left_alone_where_it_is_not_needed(monkeypatch):
    s = scan((0.003, 0.006, 0.009))

    def never(*_, **__):
        raise AssertionError("unwrapped in space")

    monkeypatch.setattr(module, "unwrap_packed", never)
    out = temporal(s.phase, s.mask, s.acq, offset=s.offset, magnitude=s.magnitude)
    assert wrong(s, out) == [0, 0, 0]


def test_isolated_parts_far_apart_in_field():
    # Two blocks 0.7 ppm apart: no path between them, but the first 3 ms tell.
    mask = np.zeros((30, 20, 20), bool)
    mask[2:10, 4:16, 4:16] = mask[20:28, 4:16, 4:16] = True
    s = scan((0.003, 0.007, 0.011), shape=mask.shape, mask=mask, strength=0.2, offset=False)
    block = np.indices(mask.shape)[0] > 15
    turn = 0.7 * s.acq.rad_per_ppm(1.0) * np.array(s.acq.te_s)
    s.phase = np.angle(np.exp(1j * (s.phase + block[..., None] * turn))).astype(np.float32)
    s.field = s.field + 0.7 * block.astype(np.float32)
    offset = np.zeros(mask.shape, np.float32)
    assert wrong(s, temporal(s.phase, mask, s.acq, offset=offset, magnitude=s.magnitude)) == [0, 0, 0]


def test_off_resonance_does_not_narrow_the_range():
    s = scan((0.004, 0.008, 0.012), strength=0.5)
    shift_hz = 110.0  # with the field's own range beyond 1 / (2 dTE) = 125 Hz in places
    s.field = s.field + np.float32(shift_hz / s.acq.hz_per_ppm)
    turn = 2 * np.pi * shift_hz * np.array(s.acq.te_s)
    s.phase = np.angle(np.exp(1j * (s.phase + turn))).astype(np.float32)
    out = temporal(s.phase, s.mask, s.acq, offset=s.offset, magnitude=s.magnitude, spatial=False)
    for e in range(3):
        assert np.abs((out[..., e] - s.true_phase(e))[s.mask]).max() < np.pi
