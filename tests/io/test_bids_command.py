"""`chimap bids`: a valid data set of DICOM files, the same each time, nothing overwritten, nobody named."""

import json
import os
import shutil
import subprocess

import dicom_vendors as v
import nibabel as nib
import numpy as np
import pytest
from dicom_base import Truth
from io_samples import difference
from test_dicom_run import assert_no_identity, contents

from chimap.cli import main
from chimap.errors import InputError, OutputError
from chimap.io.bids_write import write_scans
from chimap.io.inputs import find_scans
from chimap.io.scan import load


@pytest.fixture
def truth(sample):
    return Truth(sample.phase[:, :, :8], sample.magnitude[:, :, :8], sample.te_s)


@pytest.fixture
def source(truth, tmp_path):
    folder = tmp_path / "Quendolin_Xanthippe"
    v.philips(folder, truth)
    return folder


def test_data_set(truth, source, tmp_path, capsys):
    out = tmp_path / "bids"
    argv = ["bids", str(source), str(out), "--subject", "sub-07", "--session", "2", "--acquisition", "qsm"]
    assert main(argv) == 0
    stem = "sub-07_ses-2_acq-qsm"
    folder = out / "sub-07" / "ses-2" / "anat"
    wanted = {
        f"{stem}_echo-{e}_part-{part}_MEGRE.{end}"
        for e in (1, 2, 3)
        for part in ("mag", "phase")
        for end in ("nii.gz", "json")
    }
    assert {f.name for f in folder.iterdir()} == wanted
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert {f.name for f in out.iterdir()} == {
        "README.md",
        "dataset_description.json",
        "participants.tsv",
        "participants.json",
        "sub-07",
    }
    for e, te in enumerate(truth.te_s):
        for part, units in (("mag", "arbitrary"), ("phase", "rad")):
            side = json.loads((folder / f"{stem}_echo-{e + 1}_part-{part}_MEGRE.json").read_text())
            assert side["EchoTime"] == pytest.approx(te) and side["Units"] == units
            assert side["MagneticFieldStrength"] == 3 and side["Manufacturer"] == "Philips"
        image = nib.load(folder / f"{stem}_echo-{e + 1}_part-phase_MEGRE.nii.gz")
        assert image.get_data_dtype() == np.float32
        phase = truth.same_grid(np.asarray(image.dataobj), image.affine)
        assert difference(phase, truth.phase[..., e]) < 2 * np.pi / 4096
    (scan,) = find_scans(out, tmp_path / "work")
    assert scan.name == stem and scan.te_s == pytest.approx(truth.te_s)
    again = load(scan)
    assert difference(truth.same_grid(again.phase, again.affine), truth.phase) < 2 * np.pi / 4096
    assert_no_identity(out, str(tmp_path))


def test_same_bytes_again_and_nothing_overwritten(source, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["bids", str(source), str(one)]) == main(["bids", str(source), str(two)]) == 0
    files = list(contents(one))
    assert [(n, d) for _, n, d in files] == [(n, d) for _, n, d in contents(two)]
    before = {n: f.stat().st_mtime_ns for f, n, _ in files}
    capsys.readouterr()
    assert main(["bids", str(source), str(one)]) == 2
    assert "is not overwritten" in capsys.readouterr().err
    assert {n: f.stat().st_mtime_ns for f, n, _ in contents(one)} == before


def test_another_subject_is_added(source, tmp_path):
    out = tmp_path / "bids"
    assert main(["bids", str(source), str(out)]) == 0
    (out / "participants.tsv").write_text("participant_id\tage\nsub-01\t40\n")
    (out / "README.md").write_text("mine")
    assert main(["bids", str(source), str(out), "--subject", "02", "--quiet"]) == 0
    assert main(["bids", str(source), str(out), "--subject", "02", "--session", "2", "--quiet"]) == 0
    assert (out / "participants.tsv").read_text() == "participant_id\tage\nsub-01\t40\nsub-02\tn/a\n"
    assert (out / "README.md").read_text() == "mine"
    assert len(find_scans(out, tmp_path)) == 3


def test_several_scans_become_runs(truth, tmp_path):
    v.siemens(tmp_path / "dicom", truth)
    v.siemens(tmp_path / "dicom", truth, first=12, AcquisitionTime="121314.0")
    assert main(["bids", str(tmp_path / "dicom"), str(tmp_path / "bids"), "--quiet"]) == 0
    assert [s.entities.get("run") for s in find_scans(tmp_path / "bids", tmp_path)] == ["1", "2"]


def test_one_echo_is_no_megre(truth, tmp_path):
    single = Truth(truth.phase[..., :1], truth.magnitude[..., :1], truth.te_s[:1])
    v.siemens(tmp_path / "dicom", single)
    assert main(["bids", str(tmp_path / "dicom"), str(tmp_path / "bids"), "--quiet"]) == 0
    names = {f.name for f in (tmp_path / "bids").rglob("*.nii.gz")}
    assert names == {"sub-01_part-mag_T2starw.nii.gz", "sub-01_part-phase_T2starw.nii.gz"}


def test_refusals(source, tmp_path, capsys):
    assert main(["bids", str(source), str(tmp_path / "b"), "--subject", "Jo_1"]) == 2
    assert "other characters" in capsys.readouterr().err and not (tmp_path / "b").exists()
    (tmp_path / "set" / "sub-01").mkdir(parents=True)
    assert main(["bids", str(tmp_path / "set"), str(tmp_path / "b")]) == 2
    assert "a BIDS data set already" in capsys.readouterr().err
    (scan,) = find_scans(source, tmp_path / "work")
    scan.phase[0].write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        write_scans([scan], tmp_path / "b")
    assert not any(p.is_file() for p in (tmp_path / "b").rglob("*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_scans([scan], tmp_path / "file")


def validator():
    """bids-validator-deno, as CHIMAP_BIDS_VALIDATOR or the PATH has it."""
    found = os.environ.get("CHIMAP_BIDS_VALIDATOR") or shutil.which("bids-validator-deno")
    if not found:
        pytest.skip("no bids-validator-deno (set CHIMAP_BIDS_VALIDATOR)")
    return found


def test_validator(source, truth, tmp_path):
    program = validator()
    out = tmp_path / "bids"
    assert main(["bids", str(source), str(out), "--acquisition", "qsm", "--quiet"]) == 0
    v.siemens(tmp_path / "more", Truth(truth.phase[..., :1], truth.magnitude[..., :1], truth.te_s[:1]))
    assert main(["bids", str(tmp_path / "more"), str(out), "--subject", "02", "--quiet"]) == 0
    r = subprocess.run([program, "--json", str(out)], capture_output=True, text=True, timeout=120)
    issues = json.loads(r.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] == "error"] == []


def test_real_folder_unsorted(shared_data, tmp_path):
    """Real files under meaningless names: what was measured comes out, what names the person does not."""
    source = tmp_path / "unsorted"
    source.mkdir()
    files = sorted((shared_data / "siemens_gre_dicom").rglob("*.dcm"))
    for i, file in enumerate(files):
        shutil.copyfile(file, source / f"{i * 7919 % 1009:04d}")
    out = tmp_path / "bids"
    assert main(["bids", str(source), str(out), "--quiet"]) == 0
    (scan,) = find_scans(out, tmp_path / "work")
    assert scan.te_s == pytest.approx((0.0025, 0.0055, 0.0085, 0.0115, 0.0145, 0.0175))
    assert (len(scan.phase), len(scan.magnitude)) == (6, 6)
    straight = load(find_scans(shared_data / "siemens_gre_dicom", tmp_path / "work")[0])
    again = load(scan)
    np.testing.assert_array_equal(again.magnitude, straight.magnitude)
    assert difference(again.phase, straight.phase) < 1e-5
    assert_no_identity(out, "167006", "20191101", "dev^acdc", "DYNshim", str(tmp_path))
