"""Which labels belong to a scan, and in which space they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.io.bids_anat import Anatomy, find_anatomy
from chimap.io.nifti import save_volume
from chimap.io.scan import Scan

GRE, T1W = np.diag([2.0, 2, 3, 1]), np.diag([1.0, 1, 1, 1])


def image(path: Path, affine=T1W) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_volume(path, np.ones((6, 5, 4), np.float32), affine)
    return path


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / "bids"
    phase = image(root / "sub-01/ses-1/anat/sub-01_ses-1_part-phase_MEGRE.nii.gz", GRE)
    scan = Scan(name="sub-01_ses-1", entities={"sub": "01", "ses": "1", "part": "phase"}, phase=(phase,))
    return root, scan, root / "derivatives" / "seg"


def test_nothing_there(bids):
    root, scan, _ = bids
    assert find_anatomy(scan, [root]) == Anatomy()


def test_labels_in_the_scans_space(bids):
    root, scan, seg = bids
    same = image(seg / "sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz", GRE)
    assert find_anatomy(scan, [seg, root]) == Anatomy(same)
    same.rename(said := same.with_name("sub-01_ses-1_space-MEGRE_dseg.nii.gz"))
    # A name that says so counts on any grid, and what is ready is taken before what has to be registered.
    image(said, T1W)
    image(seg / "sub-01/ses-1/anat/sub-01_ses-1_space-T1w_dseg.nii.gz", T1W)
    assert find_anatomy(scan, [seg, root]) == Anatomy(said)


def test_labels_of_the_t1w(bids):
    root, scan, seg = bids
    raw = image(root / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", np.diag([1.0, 1, 1.2, 1]))
    found = find_anatomy(scan, [root])
    assert found.labels is None and raw.name in found.lacking and "does not segment" in found.lacking
    labels = image(seg / "sub-01/anat/sub-01_desc-aseg_dseg.nii.gz")
    image(seg / "sub-01/anat/sub-01_space-MNI152NLin6Asym_desc-aseg_dseg.nii.gz")
    image(seg / "sub-01/ses-1/anat/sub-01_ses-1_desc-excluded_dseg.nii.gz", GRE)
    assert find_anatomy(scan, [seg, root]) == Anatomy(labels, raw)
    # The image that the labels were drawn on is the better one.
    own = image(seg / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz")
    assert find_anatomy(scan, [seg, root]) == Anatomy(labels, own)
    image(seg / "sub-01/anat/sub-01_desc-brain_T1w.nii.gz")
    assert find_anatomy(scan, [seg, root]) == Anatomy(labels, own)


def test_another_session_or_subject_is_none_of_it(bids):
    root, scan, seg = bids
    image(seg / "sub-01/ses-2/anat/sub-01_ses-2_dseg.nii.gz", GRE)
    image(seg / "sub-02/anat/sub-02_dseg.nii.gz", GRE)
    assert find_anatomy(scan, [seg, root]) == Anatomy()


def test_labels_without_an_image(bids):
    root, scan, seg = bids
    image(seg / "sub-01/anat/sub-01_dseg.nii.gz")
    found = find_anatomy(scan, [seg, root])
    assert found.labels is None and "no T1-weighted image" in found.lacking and "--labels" in found.lacking


def test_several_fit(bids):
    root, scan, seg = bids
    wanted = image(seg / "sub-01/anat/sub-01_desc-aseg_dseg.nii.gz")
    image(seg / "sub-01/anat/sub-01_desc-aparcaseg_dseg.nii.gz")
    t1w = image(seg / "sub-01/anat/sub-01_acq-a_T1w.nii.gz")
    with pytest.raises(InputError, match="2 label images") as e:
        find_anatomy(scan, [seg, root])
    assert "bids-filter-file" in str(e.value)
    t1w.rename(t1w.with_name("sub-01_T1w.nii.gz"))
    assert find_anatomy(scan, [seg, root], {"labels": {"desc": "aseg"}}).labels == wanted
