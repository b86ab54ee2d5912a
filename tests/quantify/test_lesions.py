"""Lesions: found, told from vessels, named by their sign, measured from the field."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.dipole import forward_field
from chimap.quantify._blobs import find_blobs
from chimap.quantify._vesselness import axes_mm, blobness, connected, curvatures
from chimap.quantify.lesions import STAGES, find_lesions, stage_hint
from chimap.quantify.moment import Source, fit_moments, integral
from chimap.quantify.rim import score_rims
from chimap.quantify.tumour import split

SHAPE = (56, 60, 52)
ACQ = Acquisition((0.02,), 3.0, (0.1, -0.2, 0.97), (1.0, 1.0, 1.2))


def _grid(centre):
    axes = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    return [(a - c) * v for a, c, v in zip(axes, centre, ACQ.voxel_size_mm)]


def _ball(centre, diameter):
    """Share of each voxel in a ball, soft over a voxel."""
    x, y, z = _grid(centre)
    return np.clip(0.5 + (diameter / 2 - np.sqrt(x * x + y * y + z * z)), 0, 1).astype(np.float32)


TRUE = (
    ((18.0, 20.0, 16.0), 5.0, 0.9),
    ((38.3, 22.4, 30.2), 3.0, 0.8),
    ((20.0, 44.0, 34.0), 4.0, -1.2),
    ((40.0, 40.0, 18.0), 7.0, 0.5),
)


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(4)
    x, y, z = _grid((28, 30, 26))
    mask = x * x + y * y + z * z < 26**2
    chi = rng.normal(0, 0.01, SHAPE).astype(np.float32)
    r2star = np.full(SHAPE, 20, np.float32) + rng.normal(0, 1, SHAPE).astype(np.float32)
    for centre, diameter, value in TRUE:
        share = _ball(centre, diameter)
        chi += share * np.float32(value)
        r2star += share * 80
    # A straight vein of 3 mm along a diagonal.
    x, y, z = _grid((28, 30, 8))
    along = (x + y) / np.sqrt(2)
    vein = np.sqrt(np.maximum(x * x + y * y + z * z - along**2, 0)) < 1.5
    chi[np.broadcast_to(vein, SHAPE)] += 0.3
    r2star[np.broadcast_to(vein, SHAPE)] += 20
    field = forward_field(np.where(mask, chi, 0), ACQ)
    field += rng.normal(0, 0.002, SHAPE).astype(np.float32)
    return np.where(mask, chi, 0), mask, field * mask, np.where(mask, r2star, 0)


@pytest.fixture(scope="module")
def result(scene):
    chi, mask, field, r2star = scene
    regions = np.zeros(SHAPE, int)
    regions[:28], regions[28:] = 1, 2
    affine = np.diag([-1.0, 1.0, 1.2, 1.0])
    names = {1: "one", 2: "two"}
    return find_lesions(
        chi, mask, ACQ, local_field=field, r2star=r2star, regions=regions, names=names, affine=affine
    )


def _of(result, centre):
    return next(r for r in result.found if np.linalg.norm(np.subtract(r.index, centre)) < 1.5)


def test_all_found_and_the_vein_is_not(result):
    assert len(result.found) == len(TRUE)
    assert not result.left_out
    assert set(np.unique(result.labels)) == {0, 1, 2, 3, 4}
    assert any("vessel" in why for *_, why in result.rejected)


@pytest.mark.parametrize("centre, diameter, value", TRUE)
def test_kind_moment_and_size(result, centre, diameter, value):
    found = _of(result, centre)
    true = float(_ball(centre, diameter).sum()) * value * 1.2
    assert found.kind == ("haemorrhage" if value > 0 else "calcification")
    assert found.moment == pytest.approx(true, rel=0.15)
    assert 0 < found.moment_error < 0.3 * abs(true)
    assert found.moment_from == "local field"
    assert found.diameter_mm == pytest.approx(diameter, rel=0.25)
    assert found.position_mm[0] == pytest.approx(-found.index[0]) and found.position_mm[2] > 0
    assert found.region == ("one" if centre[0] < 28 else "two") and found.region_distance_mm == 0
    assert result.labels[tuple(np.rint(found.index).astype(int))] == found.number
    assert bool(found.hint) == (value > 0)


def test_missing_inputs_leave_out_what_needs_them(scene):
    chi, mask, *_ = scene
    found = find_lesions(chi, mask, ACQ)
    assert len(found.found) == len(TRUE)
    assert len(found.left_out) == 4
    one = found.found[0]
    assert one.moment_from == "susceptibility" and one.position_mm is None and one.region == ""
    assert np.isnan(one.r2star_contrast) and np.isnan(one.dark_volume_mm3)


def test_input_errors(scene):
    chi, mask, *_ = scene
    with pytest.raises(InputError, match="label image"):
        find_lesions(chi, mask, ACQ, regions=np.ones((3, 3, 3)))
    with pytest.raises(InputError, match="diameters"):
        find_lesions(chi, mask, ACQ, diameter_mm=(5, 2))
    with pytest.raises(InputError, match="r2star has shape"):
        find_lesions(chi, mask, ACQ, r2star=np.ones((4, 4, 4)))


def test_moment_does_not_depend_on_what_the_map_lost(scene):
    """Half of the susceptibility gone, and some of it spread around: the field knows."""
    _, mask, _, _ = scene
    source = _ball((28, 30, 26), 4)
    field = forward_field(source, ACQ)
    region = source > 0.5
    box = (slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(0, SHAPE[2]))
    s = Source(box, region, 0.0)
    true = float(source.sum()) * 1.2
    fit = fit_moments(np.float32(0.5) * source, field, mask, ACQ, [s])[0]
    total = integral(np.float32(0.5) * source, mask, s, ACQ.voxel_size_mm)
    assert fit.moment == pytest.approx(true, rel=0.05)
    assert total.moment == pytest.approx(0.5 * true, rel=0.05)


def test_blobs_and_shape(rng):
    volume = _ball((20, 20, 20), 6) - _ball((40, 40, 30), 4)
    found = find_blobs(volume, np.ones(SHAPE, bool), (1, 1, 1.2), threshold=0.1)
    assert [np.sign(f.response) for f in found[:2]] == [1, -1] and found[0].scale_mm > found[1].scale_mm
    assert blobness(curvatures(volume, (20, 20, 20), 1.7, (1, 1, 1.2))) > 0.85
    tube = np.zeros((30, 30, 30), np.float32)
    tube[13:16, 13:16] = 1
    assert blobness(curvatures(tube, (14, 14, 14), 1.0, (1, 1, 1))) < 0.1
    lengths = axes_mm(connected(tube > 0.5, (14, 14, 14)), (1, 1, 1))
    assert lengths[0] > 5 * lengths[1]


def test_hint():
    assert stage_hint(-1.0, 5, 1) == ""
    assert stage_hint(1.0, 2, 1) == "too small for a hint"
    assert stage_hint(0.40, 8, 1).startswith("hint: late subacute")
    assert stage_hint(3.0, 8, 1) == "hint: outside published ranges"
    assert len(STAGES) == 5


def test_rim(rng):
    x, y, z = _grid((28, 30, 26))
    r = np.sqrt(x * x + y * y + z * z)
    mask = r < 24
    noise = rng.normal(0, 0.004, SHAPE).astype(np.float32)
    lesion = r < 7
    shell = np.exp(-0.5 * ((r - 6.5) / 1.0) ** 2).astype(np.float32)
    with_rim = score_rims(noise + 0.05 * shell + 0.01 * lesion, lesion, mask, ACQ)[0]
    assert with_rim.rim and with_rim.coverage > 0.9 and with_rim.rim_core_ppm > 0.02
    for flat in (0.0, 0.04):
        none = score_rims(noise + np.float32(flat) * lesion, lesion, mask, ACQ)[0]
        assert not none.rim and none.coverage < 0.4
    half = score_rims(noise + 0.05 * shell * (x > 0), lesion, mask, ACQ)[0]
    assert not half.rim and 0.3 < half.coverage < 0.65
    small = score_rims(noise, r < 2, mask, ACQ)[0]
    assert np.isnan(small.coverage) and "too small" in small.note


def test_tumour(scene):
    chi, mask, field, _ = scene
    x, y, z = _grid((28, 30, 26))
    roi = (x * x + y * y + z * z < 20**2) & mask
    roi &= ~np.broadcast_to(np.arange(SHAPE[2]) < 12, SHAPE)
    s = split(chi, roi, mask, ACQ, local_field=field)
    blood = sum(float(_ball(c, d).sum()) * v * 1.2 for c, d, v in TRUE if v > 0)
    calcium = sum(float(_ball(c, d).sum()) * v * 1.2 for c, d, v in TRUE if v < 0)
    assert s.haemorrhage.parts == 3 and s.calcification.parts == 1
    assert s.haemorrhage.moment == pytest.approx(blood, rel=0.15)
    assert s.calcification.moment == pytest.approx(calcium, rel=0.15)
    assert (s.labels == 1).sum() * 1.2 == pytest.approx(s.haemorrhage.volume_mm3, rel=1e-5)
    nothing = split(np.zeros(SHAPE), roi, mask, ACQ)
    assert nothing.haemorrhage.parts == 0 and np.isnan(nothing.haemorrhage.moment)
    with pytest.raises(InputError, match="no voxel"):
        split(chi, ~mask, mask, ACQ)
