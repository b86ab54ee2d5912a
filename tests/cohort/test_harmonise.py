"""ComBat against its closed form and against sites whose effects are known."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.cohort.collect import Subject
from chimap.cohort.harmonise import combat, harmonise
from chimap.errors import InputError

REGIONS = 12
SHIFT, SCALE = np.array([0.0, 15.0, -10.0]), np.array([1.0, 2.0, 0.5])


def simulated(rng, n=(60, 50, 40), slope=0.6):
    """Values [ppb] of three sites with an age effect, whose oldest people are at the second site."""
    site = np.repeat(np.arange(len(n)), n)
    age = rng.uniform(20, 60, site.size) + 15 * (site == 1)
    age -= age.mean()
    mean = rng.uniform(-50, 150, REGIONS)
    noise = rng.normal(0, 5, (site.size, REGIONS))
    # Regions of a site are alike, not the same.
    shift = SHIFT[: len(n), None] + rng.normal(0, 1, (len(n), REGIONS))
    clean = mean + slope * age[:, None] + noise
    return mean + slope * age[:, None] + shift[site] + SCALE[site, None] * noise, clean, site, age[:, None]


def test_without_pooling_each_site_gets_the_common_mean_and_spread(rng):
    values, _, site, _ = simulated(rng)
    found = combat(values, site, np.empty((site.size, 0)), pool=False)
    count = np.bincount(site)
    means = np.stack([values[site == i].mean(axis=0) for i in range(3)])
    common = count @ means / count.sum()
    sd = np.sqrt(((values - means[site]) ** 2).mean(axis=0))
    for i in range(3):
        part = found.values[site == i]
        assert np.allclose(part.mean(axis=0), common)
        assert np.allclose(part.std(axis=0, ddof=1), sd)
        assert np.allclose(found.shift[i], means[i] - common)
        assert np.allclose(found.scale[i], values[site == i].std(axis=0, ddof=1) / sd)


def test_known_shifts_and_scales_are_taken_off_and_the_slope_stays(rng):
    values, clean, site, age = simulated(rng)
    found = combat(values, site, age)
    assert np.allclose(found.shift.mean(axis=1) - found.shift.mean(), SHIFT - SHIFT.mean(), atol=2.5)
    assert np.allclose((found.scale / found.scale[0]).mean(axis=1), SCALE, rtol=0.15)
    slopes = np.polyfit(age[:, 0], found.values, 1)[0]
    assert np.allclose(slopes, np.polyfit(age[:, 0], clean, 1)[0], atol=0.12)
    assert slopes.mean() == pytest.approx(0.6, abs=0.06)
    # Without the covariate the oldest site's part of the slope would go with the site.
    wrong = combat(values, site, np.empty((site.size, 0)))
    assert np.polyfit(age[:, 0], wrong.values, 1)[0].mean() < 0.5
    # What the sites had in common is as it was.
    assert np.std(found.values - clean) < 0.5 * np.std(values - values.mean(0) - clean + clean.mean(0))


def test_few_scans_are_drawn_to_the_other_regions(rng):
    values, _, site, age = simulated(rng, n=(60, 4))
    pooled, plain = combat(values, site, age), combat(values, site, age, pool=False)
    assert pooled.shift[1].std() < 0.8 * plain.shift[1].std()
    assert pooled.scale[1].std() < 0.5 * plain.scale[1].std()


def test_missing_values_and_regions_without_spread(rng):
    values, _, site, age = simulated(rng)
    values[:, 0] = 3.0
    values[site == 2, 1] = np.nan
    values[5, 2] = np.nan
    found = combat(values, site, age).values
    assert np.isnan(found[:, :2]).all() and np.isnan(found[5, 2])
    assert np.isfinite(np.delete(found[:, 2], 5)).all() and np.isfinite(found[:, 3:]).all()


def test_a_covariate_that_is_the_site(rng):
    values, _, site, _ = simulated(rng)
    with pytest.raises(InputError, match="depend on one another"):
        combat(values, site, (site == 1)[:, None].astype(float))


def subjects(rng, sites):
    return [
        Subject(
            name=f"sub-{n}",
            entities={"sub": str(n)},
            report="",
            measures={},
            regions=[
                {
                    "label": r,
                    "name": f"r{r}",
                    "mean_ppb": float(20 * r + rng.normal(0, 3) + 30 * (site == "B")),
                }
                for r in range(4)
            ],
            reference="whole",
            recipe="",
            participant={"site": site} if site else {},
        )
        for n, site in enumerate(sites)
    ]


def test_scans_of_a_cohort(rng):
    people = subjects(rng, ["A"] * 10 + ["B"] * 8 + ["C"] * 2 + [""])
    taken, said = harmonise(people, "site", ["site"])
    value = {p.name: [r.get("mean_ppb_harmonised") for r in p.regions] for p in people}
    assert value["sub-18"] == value["sub-20"] == [None] * 4
    a, b = (np.mean([value[f"sub-{n}"] for n in some], axis=0) for some in (range(10), range(10, 18)))
    assert np.allclose(a, b, atol=2)
    assert [r["scans"] for r in taken] == [10] * 4 + [8] * 4
    assert "A (10 scans), B (8 scans)" in said[0] and "no covariate kept" in said[0]
    assert "sub-18, sub-19, sub-20" in said[1]


def test_one_site_is_not_enough(rng):
    with pytest.raises(InputError, match="two sites of at least 3 scans"):
        harmonise(subjects(rng, ["A"] * 10 + ["B"] * 2), "site", [])
