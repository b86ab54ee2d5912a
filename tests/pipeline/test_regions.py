"""Label images and tables as files."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from chimap.errors import InputError
from chimap.pipeline.regions import as_tsv, dictionary, label_names, load_labels
from chimap.quantify.labels import FREESURFER

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def test_table_and_dictionary():
    rows = [
        {
            "label": 3,
            "name": "putamen",
            "voxels": 16,
            "mean_ppb": 1.5,
            "eroded_mean_ppb": None,
            "density": {},
        },
        {"label": 4, "name": "caudate", "voxels": 2, "mean_ppb": 2.0, "eroded_mean_ppb": 1.0},
    ]
    lines = as_tsv(rows).splitlines()
    assert lines[0] == "label\tname\tvoxels\tmean_ppb\teroded_mean_ppb"
    assert lines[1] == "3\tputamen\t16\t1.5\tn/a"
    about = dictionary(rows, "CSF", AgeYears=40)
    assert about["mean_ppb"]["Units"] == "ppb" and about["Reference"] == "CSF" and about["AgeYears"] == 40
    assert set(lines[0].split("\t")) <= about.keys() and json.dumps(about)
    assert as_tsv([]).startswith("label\tname\tvoxels")


def test_names(tmp_path):
    image = tmp_path / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    image.parent.mkdir(parents=True)
    assert label_names(image) == {}
    (tmp_path / "dseg.tsv").write_text("index\tname\n3\tputamen\n")
    assert label_names(image) == {3: "putamen"}
    (image.parent / "sub-01_dseg.tsv").write_text("number\tname\n3\tputamen\n")
    with pytest.raises(InputError, match="index and name"):
        label_names(image)
    lut = tmp_path / "lut.txt"
    lut.write_text(
        "#No. Label Name: R G B A\n\n12  Left-Putamen  236 13 176 0\n51 Right-Putamen 236 13 176 0\n"
    )
    assert label_names(image, lut) == {12: "Left-Putamen", 51: "Right-Putamen"}
    with pytest.raises(InputError, match="no such file"):
        label_names(image, tmp_path / "none.tsv")


def test_labels_of_another_grid(tmp_path):
    labels = np.zeros((8, 8, 8), np.int16)
    labels[1, 2, 3], labels[5, 2, 3], labels[2, 2, 2], labels[6, 2, 2] = 12, 51, 11, 50
    fine = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    own = np.eye(4)
    own[:3, 3] = -0.5
    nib.save(nib.Nifti1Image(fine, own), tmp_path / "aseg.nii.gz")
    found, names, note = load_labels(tmp_path / "aseg.nii.gz", labels.shape, AFFINE)
    assert (found == labels).all() and "another grid" in note and names == FREESURFER
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "same.nii.gz")
    assert load_labels(tmp_path / "same.nii.gz", labels.shape, AFFINE)[2] == ""
    far = AFFINE.copy()
    far[:3, 3] = 500
    with pytest.raises(InputError, match="no label lies in the scan"):
        load_labels(tmp_path / "same.nii.gz", labels.shape, far)
