"""Unwrapping by a network: congruent whatever it says, right on scans, and its channels know nothing of constants and turns."""

from __future__ import annotations

import numpy as np
import pytest
from phase_scans import scan

from chimap.errors import ChimapWarning, InputError
from chimap.phase._edge_channels import CHANNELS, edge_channels, steps_to_next
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase.learned import learned, unwrap_judged


def _turns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a - b) / TWO_PI


@pytest.mark.parametrize(("individual", "strength"), [(False, 4.0), (True, 2.0)])
def test_right_and_congruent(individual: bool, strength: float) -> None:
    s = scan(strength=strength)
    out = learned(s.phase, s.mask, s.acq, magnitude=s.magnitude, individual=individual)
    for e in range(s.acq.echoes):
        added = _turns(out[..., e], s.phase[..., e])[s.mask]
        assert np.abs(added - np.rint(added)).max() < 1e-4
        wrong = np.rint(_turns(out[..., e], s.true_phase(e))[s.mask])
        wrong -= np.median(wrong)
        assert np.mean(wrong != 0) < 0.002
    assert not out[~s.mask].any()


def test_turns_and_a_constant_make_no_difference_to_the_channels() -> None:
    rng = np.random.default_rng(0)
    phase, magnitude = rng.uniform(-3, 3, (2, 6, 7, 5)).astype(np.float32)
    mask = rng.random(phase.shape) < 0.8
    other = rng.uniform(-3, 3, phase.shape).astype(np.float32)
    one = edge_channels(phase, np.abs(magnitude), mask, other, 1.5)
    turned = phase + np.float32(TWO_PI) * rng.integers(-2, 3, phase.shape).astype(np.float32) + 1
    two = edge_channels(turned, np.abs(magnitude), mask, other, 1.5)
    assert one.shape == (CHANNELS, *phase.shape)
    assert np.abs(np.exp(1j * np.pi * one[:9]) - np.exp(1j * np.pi * two[:9])).max() < 1e-3
    assert np.array_equal(one[9:], two[9:])


def test_steps_stop_at_the_mask() -> None:
    mask = np.ones((4, 3, 3), bool)
    mask[2] = False
    steps = steps_to_next(np.arange(36, dtype=np.float32).reshape(4, 3, 3), mask)
    assert steps[0, 0].any() and not steps[0, 1:].any()
    assert not steps[:, 2].any()


def test_a_step_that_lacks_a_turn_is_believed() -> None:
    """One row whose true phase jumps by 1.25 turns: only the lacking turns can tell."""
    true = np.array([0, 0.1, 0.2, 1.45, 1.55, 1.65], np.float32)[:, None, None] * np.ones(
        (1, 3, 3), np.float32
    )
    graph = Graph.of(np.ones(true.shape, bool))
    phase = graph.pack(((true + 0.5) % 1 - 0.5) * np.float32(TWO_PI))
    lacking = np.zeros((graph.size, 3), np.float32)
    spread2 = np.zeros((graph.size, 3), np.float32)
    ones = np.ones(graph.size, np.float32)
    at = np.flatnonzero(graph.coordinates(np.arange(graph.size))[:, 0] == 2)

    def jump() -> float:
        turns = unwrap_judged(graph, phase, ones, lacking, spread2)
        out = graph.unpack(phase / np.float32(TWO_PI) + turns)
        return float(np.diff(out[:, 1, 1]).max())

    assert jump() == pytest.approx(0.25, abs=1e-3)
    lacking[at, 0] = 1
    assert jump() == pytest.approx(1.25, abs=1e-3)


def test_a_constant_phase_stays() -> None:
    s = scan()
    flat = np.full_like(s.phase, 0.5)
    assert np.array_equal(learned(flat, s.mask, s.acq, offset=np.zeros_like(s.field))[s.mask], flat[s.mask])


def test_a_scan_outside_the_training_is_named() -> None:
    s = scan(voxel=(1.0, 1.0, 6.0))
    with pytest.warns(ChimapWarning, match="voxel edges 1 to 6 mm"):
        learned(s.phase, s.mask, s.acq, magnitude=s.magnitude)


def test_wrong_network_or_echo() -> None:
    s = scan()
    with pytest.raises(InputError, match="no network"):
        learned(s.phase, s.mask, s.acq, model="none")
    with pytest.raises(InputError, match="template echo"):
        learned(s.phase, s.mask, s.acq, template_echo=9)
