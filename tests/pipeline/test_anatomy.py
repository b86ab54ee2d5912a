"""Labels of the T1-weighted image in a run: with antspyx (or a stand-in for it), and without."""

from __future__ import annotations

import importlib
import shutil
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main

FLAGS = ("--preset", "fast", "--quiet", "--omp-nthreads", "1")
LABELS, RUN = "sub-01_space-T1w_dseg", "sub-01_desc-fromT1w_dseg"


@pytest.fixture
def bids(coarse, tmp_path):
    """The coarse head with a T1-weighted image, moved by 6 mm, and labels in its space."""
    root = tmp_path / "bids"
    shutil.copytree(coarse.bids, root, ignore=shutil.ignore_patterns("derivatives"))
    seg = tmp_path / "seg" / "sub-01" / "anat"
    seg.mkdir(parents=True)
    labels = nib.load(next(coarse.truth.glob("*_dseg.nii.gz")))
    shutil.copy(coarse.bids / "derivatives/truth/dseg.tsv", tmp_path / "seg")
    moved = labels.affine.copy()
    moved[0, 3] += 6.0
    array = np.asarray(labels.dataobj).astype(np.int16)
    nib.save(nib.Nifti1Image(array, moved), seg / f"{LABELS}.nii.gz")
    # Tissues by class number are contrast enough.
    t1w = 100.0 * (array > 0) + 3 * array
    nib.save(nib.Nifti1Image(t1w.astype(np.float32), moved), seg / "sub-01_T1w.nii.gz")
    return root


def run(bids, *flags):
    out = bids.parent / "out"
    assert main(["run", str(bids), str(out), *FLAGS, "--derivatives", str(bids.parent / "seg"), *flags]) == 0
    return out / "sub-01" / "anat"


def stand_in(monkeypatch, shift_voxels):
    """A module ants that takes a shift along the first axis for the registration; None: not installed."""

    class Image:
        def __init__(self, path):
            self.array = np.asanyarray(nib.load(path).dataobj)

        def numpy(self):
            return self.array

    class Ants:
        __version__ = "0"
        image_read = Image
        asked: ClassVar[list[str]] = []

        @classmethod
        def registration(cls, fixed, moving, type_of_transform, random_seed):
            cls.asked.append(type_of_transform)
            return {"fwdtransforms": [shift_voxels]}

        @staticmethod
        def apply_transforms(fixed, moving, transforms, interpolator):
            assert interpolator == "genericLabel"
            moving.array = np.roll(moving.array, transforms[0], 0).astype(np.float32)
            return moving

    real = importlib.import_module

    def instead(name, *a):
        if name != "ants":
            return real(name, *a)
        if shift_voxels is None:
            raise ImportError(name)
        return Ants

    monkeypatch.setattr(importlib, "import_module", instead)
    return Ants


def test_without_antspyx_there_are_no_regions_and_the_report_says_why(bids, monkeypatch):
    stand_in(monkeypatch, None)
    anat = run(bids)
    assert not list(anat.glob("*regions*")) and (anat / "sub-01_Chimap.nii.gz").is_file()
    summary = (anat / "sub-01_report.html").read_text().split('id="summary"')[1].split("</section>")[0]
    assert "needs antspyx" in summary and "chimap[registration]" in summary


def test_labels_are_brought_to_the_scan_once(bids, monkeypatch, coarse):
    ants = stand_in(monkeypatch, 0)
    anat = run(bids)
    assert ants.asked == ["Rigid"]
    brought = nib.load(anat / f"{RUN}.nii.gz")
    truth = nib.load(next(coarse.truth.glob("*_dseg.nii.gz")))
    assert np.array_equal(np.asarray(brought.dataobj), np.asarray(truth.dataobj))
    assert np.allclose(brought.affine, truth.affine)
    table = (anat / "sub-01_desc-regions_Chimap.tsv").read_text()
    # Names lie beside the labels, not beside what was made of them.
    assert "putamen" in table
    assert "share only" not in (anat / "sub-01_report.html").read_text()
    assert "Avants" in (anat / "sub-01_methods.md").read_text()
    run(bids)
    assert ants.asked == ["Rigid"]


def test_a_registration_that_failed_is_told(bids, monkeypatch):
    stand_in(monkeypatch, 30)
    anat = run(bids)
    assert "labels and brain mask share only" in (anat / "sub-01_report.html").read_text()


def test_real_registration(bids, coarse):
    pytest.importorskip("ants")
    anat = run(bids)
    brought = np.asarray(nib.load(anat / f"{RUN}.nii.gz").dataobj)
    truth = np.asarray(nib.load(next(coarse.truth.glob("*_dseg.nii.gz"))).dataobj)
    both = np.count_nonzero((brought == truth) & (truth > 0))
    assert 2 * both / (np.count_nonzero(brought) + np.count_nonzero(truth)) > 0.85


def test_both_folders_are_refused(bids, capsys):
    seg = str(bids.parent / "seg")
    command = ["run", str(bids), str(bids.parent / "out"), *FLAGS, "--derivatives", seg]
    assert main([*command, "--labels", seg]) == 2
    assert "Give one of them" in capsys.readouterr().err
    assert main([*command[:-1], str(bids.parent / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
