"""`chimap check`: verdicts a line, exit status, and one line for what is wrong."""

import json

import numpy as np

from chimap.cli import main


def arguments(sample, **files):
    p = sample.write("p.nii.gz", files.get("phase", sample.phase))
    m = sample.write("m.nii.gz", sample.magnitude)
    return ["check", "--phase", str(p), "--magnitude", str(m), "--te", *map(str, sample.te_s), "--b0", "3"]


def test_usable_files(sample, capsys):
    assert main(arguments(sample)) == 0
    out = capsys.readouterr().out
    assert out.startswith("scan: usable\n")
    assert "phase scaling: values from -3.14" in out


def test_json(sample, capsys):
    assert main([*arguments(sample), "--json"]) == 0
    (scan,) = json.loads(capsys.readouterr().out)
    assert scan["usable"] is True
    assert {f["topic"] for f in scan["findings"]} >= {"echoes", "orientation", "phase scaling"}


def test_data_set(sample, capsys):
    sample.bids("sub-01", echoes=[1, 3])
    root = sample.bids("sub-02")
    assert main(["check", str(root)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "sub-01: NOT usable" in lines
    assert "sub-02: usable" in lines


def test_unusable_files(sample, capsys):
    stored = sample.stored(2048 / np.pi, 2047.5)
    assert main(arguments(sample, phase=stored)) == 2
    out = capsys.readouterr().out
    assert "--phase-range 0 4095" in out
    assert main([*arguments(sample, phase=stored), "--phase-range", "0", "4095"]) == 0


def test_bad_arguments(sample, capsys):
    for argv in (
        [],
        ["--te", "0.004"],
        [str(sample.folder), "--te", "0.004"],
        [str(sample.folder), *arguments(sample)[1:]],
        [str(sample.folder / "nothing")],
        ["--phase", "x.nii"],
    ):
        assert main(["check", *argv]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err


def test_protocol(sample, capsys):
    assert main(arguments(sample)) == 0
    out = capsys.readouterr().out
    assert " recommendations met" in out and "    not met: Last echo: " in out
    assert main([*arguments(sample), "--json", "--quick"]) == 0
    (scan,) = json.loads(capsys.readouterr().out)
    found = {r["name"]: r["status"] for r in scan["protocol"]}
    # The echoes were not held against each other.
    assert found["Readout"] == found["Phase as measured"] == "unknown"
    assert found["Phase and magnitude"] == "met"
