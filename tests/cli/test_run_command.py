"""`chimap run` and `chimap demo` from the outside."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main


def _run(*argv):
    return main([str(a) for a in argv])


@pytest.fixture(scope="module")
def done(coarse, tmp_path_factory):
    """A run through a real process: its output folder and what it said."""
    out = tmp_path_factory.mktemp("run") / "out"
    argv = [
        "run",
        coarse.bids,
        out,
        "participant",
        "--preset",
        "fast",
        "--log-json",
        out.parent / "log.jsonl",
    ]
    process = subprocess.run(
        [sys.executable, "-m", "chimap", *map(str, argv)], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return out, process


def test_report_and_messages(done):
    out, process = done
    report = out / "sub-01" / "anat" / "sub-01_report.html"
    assert process.stdout == f"sub-01: {report}\n"
    html = report.read_text("utf-8")
    assert "sub-01" in html and "10.1002/mrm.28563" in html and "whole brain" in html
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']https?:", html)
    assert "sub-01/anat/sub-01_report.html" in (out / "report.html").read_text()
    stages = ["read", "mask", "field", "r2star", "background", "inversion", "reference", "quality", "report"]
    assert re.findall(r"^chimap: sub-01: (\w+)", process.stderr, re.M) == stages
    log = [json.loads(line) for line in (out.parent / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in log] == ["start", *["done"] * (len(stages) - 1), "end"]
    assert [line["stage"] for line in log[1:-1]] == stages[:-1]
    assert all(line["scan"] == "sub-01" and line["seconds"] >= 0 for line in log[1:])
    assert isinstance(log[-1]["warnings"], list) and log[-1]["report"].endswith("_report.html")


def test_again_does_nothing(done, coarse, capsys):
    out, _ = done
    before = (out / "sub-01/anat/sub-01_report.html").stat().st_mtime_ns
    assert _run("run", coarse.bids, out, "--preset", "fast") == 0
    err = capsys.readouterr().err
    assert err.count("done before") == 9
    assert (out / "sub-01/anat/sub-01_report.html").stat().st_mtime_ns == before


def test_quiet(done, coarse, capsys):
    assert _run("run", coarse.bids, done[0], "--preset", "fast", "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_files_by_flags(coarse, done, tmp_path):
    flat = coarse.flat
    argv = [
        "run",
        tmp_path / "out",
        "--phase",
        flat / "phase.nii.gz",
        "--magnitude",
        flat / "magnitude.nii.gz",
    ]
    argv += ["--te", *coarse.acq.te_s, "--b0", 3, "--mask", flat / "mask.nii.gz", "--method-inversion", "tkd"]
    assert _run(*argv, "--set", "mask.level=0.3", "--labels", flat / "truth" / "dseg.nii.gz", "--quiet") == 0
    anat = tmp_path / "out" / "sub-01" / "anat"
    chi = nib.load(anat / "sub-01_Chimap.nii.gz")
    assert chi.shape == nib.load(flat / "mask.nii.gz").shape
    assert (
        json.loads((anat / "sub-01_desc-unreferenced_Chimap.json").read_text())["Chimap"]["method"] == "tkd"
    )
    assert (anat / "sub-01_desc-regions_Chimap.tsv").exists()


def test_several_scans_one_bad(coarse, done, tmp_path, capsys):
    """The bad one is told, the good one done, and the status says that something failed."""
    bids = shutil.copytree(coarse.bids, tmp_path / "bids")
    bad = shutil.copytree(bids / "sub-01", bids / "sub-02")
    for path in sorted(bad.rglob("sub-01*")):
        path.rename(path.with_name(path.name.replace("sub-01", "sub-02")))
    for path in bad.rglob("*part-phase*.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), path)
    out = shutil.copytree(done[0], tmp_path / "out")
    assert _run("run", bids, out, "--preset", "fast", "--quiet") == 2
    said = capsys.readouterr()
    assert "chimap: error: sub-02: " in said.err and "zero everywhere" in said.err
    assert "1 of 2 scans failed" in said.err and said.out.startswith("sub-01: ")
    assert not (out / "sub-02").exists()
    assert _run("run", bids, out, "--preset", "fast", "--quiet", "--participant-label", "sub-01") == 0
    assert _run("run", bids, out, "--participant-label", "03") == 2
    assert "There is: 01, 02" in capsys.readouterr().err


def test_no_group_level_yet(coarse, tmp_path, capsys):
    assert _run("run", coarse.bids, tmp_path / "out", "group") == 2
    assert "group" in capsys.readouterr().err


def test_demo(tmp_path, capsys):
    assert _run("demo", tmp_path / "demo", "--voxel", 3, "--preset", "fast", "--quiet") == 0
    out = capsys.readouterr().out
    assert re.search(r"^globus pallidus +\d+ +[\d.]+ +[\d.]+", out, re.M)
    assert re.search(r"NRMSE [\d.]+ %, XSIM 0\.\d+", out) and "total time" in out
    report = out.splitlines()[-1].removeprefix("report: ")
    assert report.endswith("sub-01_report.html") and "<html" in Path(report).read_text("utf-8")
