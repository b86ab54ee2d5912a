"""Lesions as a stage of a run: found once, written beside the map, resumed bit for bit."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.io.inputs import find_scans
from chimap.pipeline import lesions as stage
from chimap.pipeline.console import Console
from chimap.pipeline.plan import LESIONS, R2STAR, Options
from chimap.pipeline.run import run_scan
from chimap.pipeline.store import file_sha256
from chimap.simulate import head_phantom, simulate_scan, write_bids
from chimap.simulate.lesions import Lesion, place_lesions, without_lesions

PLACED = (
    Lesion("microbleed", (33.0, 4.0, 39.0), 6.0, 1.4),
    Lesion("calcification", (-33.0, 35.0, 45.0), 6.0, -1.5),
)
FAST = Options(preset="fast", lesions=True)


class Said(Console):
    """Keeps what is said, and which stages ran."""

    def __init__(self):
        super().__init__(quiet=True)
        self.notes, self.ran, self.kept = [], [], []

    def note(self, text):
        self.notes.append(text)

    def stage(self, stage, detail=""):
        self.ran.append(stage)
        return super().stage(stage, detail)

    def skipped(self, stage, detail=""):
        self.kept.append(stage)


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """A head of 2.5 mm voxels with one bleed and one calcification, and its true labels."""
    root = tmp_path_factory.mktemp("sick")
    acq = Acquisition((0.004, 0.012, 0.020), 3.0, voxel_size_mm=(2.5, 2.5, 2.5))
    head = without_lesions(head_phantom((2.5 / 1.5,) * 3))
    phantom, _ = place_lesions(head, PLACED)
    write_bids(simulate_scan(phantom, acq, snr=100.0), acq, root / "bids", "01")
    (scan,) = find_scans(root / "bids", root / "work")
    return scan, root / "bids" / "derivatives" / "truth" / "sub-01" / "anat" / "sub-01_dseg.nii.gz"


@pytest.fixture(scope="module")
def first(sick, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("out"), Said()
    result = run_scan(sick[0], out, replace(FAST, labels=sick[1]), console=said)
    return out, result, said


def _files(out):
    return {p.name: file_sha256(p) for p in sorted(out.rglob("sub-*")) if p.suffix in (".gz", ".tsv")}


def _rows(out):
    with open(out / "sub-01" / "anat" / "sub-01_desc-lesions_Chimap.tsv", encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def test_table_and_labels(first):
    out, result, said = first
    assert said.ran[-1] == "lesions" and not [n for n in said.notes if n.startswith("lesions:")]
    rows = _rows(out)
    for lesion, kind in zip(PLACED, ("haemorrhage", "calcification")):
        near = [
            r
            for r in rows
            if np.linalg.norm([float(r[a]) - c for a, c in zip("xyz", lesion.centre_mm)]) < 2.5
        ]
        assert [r["kind"] for r in near] == [kind]
        assert near[0]["moment_from"] == "local field" and near[0]["region"] != "n/a"
        # The ball's moment against water; the tissue it took the place of is a few percent of it.
        truth = 1000 * lesion.chi_ppm * lesion.volume_mm3
        assert float(near[0]["moment"]) == pytest.approx(truth, rel=0.2)
    anat = out / "sub-01" / "anat"
    about = json.loads((anat / "sub-01_desc-lesions_Chimap.json").read_text())
    assert set(rows[0]) <= about.keys() and about["LeftOut"] == []
    assert about["ReferenceRecord"]["name"] == "whole brain"
    image = nib.load(anat / "sub-01_desc-lesions_dseg.nii.gz")
    numbers = np.asarray(image.dataobj)
    assert image.get_data_dtype() == np.int16 and set(np.unique(numbers)) == set(range(len(rows) + 1))
    x, y, z = (float(rows[0][a]) for a in "xyz")
    at = np.rint(np.linalg.inv(image.affine) @ (x, y, z, 1))[:3].astype(int)
    assert numbers[tuple(at)] == 1
    assert "looked for with method blobs" in result.methods_text
    assert "10.1148/radiol.11110251" in (anat / "sub-01_methods.md").read_text()


def test_off_unless_asked_for(sick, tmp_path):
    result = run_scan(sick[0], tmp_path, Options(preset="fast"))
    assert "lesions" not in result.done and not list(tmp_path.rglob("*lesions*"))


def test_second_run_does_nothing(sick, first):
    out, result, _ = first
    before, said = _files(out), Said()
    again = run_scan(sick[0], out, replace(FAST, labels=sick[1]), console=said)
    assert said.ran == [] and said.kept[-1] == "lesions"
    assert _files(out) == before and again.key == result.key


def test_only_what_depends_on_labels_runs_again(sick, first, tmp_path):
    import shutil

    out, said = shutil.copytree(first[0], tmp_path / "out"), Said()
    run_scan(sick[0], out, FAST, console=said)
    assert said.ran == ["lesions"]
    assert [n for n in said.notes if "no label image" in n] and "region" not in _rows(out)[0]
    assert (
        file_sha256(next(out.rglob(f"*{LESIONS.suffix}.nii.gz")))
        == first[1].done["lesions"][LESIONS.suffix].sha256
    )


@pytest.mark.parametrize("moment", ["before the image", "before the record", "before the table"])
def test_stopped_and_gone_on_with(sick, first, tmp_path, monkeypatch, moment):
    """Whatever moment it is stopped at, the next run ends with the same files."""
    out, options = tmp_path / "out", replace(FAST, labels=sick[1])

    class Stop(BaseException):
        pass

    def stop(*args, **more):
        raise Stop

    with monkeypatch.context() as m:
        if moment == "before the image":
            m.setattr(stage, "find_lesions", stop)
        elif moment == "before the record":
            from chimap.pipeline import store

            real = store.write_json
            m.setattr(store, "write_json", lambda p, v: stop() if LESIONS.suffix in p.name else real(p, v))
        else:
            m.setattr(stage, "write_table", stop)
        with pytest.raises(Stop):
            run_scan(sick[0], out, options)
    said = Said()
    run_scan(sick[0], out, options, console=said)
    assert said.ran == ([] if moment == "before the table" else ["lesions"])
    assert _files(out) == _files(first[0])


def test_one_echo_has_no_r2star_and_says_so(sick, tmp_path):
    scan = sick[0]
    single = replace(
        scan, phase=scan.phase[1:2], magnitude=scan.magnitude[1:2], te_s=scan.te_s[1:2], problems=()
    )
    said = Said()
    result = run_scan(single, tmp_path, FAST, console=said)
    assert R2STAR.suffix not in result.done.get("r2star", {})
    assert [n for n in said.notes if "lesions: no R2*" in n and "magnitude" in n]
    rows = _rows(tmp_path)
    assert rows and "r2star_contrast" not in rows[0] and rows[0]["moment_from"] == "local field"


def test_single_step_inversion_has_no_local_field_and_says_so(sick, tmp_path):
    options = replace(FAST, methods={"inversion": "sstv"}, parameters={"inversion": {"iterations": 5}})
    said = Said()
    run_scan(sick[0], tmp_path, options, console=said)
    assert [n for n in said.notes if "lesions: no local field" in n]
    about = json.loads(next(tmp_path.rglob("*_desc-lesions_Chimap.json")).read_text())
    assert any("no local field" in what for what in about["LeftOut"])
    assert all(r["moment_from"] == "susceptibility" for r in _rows(tmp_path))
