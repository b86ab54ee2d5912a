"""The table of regions: its numbers, sides, violins, and labels from other grids."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.quantify.asymmetry import asymmetry_rows
from chimap.quantify.labels import FREESURFER, find_labels, looks_like_freesurfer, side_of
from chimap.quantify.regions import density, inner_voxels, region_rows, resample_labels


def test_numbers():
    labels = np.zeros((4, 4, 4), np.int32)
    labels[0], labels[1], labels[2] = 3, 7, 9
    mask = np.ones((4, 4, 4), bool)
    mask[2] = False
    chi = np.zeros((4, 4, 4), np.float32)
    chi[0], chi[1, :2], chi[1, 2:] = 0.1, 0.02, 0.04
    truth = chi + np.float32(1.0)
    rate = np.full((4, 4, 4), 20, np.float32)
    rate[0, 0] = 0
    noise = np.full((4, 4, 4), 0.004, np.float32)
    rows = region_rows(
        chi, labels, mask, (2, 2, 2), {3: "putamen"}, r2star=rate, noise_ppm=noise, truth_ppm=truth
    )
    assert [r["name"] for r in rows] == ["putamen", "label 7"]
    assert rows[0]["mean_ppb"] == 100 and rows[0]["sd_ppb"] == 0 and rows[0]["r2star_mean"] == 20
    second = rows[1]
    assert second["mean_ppb"] == second["median_ppb"] == 30 and second["sd_ppb"] == 10
    assert second["iqr_ppb"] == 20 and second["volume_mm3"] == 128
    assert second["se_ppb"] == pytest.approx(4 / np.sqrt(16))
    assert second["eroded_voxels"] == 0 and second["eroded_mean_ppb"] is None
    # The truth is taken relative to its mean over the mask, (16 * 0.1 + 16 * 0.03) / 48 above 1.
    assert rows[0]["truth_ppb"] == pytest.approx(100 - 1000 * (1.6 + 0.48) / 48, abs=0.02)
    assert region_rows(chi, labels * 0, mask, (1, 1, 1)) == []


def test_missing_maps_leave_out_their_columns():
    chi = np.zeros((3, 3, 3), np.float32)
    labels = np.ones((3, 3, 3), np.int32)
    (row,) = region_rows(chi, labels, chi == 0, (1, 1, 1))
    assert not {"r2star_mean", "se_ppb", "truth_ppb", "error_ppb"} & row.keys()
    with pytest.raises(InputError, match="shape"):
        region_rows(chi, labels[:2], chi == 0, (1, 1, 1))


def test_rim_is_left_out():
    labels = np.zeros((9, 9, 9), np.int32)
    labels[2:7, 2:7, 2:7] = 4
    mask = np.ones(labels.shape, bool)
    chi = np.where(labels == 4, np.float32(0.05), 0).astype(np.float32)
    chi[3:6, 3:6, 3:6] = 0.1
    (row,) = region_rows(chi, labels, mask, (1, 1, 1))
    assert row["eroded_voxels"] == 27 and row["eroded_mean_ppb"] == 100 and row["mean_ppb"] < 70
    mask[4, 4, 4] = False
    assert inner_voxels(labels, mask).sum() == 27 - 7


def test_density(rng):
    curve = density(rng.normal(30, 10, 5000))
    low, high = curve["ends_ppb"]
    at = np.linspace(low, high, len(curve["height"]))
    height = np.asarray(curve["height"])
    assert height.max() == 1 and abs((at * height).sum() / height.sum() - 30) < 1
    assert density(np.ones(4)) is None and density(np.ones(50)) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Left-Putamen", ("left", "putamen")),
        ("putamen_R", ("right", "putamen")),
        ("L_GPe", ("left", "gpe")),
        ("ctx-rh-cuneus", ("right", "cuneus")),
        ("red nucleus left", ("left", "red nucleus")),
        ("Brain-Stem", ("", "brain stem")),
        ("Right", ("", "right")),
    ],
)
def test_sides(name, expected):
    assert side_of(name) == expected


def test_asymmetry():
    rows = [
        {"name": "Left-Putamen", "mean_ppb": 50.0, "voxels": 9, "se_ppb": 3.0},
        {"name": "CSF", "mean_ppb": 0.0, "voxels": 5, "se_ppb": 1.0},
        {"name": "Right-Putamen", "mean_ppb": 44.5, "voxels": 8, "se_ppb": 4.0},
        {"name": "Left-Caudate", "mean_ppb": 1.0, "voxels": 8},
    ]
    (row,) = asymmetry_rows(rows)
    assert row["name"] == "putamen" and row["difference_ppb"] == 5.5 and row["difference_se_ppb"] == 5.0


def test_words_for_labels():
    present = [2, 4, 11, 12, 41, 43, 50, 51]
    assert looks_like_freesurfer(present) and not looks_like_freesurfer(range(1, 12))
    assert find_labels("wm", FREESURFER, present) == (2, 41)
    assert find_labels("csf", FREESURFER, present) == (4, 43)
    assert find_labels("Left-Putamen", FREESURFER, present) == (12,)
    assert find_labels("putamen", FREESURFER, present) == (12, 51)
    assert find_labels("2+41", {}, present) == (2, 41)
    with pytest.raises(InputError, match="Left-Caudate"):
        find_labels("amygdala", FREESURFER, present)


def test_other_grid(rng):
    labels = rng.integers(0, 5, (10, 12, 8))
    own = np.diag([2.0, 2.0, 2.0, 1.0])
    assert (resample_labels(labels, own, labels.shape, own) == labels).all()
    # Flipped and shifted: the same voxels in another order.
    flipped = np.diag([-2.0, 2.0, 2.0, 1.0])
    flipped[0, 3] = 18
    assert (resample_labels(labels, own, labels.shape, flipped) == labels[::-1]).all()
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = -0.5
    out = resample_labels(labels, own, (20, 24, 16), fine)
    assert (out == labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)).all()
    shift = np.eye(4)
    shift[1, 3] = 4
    moved = resample_labels(labels, own, labels.shape, own, shift)
    assert (moved[:, :-2] == labels[:, 2:]).all() and not moved[:, -2:].any()


def test_place_is_a_voxel_of_the_region():
    """Two parts of one label: the place lies in one of them, not in the gap between."""
    labels = np.zeros((20, 8, 6), np.int32)
    labels[2:5, 3:6, 2:5] = labels[14:18, 3:6, 2:5] = 7
    affine = np.array([[-2.0, 0, 0, 30], [0, 0, 3.0, -4], [0, 1.5, 0, 5], [0, 0, 0, 1]])
    (row,) = region_rows(
        np.ones(labels.shape, np.float32),
        labels,
        np.ones(labels.shape, bool),
        (2.0, 1.5, 3.0),
        affine=affine,
    )
    place = np.linalg.inv(affine) @ (row["x_mm"], row["y_mm"], row["z_mm"], 1)
    # The second part is larger, so the centre of both is nearer to it.
    assert np.allclose(place[:3], (14, 4, 3), atol=0.05)
    assert "x_mm" not in region_rows(np.ones(labels.shape, np.float32), labels, labels > 0, (2, 1.5, 3))[0]
