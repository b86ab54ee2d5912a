"""Region merging: the merge itself against a plain one, and the phases that come out."""

from __future__ import annotations

import numpy as np
import pytest
from phase_scans import ellipsoid, scan, steps
from scipy import ndimage

from chimap import Acquisition, registry
from chimap.errors import InputError
from chimap.phase._graph import Graph
from chimap.phase._merge import merge
from chimap.phase.regions import patches

regions = registry.get("unwrap", "regions")


def merge_plainly(pairs, count):
    """The same merge with a dictionary and no cleverness: the clearest interface first."""
    interfaces = {p: list(v) for p, v in pairs.items()}
    members = {r: {r: 0} for r in range(count)}
    while interfaces:
        (a, b), (weight, gap) = max(
            interfaces.items(),
            key=lambda i: i[1][0] * (1 - 2 * abs(i[1][1] / i[1][0] - round(i[1][1] / i[1][0]))),
        )
        turns = int(np.floor(gap / weight + 0.5))
        del interfaces[a, b]
        members[a].update({r: t + turns for r, t in members.pop(b).items()})
        for (x, y), (w, g) in list(interfaces.items()):
            if b not in (x, y):
                continue
            del interfaces[x, y]
            other, g = (y, g) if x == b else (x, -g)
            g += turns * w
            if (other, a) in interfaces:
                interfaces[other, a][0] += w
                interfaces[other, a][1] -= g
            else:
                old = interfaces.setdefault((a, other), [0.0, 0.0])
                old[0] += w
                old[1] += g
    return members


@pytest.mark.parametrize("seed", range(4))
def test_merge_agrees_with_a_plain_one(seed):
    rng = np.random.default_rng(seed)
    count = 120
    pairs = {}
    for _ in range(500):
        a, b = sorted(rng.choice(count - 5, 2, replace=False).tolist())
        weight = rng.uniform(1, 20)
        pairs[a, b] = (weight, weight * rng.uniform(-2, 2))
    first, second = (np.array([p[n] for p in pairs], np.int32) for n in range(2))
    weight, gap = (np.array([v[n] for v in pairs.values()]) for n in range(2))
    shift, group = np.empty(count, np.int32), np.empty(count, np.int32)
    groups = merge(first, second, weight, gap, shift, group)
    members = merge_plainly(pairs, count)
    assert groups == len(members)
    for member in members.values():
        together = list(member)
        assert len(set(group[together])) == 1
        assert len(set(shift[together] - np.array([member[r] for r in together]))) == 1


def test_patches_are_the_connected_parts_of_equal_value():
    mask = ellipsoid((12, 11, 10))
    part = np.random.default_rng(2).integers(0, 3, mask.shape).astype(np.uint8)
    graph = Graph.of(mask)
    values = part[graph.box.inner][graph.inside]
    label = np.empty(graph.size, np.int32)
    count = patches(graph.after, values, label)
    assert set(label) == set(range(count))
    for a in range(3):
        v = np.flatnonzero(graph.after[:, a] >= 0)
        w = graph.after[v, a]
        np.testing.assert_array_equal(values[v] == values[w], label[v] == label[w])
    assert count == sum(ndimage.label(mask & (part == value))[1] for value in range(3))


@pytest.mark.parametrize("bins", [2, 8, 100])
@pytest.mark.parametrize("individual", [False, True])
def test_any_number_of_bins(bins, individual):
    s = scan(strength=1.5, snr=100)
    out = regions(s.phase, s.mask, s.acq, magnitude=s.magnitude, bins=bins, individual=individual)
    for e in range(3):
        assert steps((out[..., e] - s.true_phase(e))[s.mask]) == 0


def test_noise_spreads_no_error():
    s = scan((0.008, 0.016), snr=60)
    hole = ellipsoid(s.mask.shape, 0.3)
    s.phase[hole] = np.random.default_rng(3).uniform(-np.pi, np.pi, s.phase[hole].shape)
    s.magnitude[hole] *= 0.02
    for known in ({}, {"magnitude": s.magnitude}):
        out = regions(s.phase, s.mask, s.acq, **known)
        for e in range(2):
            assert steps((out[..., e] - s.true_phase(e))[s.mask & ~hole]) == 0


def test_separate_parts_lone_voxels_and_no_signal():
    mask = ellipsoid((34, 31, 27))
    mask[15:19] = False
    lone = mask.copy()
    lone[0, 0, 0] = True
    s = scan((0.006, 0.012), mask=lone)
    out = regions(s.phase, lone, s.acq, magnitude=s.magnitude)
    for e in range(2):
        assert steps((out[..., e] - s.true_phase(e))[mask]) == 0
    s.magnitude[:] = 0
    assert np.isfinite(regions(s.phase, lone, s.acq, magnitude=s.magnitude)).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice(axis):
    shape = [40, 37, 33]
    shape[axis] = 1
    s = scan(shape=tuple(shape))
    out = regions(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    for e in range(3):
        assert steps((out[..., e] - s.true_phase(e))[s.mask]) == 0


def test_phase_beyond_pi_is_taken_modulo_two_pi():
    s = scan(strength=2.0)
    whole = np.random.default_rng(4).integers(-3, 4, s.phase.shape)
    out = regions((s.phase + 2 * np.pi * whole).astype(np.float32), s.mask, s.acq, magnitude=s.magnitude)
    for e in range(3):
        assert steps((out[..., e] - s.true_phase(e))[s.mask]) == 0


def test_errors_say_what_to_do():
    s = scan()
    with pytest.raises(InputError, match=r"1 bins of phase\. Give 2 to 100"):
        regions(s.phase, s.mask, s.acq, bins=1)
    with pytest.raises(InputError, match="template echo 0"):
        regions(s.phase, s.mask, s.acq, template_echo=0)


def test_phase_of_a_single_region_comes_back():
    acq = Acquisition((0.004, 0.008), 3.0)
    phase = np.full((6, 6, 6, 2), 0.5, np.float32)
    mask = np.ones(phase.shape[:3], bool)
    np.testing.assert_array_equal(regions(phase, mask, acq), phase)
