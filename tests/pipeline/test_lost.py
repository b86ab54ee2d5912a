"""Voxels without a usable field are labelled with the reason and counted; the mask stays."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.cli._report import excluded_caption
from chimap.io.inputs import find_scans
from chimap.masking.reliability import REASONS
from chimap.pipeline import plan
from chimap.pipeline.lost import lost_voxels
from chimap.pipeline.plan import Options
from chimap.pipeline.run import run_scan
from chimap.results import Field

ACQ = Acquisition((0.004, 0.012, 0.020), 3.0, voxel_size_mm=(2.0, 2.0, 2.0))


def ball():
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 for n in (40, 36, 32)), indexing="ij")
    mask = x**2 + y**2 + z**2 < 13**2
    low = np.float32(1e-4)
    field = Field(np.zeros(mask.shape, np.float32), low * mask, mask, residual=np.float32(0.05) * mask)
    return field, 100 * mask.astype(np.float32)


def test_labels_and_counts():
    field, magnitude = ball()
    field.residual[20, 18, 16] = 3.0
    field.noise_ppm[20, 18, 20:22] = 5.0
    magnitude[8:11][field.mask[8:11]] = 0
    labels, record = lost_voxels(field, ACQ, magnitude)
    names = {v: k for k, v in REASONS.items()}
    assert labels.dtype == np.uint8 and not labels[~field.mask].any()
    assert labels[20, 18, 16] == names["misfit of the echoes"]
    assert (labels[20, 18, 20:22] == names["noisy field"]).all()
    rim = int(field.mask[8:11].sum())
    assert record["voxels"] == {"low signal": rim, "noisy field": 2, "misfit of the echoes": 1}
    whole = field.mask.sum()
    assert record["share"] == pytest.approx((rim + 3) / whole, abs=1e-5)
    assert record["rim_share"] == pytest.approx(rim / whole, abs=1e-5)


def test_what_is_not_known_is_left_out():
    field, _ = ball()
    labels, record = lost_voxels(Field(field.field_ppm, None, field.mask), ACQ, None)
    assert not labels.any() and record["voxels"] == {} and record["share"] == record["rim_share"] == 0


def test_a_run_keeps_them(coarse, tmp_path):
    (scan,) = find_scans(coarse.bids, tmp_path / "work")
    result = run_scan(scan, tmp_path / "out", Options(preset="fast"))
    about = result.done["field"].record["excluded"]
    path = result.done["field"][plan.EXCLUDED.suffix].path
    labels = np.asarray(nib.load(path).dataobj)
    assert labels.dtype == np.uint8
    counts = {about["labels"][str(k)]: int(n) for k, n in enumerate(np.bincount(labels.ravel())) if k and n}
    assert about["voxels"] == counts and 0 <= about["rim_share"] <= about["share"] < 0.05
    side = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert side["Chimap"]["excluded"] == about
    caption = excluded_caption(result)
    assert all(f"{name} (label" in caption and f": {n}" in caption for name, n in counts.items())
    assert {f["topic"] for f in result.findings} >= {"phase linearity", "echo agreement", "singularities"}
