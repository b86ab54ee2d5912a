"""Veins of known susceptibility, saturation and flow: what is measured, with what error, and what a region gets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.blood import DO_PPM, blood_chi
from chimap.quantify._tubes import straight_pieces, trace_lines, vesselness
from chimap.quantify.oxygen import Blood, oxygen_of, reliable, territories
from chimap.quantify.veins import Segment, find_veins
from chimap.simulate import cylinder, simulate_scan, sphere
from chimap.simulate.veins import vein_grid, vein_phantom

ACQ = Acquisition((0.02,), 3.0, voxel_size_mm=(1.0, 1.0, 1.0))


def _segment(number=1, chi=0.5, se=0.02, at=(10, 10, 10), length=20.0, note=""):
    line = np.array(at, float) + np.linspace(-length / 2, length / 2, 41)[:, None] * np.array([0.0, 0, 1])
    return Segment(number, number, line, None, length, 2.5, 0.1, 0.0, chi, se, 0.3, 0.0, math.nan, 0.7, note)


def test_blood_in_si_and_cgs():
    assert pytest.approx(3.393, abs=0.001) == DO_PPM
    assert blood_chi(0.65) == pytest.approx(0.42 * 4 * math.pi * 0.27 * 0.35)
    assert blood_chi(1.0) == 0


def test_saturation_extraction_and_their_errors():
    blood = Blood(haematocrit=0.4, haematocrit_sd=0.02, sao2=0.97)
    o = oxygen_of(blood_chi(0.6, 0.4), 0.03, blood)
    assert o.svo2 == pytest.approx(0.6) and o.oef == pytest.approx(1 - 0.6 / 0.97)
    rng = np.random.default_rng(0)
    chi = blood_chi(0.6, 0.4) + 0.03 * rng.standard_normal(100_000)
    h = 0.4 + 0.02 * rng.standard_normal(chi.size)
    assert o.svo2_se == pytest.approx(np.std(1 - chi / (0.4 * DO_PPM)), rel=0.02)
    assert o.svo2_se_all == pytest.approx(np.std(1 - chi / (h * DO_PPM)), rel=0.03)
    assert o.oef_se_all == pytest.approx(o.svo2_se_all / 0.97)


def test_oxygenated_blood_that_differs_from_tissue():
    blood = Blood(oxygenated_ppm=-0.1)
    assert oxygen_of(blood_chi(0.6) - 0.1 * blood.haematocrit, 0.0, blood).svo2 == pytest.approx(0.6)


@pytest.mark.parametrize(
    "wrong", [{"haematocrit": 42}, {"haematocrit_sd": -1}, {"sao2": 98}, {"do_cgs_ppm": 3.39}]
)
def test_blood_in_other_units_is_an_error(wrong):
    with pytest.raises(InputError):
        Blood(**wrong)


def test_regions_consumption_and_what_is_missing():
    blood = Blood()
    shape = (40, 40, 40)
    labels = np.zeros(shape, np.int16)
    labels[:18], labels[22:] = 1, 2
    low, high = blood_chi(0.6), blood_chi(0.7)
    segments = [
        _segment(1, low, 0.01, (8, 20, 20)),
        _segment(2, low + 0.3, 0.3, (10, 20, 20)),
        _segment(3, high, 0.01, (30, 20, 20)),
        _segment(4, 0.1, 0.01, (32, 20, 20), note="short"),
        _segment(5, 1.7, 0.01, (32, 20, 20)),
    ]
    cbf = np.where(labels == 1, np.float32(60), np.float32(40))
    every, one, two = territories(
        segments, blood, (1, 1, 1), labels=labels, names={1: "left"}, cbf=cbf, mask=np.ones(shape, bool)
    )
    assert every.segments == (1, 2, 3) and one.segments == (1, 2) and two.segments == (3,)
    assert one.name == "left" and two.name == "label 2"
    assert two.oxygen.svo2 == pytest.approx(0.7) and two.cbf == 40
    # A vein that is hardly known hardly counts.
    assert one.oxygen.svo2 == pytest.approx(0.6, abs=0.01)
    # mL/100 g/min times micromol of O2 in a mL.
    assert two.cmro2 == pytest.approx(40 * (0.98 - 0.7) * 0.42 * 20.7)
    rng = np.random.default_rng(1)
    h = 0.42 + 0.03 * rng.standard_normal(50_000)
    chi = high + two.oxygen.svo2_se * 0.42 * DO_PPM * rng.standard_normal(h.size)
    rate = 40 * (0.98 - (1 - chi / (h * DO_PPM))) * h * 20.7
    assert two.cmro2_se == pytest.approx(rate.std(), rel=0.03)
    assert reliable(segments[4], blood) == "saturation outside 0 to 1"
    (alone,) = territories([segments[3]], blood, (1, 1, 1))
    assert alone.oxygen is None and math.isnan(alone.cmro2)
    with pytest.raises(InputError, match="empty"):
        territories(segments, blood, (1, 1, 1), labels=np.zeros(shape))


@pytest.mark.parametrize("axis", [(0, 0, 1), (1, 2, 2), (1, -1, 0)])
def test_a_tube_is_traced_and_a_ball_is_not(axis):
    shape = (40, 42, 41)
    mask = np.ones(shape, bool)
    tube = cylinder(shape, ACQ, radius_mm=1.2, axis=axis, chi_ppm=0.4).chi_ppm
    ball = sphere(shape, ACQ, radius_mm=2.5, centre_mm=(12.0, 12.0, -12.0), chi_ppm=0.4).chi_ppm
    tubes = vesselness(tube + ball, mask, (1, 1, 1), (0.7, 1.1, 1.8), 0.01)
    lines = trace_lines(tube + ball, mask, tubes, (1, 1, 1), start=0.04, shortest_mm=8)
    assert len(lines) == 1
    off = lines[0] - (np.array(shape) - 1) / 2
    way = np.array(axis) / np.linalg.norm(axis)
    beside = np.linalg.norm(off - np.outer(off @ way, way), axis=1)
    # At the grid's edges half of the tube is missing.
    assert np.median(beside) < 0.1 and beside.max() < 0.7
    assert np.linalg.norm(lines[0][-1] - lines[0][0]) > 34


def test_a_bent_line_is_cut_into_straight_pieces():
    leg = np.linspace(0, 20, 41)
    line = np.concatenate(
        [np.stack([leg, 0 * leg, 0 * leg], -1), np.stack([20 + 0 * leg, leg, 0 * leg], -1)[1:]]
    )
    pieces = straight_pieces(line, 1.0, 30.0)
    assert len(pieces) == 2 and abs(pieces[0].stop - 41) <= 1
    assert len(straight_pieces(line[:41], 1.0, 8.0)) > 2


@pytest.fixture(scope="module")
def truth():
    """Three veins of 2.5 mm, scanned without noise."""
    svo2 = [0.58, 0.72, 0.65]
    veins = vein_grid([5, 50, 90], [2.5], svo2, spacing_mm=16.0, length_mm=15.5, seed=3)
    phantom = vein_phantom(veins, radius_mm=29.0, voxel_size_mm=(0.5, 0.5, 0.5), seed=3)
    return simulate_scan(phantom, ACQ, snr=None), svo2


def _by_place(found, n=3):
    """SvO2 and diameter of the longest segment in each third along x."""
    out = [None] * n
    for s in found.segments:
        k = int(s.line_mm[:, 0].mean() / (found.labels.shape[0] / n))
        if out[k] is None or s.length_mm > out[k].length_mm:
            out[k] = s
    return out


def test_what_the_map_lost_is_found_in_the_field(truth):
    """Susceptibility comes from the field: a map with a third of it missing makes little difference."""
    s, svo2 = truth
    chi = np.where(s.mask, 0.67 * s.chi_ppm, 0)
    found = find_veins(chi, s.mask, s.acq, local_field=s.local_field_ppm)
    assert found.measured_from == "local field" and not any("field" in t for t in found.left_out)
    for true, seg, angle in zip(svo2, _by_place(found), (5, 50, 90)):
        o = oxygen_of(seg.chi_ppm, seg.chi_se, Blood())
        assert o.svo2 == pytest.approx(true, abs=0.04)
        assert abs(o.svo2 - true) < 2.5 * o.svo2_se
        assert seg.diameter_mm == pytest.approx(2.5, abs=0.15)
        assert seg.angle_deg == pytest.approx(angle, abs=4)
        # The map alone says far too much.
        assert oxygen_of(seg.map_ppm, 0, Blood()).svo2 > true + 0.08
    assert set(np.unique(found.labels)) == {0, *(seg.number for seg in found.segments)}


def test_without_a_field_it_says_so(truth):
    s, _ = truth
    found = find_veins(np.where(s.mask, s.chi_ppm, 0), s.mask, s.acq, r2star=s.r2star)
    assert found.measured_from == "susceptibility" and "no local field" in found.left_out[0]
    assert all(seg.r2star_contrast > 0 for seg in _by_place(found))


def test_no_veins_and_wrong_input():
    zero = np.zeros((30, 30, 30), np.float32)
    mask = np.ones(zero.shape, bool)
    assert find_veins(zero, mask, ACQ).segments == []
    with pytest.raises(InputError, match="diameters"):
        find_veins(zero, mask, ACQ, diameter_mm=(3, 2))
    with pytest.raises(InputError, match="same grid"):
        find_veins(zero, mask, ACQ, local_field=zero[1:])
    with pytest.raises(InputError, match="veins"):
        vein_grid([0, 90], [2.0], [0.6, 0.7, 0.8])
    vein = vein_grid([0], [2.0], [0.6])[0]
    with pytest.raises(InputError, match="wholly"):
        vein_phantom([replace(vein, centre_mm=(0, 0, 20))], radius_mm=25.0, voxel_size_mm=(1, 1, 1))
