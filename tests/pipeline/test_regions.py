"""The region table and the names of labels."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.pipeline.regions import as_tsv, csf_region, label_names, region_table


def test_table():
    labels = np.zeros((4, 4, 4), np.int32)
    labels[0], labels[1], labels[2] = 3, 7, 9
    mask = np.ones((4, 4, 4), bool)
    mask[2] = False
    chi = np.zeros((4, 4, 4), np.float32)
    chi[0], chi[1, :2], chi[1, 2:] = 0.1, 0.02, 0.04
    truth = chi + np.float32(1.0)
    rows = region_table(chi, labels, mask, 8.0, {3: "putamen"}, truth)
    assert [r["name"] for r in rows] == ["putamen", "label 7"]
    assert rows[0]["mean_ppb"] == 100 and rows[0]["sd_ppb"] == 0
    assert rows[1]["mean_ppb"] == 30 and rows[1]["sd_ppb"] == 10 and rows[1]["volume_ml"] == 0.128
    # The truth is taken relative to its mean over the mask, (16 * 0.1 + 16 * 0.03) / 48 above 1.
    assert rows[0]["truth_ppb"] == pytest.approx(100 - 1000 * (1.6 + 0.48) / 48, abs=0.02)
    assert as_tsv(rows).splitlines()[1].startswith("3\tputamen\t16\t")
    assert region_table(chi, labels * 0, mask, 1.0) == []


def test_names(tmp_path):
    image = tmp_path / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    image.parent.mkdir(parents=True)
    assert label_names(image) == {}
    (tmp_path / "dseg.tsv").write_text("index\tname\n3\tputamen\n")
    assert label_names(image) == {3: "putamen"}
    (image.parent / "sub-01_dseg.tsv").write_text("number\tname\n3\tputamen\n")
    with pytest.raises(InputError, match="index and name"):
        label_names(image)


def test_csf():
    r2star = np.full((40, 40, 40), 20, np.float32)
    r2star[18:24, 15:25, 18:24] = 2
    r2star[0:2] = 1
    mask = np.ones(r2star.shape, bool)
    found = csf_region(r2star, mask, (2.0, 2.0, 2.0))
    assert (found == (r2star == 2)).all()
    with pytest.raises(InputError, match="no CSF"):
        csf_region(np.full_like(r2star, 20), mask, (1.0, 1.0, 1.0))
