"""Calibration: vials found, the line, the correction; a phantom of known concentrations from the phase on."""

from __future__ import annotations

import numpy as np
import pytest
from vial_scans import CONCENTRATION_MM, LENGTH_MM, MOLAR_PPM, RADIUS_MM, combined, vial_scan

import chimap
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.quantify.agents import AGENTS, molar_susceptibility
from chimap.quantify.calibration import apply_correction, calibrate, correction, match_by_rank
from chimap.quantify.susceptometry import susceptometry
from chimap.quantify.vials import find_vials, measure, vials_from_labels
from chimap.simulate.vials import vials as phantom_of_vials

VOXEL = (2.0, 2.0, 2.0)


@pytest.mark.parametrize("b0_t", [1.5, 3.0, 7.0])
def test_slope_from_the_phase_on(b0_t):
    acq, scan = vial_scan(b0_t)
    mask = chimap.brain_mask(
        scan.magnitude, acq, method="recipe", recipe="magnitude,threshold,fill,largest,erode:4.5"
    )
    field = chimap.estimate_field(scan.phase, mask, acq, magnitude=scan.magnitude)
    found = find_vials(combined(scan), mask, VOXEL, count=6)
    chi = susceptometry(
        field.field_ppm,
        found,
        field.mask,
        acq,
        remove=lambda f, m: chimap.remove_background(f, m, acq, method="lbv"),
        radius_mm=RADIUS_MM,
        length_mm=LENGTH_MM,
    )
    line = calibrate(CONCENTRATION_MM, 1000 * chi.chi_ppm, expected_ppb_per_mm=1000 * MOLAR_PPM)
    assert line.ratio == pytest.approx(1, abs=0.03)
    assert line.agrees and line.slope_ci_scale[0] < 1000 * MOLAR_PPM < line.slope_ci_scale[1]
    assert line.r2 > 0.998 and line.linear
    assert abs(line.intercept) < 8


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0)])
def test_vials_are_found_where_they_are(direction):
    _, scan = vial_scan(3.0, direction)
    found = find_vials(combined(scan), scan.mask, VOXEL)
    assert found.count == 6 and found.axis == 2
    middle = (np.array(scan.mask.shape) - 1) / 2 * 2.0
    for n in range(6):
        where = 26 * np.array([np.cos(n * np.pi / 3), np.sin(n * np.pi / 3)])
        assert np.linalg.norm(found.centre_mm[n, :2] - middle[:2] - where) < 1
        assert found.radius_mm[n] == pytest.approx(RADIUS_MM, abs=0.8)
        assert found.length_mm[n] == pytest.approx(LENGTH_MM, abs=4)
        inside = scan.labels[found.labels == n + 1]
        assert np.mean(inside == n + 1) > 0.95


def test_measured_in_the_true_map():
    _, scan = vial_scan(3.0)
    rows = measure(
        scan.chi_ppm + 0.05 * scan.mask,
        vials_from_labels(np.where(scan.labels < 7, scan.labels, 0), VOXEL),
        scan.mask,
        VOXEL,
    )
    for row, c in zip(rows, CONCENTRATION_MM):
        assert row["mean_ppb"] == pytest.approx(1000 * MOLAR_PPM * c, abs=1)
        assert row["water_ppb"] == pytest.approx(50, abs=0.5) and row["water_voxels"] > 100


def test_no_vials_is_said():
    magnitude = np.full((24, 24, 24), 100, np.float32)
    mask = np.ones(magnitude.shape, bool)
    with pytest.raises(InputError, match="no vials"):
        find_vials(magnitude, mask, VOXEL)
    _, scan = vial_scan(3.0)
    with pytest.raises(InputError, match="6 vials were found in the magnitude, not 9"):
        find_vials(combined(scan), scan.mask, VOXEL, count=9)


def test_interval_holds_the_truth_as_often_as_it_says(rng):
    c = np.linspace(0.2, 1.2, 6)
    held = 0
    for _ in range(400):
        line = calibrate(c, 330 * c + rng.normal(0, 4, 6), expected_ppb_per_mm=330, scale_sd=0.0)
        held += line.agrees
    assert 0.92 < held / 400 < 0.98


def test_curvature_is_seen(rng):
    c = np.linspace(0, 2, 8)
    y = 300 * c - 30 * c**2 + rng.normal(0, 1, 8)
    found = calibrate(c, y)
    assert found.linear is False and found.curvature_p < 1e-4
    assert any("molar" in what for what in found.left_out) and found.ratio is None


def test_unlike_scans_are_seen(rng):
    c = np.tile(np.linspace(0.2, 1.2, 6), 3)
    names, fields = np.repeat(["a", "b", "c"], 6), np.repeat([1.5, 3.0, 7.0], 6)
    noise = rng.normal(0, 1.5, 18)
    like = calibrate(c, 330 * c + noise, scan=names, b0_t=fields, expected_ppb_per_mm=330)
    assert [r["same"] for r in like.consistency] == [True, True] and len(like.groups) == 3
    gain = np.repeat([1.0, 1.0, 0.93], 6)
    unlike = calibrate(c, 330 * c * gain + noise, scan=names, b0_t=fields)
    assert [r["same"] for r in unlike.consistency] == [False, False]
    assert unlike.consistency[1]["largest_difference_percent"] == pytest.approx(7, abs=2)
    # The same factor for the same scans cannot be told apart by angle: there was none.
    assert any("angle" in what for what in unlike.left_out)


def test_correction_brings_the_slope_back(rng):
    c = np.linspace(0.2, 1.2, 6)
    found = calibrate(c, 0.88 * 330 * c, expected_ppb_per_mm=330)
    record = correction(found, Agent="gadolinium")
    assert record["Factor"] == pytest.approx(1 / 0.88) and record["Agent"] == "gadolinium"
    chi = rng.normal(0, 0.1, (6, 7, 8)).astype(np.float32)
    mask = chi > -0.1
    out, facts = apply_correction(chi, mask, record)
    assert np.allclose(out[mask], chi[mask] / 0.88) and not out[~mask].any()
    assert facts["CalibrationFactor"] == record["Factor"] and facts["CalibrationBeyondRangePercent"] < 1
    with pytest.raises(InputError, match="no calibration"):
        apply_correction(chi, mask, {"Factor": 2.0})
    with pytest.raises(InputError, match="molar"):
        correction(calibrate(c, 300 * c))
    with pytest.raises(InputError, match="nothing to correct"):
        correction(calibrate(c, -300 * c, expected_ppb_per_mm=330))


@pytest.mark.parametrize("c", [[0.1, 0.2], [0.3, 0.3, 0.3], [0.1, 0.2, float("nan")]])
def test_too_little_for_a_line(c):
    with pytest.raises(InputError):
        calibrate(c, [10.0 * n for n in range(len(c))])


def test_molar_susceptibilities():
    # Curie constants of 7.88 and 4.38 K cm3/mol (cgs), times 4 pi, over the temperature.
    assert molar_susceptibility("gadolinium", 25) == pytest.approx(4 * np.pi * 7.88 / 298.15, rel=0.003)
    assert molar_susceptibility("manganese", 25) == pytest.approx(4 * np.pi * 4.38 / 298.15, rel=0.003)
    assert molar_susceptibility("ferritin") == pytest.approx(1.10 * 55.845 / 1000, rel=0.01)
    assert molar_susceptibility("gadolinium", 37) < molar_susceptibility("gadolinium", 20)
    assert all(a.doi.startswith("10.") for a in AGENTS.values())
    with pytest.raises(InputError, match="Choose one of"):
        molar_susceptibility("plutonium")


def test_ranks():
    assert match_by_rank([3, 1, 2], [0.5, 0.9, 0.1]) == [2, 3, 1]
    with pytest.raises(InputError):
        match_by_rank([1, 2], [0.1])


def test_phantom_that_does_not_fit():
    acq = Acquisition((0.01,), 3.0, voxel_size_mm=(1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="do not fit"):
        phantom_of_vials((40, 40, 40), acq, concentration_mm=(1, 2, 3), radius_mm=9)
    lying = phantom_of_vials((48, 40, 40), acq, concentration_mm=(0.5,), radius_mm=5, axis="x")
    assert lying.chi_ppm[24, 20, 20] == pytest.approx(0.5 * 0.3256, rel=1e-5)
    assert lying.labels[24, 20, 20] == 1 and lying.mask[24, 20, 30]
