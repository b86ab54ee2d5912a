"""`chimap run` over several scans: one after another and side by side give the same; one that fails stops no other."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess

import pytest

from chimap.cli import main

FLAGS = ("--preset", "fast", "--quiet")


@pytest.fixture(scope="module")
def bids(coarse, tmp_path_factory):
    """Two subjects with the same scan and their labels, and a third whose echo times are out of order."""
    root = tmp_path_factory.mktemp("cohort") / "bids"
    (root / "sub-01").parent.mkdir()
    shutil.copy(coarse.bids / "dataset_description.json", root)
    for subject in ("01", "02", "03"):
        for part in ("", "derivatives/truth"):
            for file in sorted((coarse.bids / part / "sub-01" / "anat").iterdir()):
                copy = root / part / f"sub-{subject}" / "anat" / file.name.replace("sub-01", f"sub-{subject}")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
    shutil.copy(coarse.bids / "derivatives/truth/dseg.tsv", root / "derivatives/truth")
    broken = root / "sub-03" / "anat" / "sub-03_echo-2_part-phase_MEGRE.json"
    broken.write_text(json.dumps({**json.loads(broken.read_text()), "EchoTime": 0.001}))
    (root / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t30\tF\nsub-02\t60\tM\nsub-03\t50\tM\n"
    )
    return root


@pytest.fixture(scope="module")
def serial(bids, tmp_path_factory):
    """The first two subjects, one after the other."""
    out = tmp_path_factory.mktemp("serial")
    labels = str(bids / "derivatives" / "truth")
    assert main(["run", str(bids), str(out), "participant", *FLAGS, "--labels", labels, "--participant-label", "sub-01", "02", "--skip-bids-validation"]) == 0  # fmt: skip
    return out


def _hashes(out):
    files = [p for p in sorted(out.rglob("sub-*")) if p.suffix in (".gz", ".tsv", ".md")]
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _times(out):
    """When the volumes and reports were written."""
    return {p: p.stat().st_mtime_ns for p in out.rglob("sub-*") if p.suffix in (".gz", ".html")}


def test_labels_and_age_of_each_scan(serial):
    def normal(subject):
        text = (serial / f"sub-{subject}/anat/sub-{subject}_desc-regions_Chimap.tsv").read_text()
        rows = csv.DictReader(text.splitlines(), delimiter="\t")
        return next(float(r["normal_mg_kg"]) for r in rows if r["name"] == "putamen")

    # Iron of the putamen grows until old age; the scans are the same.
    assert normal("01") < normal("02")


def test_side_by_side(bids, serial, tmp_path, capsys):
    pytest.importorskip("distributed")
    flags = [*FLAGS, "--labels", str(bids / "derivatives" / "truth"), "--omp-nthreads", "1"]
    command = ["run", str(bids), str(tmp_path), "participant", *flags]
    assert main([*command, "--n-procs", "2", "--mem-gb", "8"]) == 2
    said = capsys.readouterr()
    assert "error: sub-03: " in said.err and "out of order" in said.err
    assert "1 of 3 scans failed" in said.err
    assert "sub-01_report.html" in said.out and "sub-02_report.html" in said.out
    assert _hashes(tmp_path) == _hashes(serial)
    assert "sub-02_report.html" in (tmp_path / "report.html").read_text()
    times = _times(tmp_path)
    # Nothing is left to do, whichever way it is asked for.
    assert main(command) == 2
    assert _times(tmp_path) == times


def test_filter_file(bids, serial, tmp_path, capsys):
    path = tmp_path / "filter.json"
    path.write_text('{"megre": {"subject": "01"}, "t1w": {"session": "x"}}')
    flags = [*FLAGS, "--labels", str(bids / "derivatives" / "truth"), "--bids-filter-file", str(path)]
    assert main(["run", str(bids), str(serial), *flags, "--omp-nthreads", "1"]) == 0
    assert capsys.readouterr().out.count("_report.html") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--n-procs", "0"], "not a whole number"),
        (["--n-procs", "two"], "not a whole number"),
        (["--mem-gb", "-1"], "not a memory"),
        (["--mem-gb", "x"], "invalid"),
        (["--bids-filter-file", "none.json"], "no such file"),
        (["--labels", "none.nii.gz"], "one label image for 3 scans"),
    ],
)
def test_wrong_flags(bids, tmp_path, capsys, flags, said):
    assert main(["run", str(bids), str(tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_bids_validator_accepts_the_results(serial, bids):
    validator = shutil.which("bids-validator-deno") or shutil.which("bids-validator")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    assert main(["run", str(bids), str(serial), "group", "--quiet"]) == 0
    done = subprocess.run([validator, str(serial), "--format", "json"], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] == "error"] == []
