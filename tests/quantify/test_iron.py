"""Iron: calibrations, normal values by age, and iron apart from myelin."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.quantify import iron
from chimap.quantify.myelin import TwoSources, fit_two_sources, iron_and_myelin, two_source_sd
from chimap.report.iron import iron_chart


@pytest.mark.parametrize(
    ("region", "at_30"), [("globus pallidus", 203.41), ("putamen", 106.77), ("caudate", 78.35)]
)
def test_curves_give_the_published_values_at_30_years(region, at_30):
    assert iron.normal_iron(region, 30) == pytest.approx(at_30, abs=0.01)


@pytest.mark.parametrize("region", iron.CURVES)
def test_curves_agree_with_the_tabulated_mean_of_adults(region):
    mean, sd = iron.ADULTS[region]
    over_adults = iron.normal_iron(region, np.linspace(30, 100, 71)).mean() / 10
    assert abs(over_adults - mean) < 0.25 * sd


def test_curve_limits():
    assert iron.normal_iron("putamen", 0) == pytest.approx(4.6)
    with pytest.raises(InputError, match="no age curve"):
        iron.normal_iron("red nucleus", 40)
    for age in (-1, 130, float("nan")):
        with pytest.raises(InputError, match="age"):
            iron.normal_iron("putamen", age)


def test_calibrations():
    post_mortem, ferritin = iron.CALIBRATIONS["langkammer2012"], iron.CALIBRATIONS["zheng2013"]
    assert iron.iron_mg_kg(89.0, post_mortem) == pytest.approx(100)
    assert iron.iron_mg_kg(np.array([110.0, 55.0]), ferritin) == pytest.approx([100, 50])
    # 8 % of the slope and 2.2 ppb of 110.
    assert iron.iron_sd_mg_kg(110.0, 2.2, ferritin) == pytest.approx(np.hypot(2.0, 100 * 0.08 / 1.1))
    assert iron.iron_sd_mg_kg(110.0, None, post_mortem) is None
    assert [iron.flag(v, post_mortem) for v in (10, 100, 400)] == ["below", "", "above"]
    own = iron.calibration(slope=1.2, iron_free_ppb=-10, range_mg_kg=(0, 500))
    assert iron.iron_mg_kg(50.0, own) == pytest.approx(50) and own.name == "own"
    assert "−10" in iron.said_of(own, "CSF").replace("-", "−") and "CSF" in iron.said_of(own, "CSF")
    with pytest.raises(InputError, match="langkammer2012"):
        iron.calibration("nobody1999")
    with pytest.raises(InputError, match="slope"):
        iron.calibration(slope=0.0)


def test_rows():
    rows = [
        {"name": "Left-Pallidum", "mean_ppb": 178.0, "se_ppb": 0.89},
        {"name": "red nucleus", "mean_ppb": 400.0},
        {"name": "white matter", "mean_ppb": -30.0},
    ]
    gp, rn, wm = iron.iron_rows(rows, age_years=30)
    assert gp["iron_mg_kg"] == 200 and gp["iron_sd_mg_kg"] == 1 and gp["iron_flag"] == ""
    assert gp["normal_mg_kg"] == 203.4 and gp["normal_sd_mg_kg"] == 34.9
    assert rn["iron_flag"] == "above" and rn["normal_mg_kg"] == 194.8 and wm == rows[2]
    assert iron.iron_rows(rows)[0]["normal_mg_kg"] == 213
    # The rim holds two tissues: it is left out where enough remains.
    for voxels, expected in ((19, 200), (20, 220)):
        (row,) = iron.iron_rows([{**rows[0], "eroded_mean_ppb": 195.8, "eroded_voxels": voxels}])
        assert row["iron_mg_kg"] == expected
        assert row["iron_from"] == ("whole region" if expected == 200 else "without rim")


def test_chart():
    rows = iron.iron_rows([{"name": "Left-Pallidum", "mean_ppb": 178.0}, {"name": "x<y", "mean_ppb": 1.0}])
    assert "<circle" in iron_chart(rows, 30) and "stroke-dasharray" in iron_chart(rows)
    assert iron_chart([]) == "" and iron_chart(rows[1:]) == ""


MODEL = TwoSources(0.9, -150.0, 0.12, 40.0, chi_rest=10.0, r2star_rest=6.0)


def test_two_sources_and_their_fit(rng):
    fe, my = rng.uniform(10, 250, (6, 7, 8)), rng.uniform(0, 0.4, (6, 7, 8))
    chi = (0.9 * fe - 150 * my + 10) / 1000
    rate = 0.12 * fe + 40 * my + 6
    mask = np.ones(fe.shape, bool)
    mask[0] = False
    found = iron_and_myelin(chi.astype(np.float32), rate.astype(np.float32), mask, MODEL)
    for volume, true in zip(found, (fe, my)):
        assert volume.dtype == np.float32 and not volume[~mask].any()
        assert np.allclose(volume[mask], true[mask], rtol=1e-3, atol=1e-3)
    fitted, residual = fit_two_sources(1000 * chi[:, 0, 0], rate[:, 0, 0], fe[:, 0, 0], my[:, 0, 0])
    assert np.allclose(fitted.matrix, MODEL.matrix, rtol=1e-5) and residual["chi_sd_ppb"] < 1e-6
    assert fitted.chi_rest == pytest.approx(10) and fitted.r2star_rest == pytest.approx(6)


def test_never_negative_and_best_compromise():
    # More diamagnetic than R2* allows: no iron, myelin between what either map says.
    chi, rate = np.full((1, 1, 1), -0.08, np.float32), np.full((1, 1, 1), 10.0, np.float32)
    fe, my = iron_and_myelin(chi, rate, chi < 0, MODEL)
    assert fe.item() == 0 and 4 / 40 < my.item() < 90 / 150


def test_uncertainty(rng):
    sd = two_source_sd(MODEL, 5.0, 1.0)
    b = rng.normal(0, 1, (2, 40000)) * [[5.0], [1.0]]
    assert np.allclose(np.linalg.solve(MODEL.matrix, b).std(axis=1), sd, rtol=0.02)


def test_hopeless_coefficients():
    with pytest.raises(InputError, match="do not tell"):
        TwoSources(1.0, 10.0, 0.1, 1.0)
    with pytest.raises(InputError, match="finite"):
        TwoSources(1.0, float("nan"), 0.1, 1.0)
    fe = np.array([10, 50, 100, 200.0])
    with pytest.raises(InputError, match="independently"):
        fit_two_sources(fe, fe, fe, fe / 1000)
    with pytest.raises(InputError, match="four regions"):
        fit_two_sources(fe[:3], fe[:3], fe[:3], fe[:3])
