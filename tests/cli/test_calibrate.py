"""`chimap calibrate`: from files to tables, figures and the correction."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main

SHAPE, AFFINE = (40, 40, 24), np.diag([2.0, 2.0, 2.0, 1.0])
C = (0.5, 1.0, 1.5, 2.0)
PLACES = ((10, 10), (10, 29), (29, 29), (29, 10))


def write(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), affine), path)
    return str(path)


@pytest.fixture
def phantom(tmp_path, rng):
    """Magnitude, map (85 % of the truth, Gd-like 0.338 ppm per mmol/L), labels of four vials."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    body = (x > 1) & (x < 38) & (y > 1) & (y < 38) & (z > 1) & (z < 22)
    magnitude, chi, labels = 100.0 * body, np.zeros(SHAPE), np.zeros(SHAPE)
    for n, ((a, b), c) in enumerate(zip(PLACES, C), 1):
        vial = ((x - a) ** 2 + (y - b) ** 2 < 4.2**2) & (z > 4) & (z < 20)
        magnitude[vial], chi[vial], labels[vial] = 150 + 20 * n, 0.85 * 0.338 * c, n
    magnitude += rng.normal(0, 1, SHAPE)
    chi += body * rng.normal(0, 0.003, SHAPE)
    return {
        "magnitude": write(tmp_path / "m.nii.gz", magnitude),
        "chi": write(tmp_path / "c.nii.gz", chi),
        "again": write(tmp_path / "d.nii.gz", chi + body * rng.normal(0, 0.003, SHAPE)),
        "labels": write(tmp_path / "l.nii.gz", labels),
        "mask": write(tmp_path / "b.nii.gz", body),
    }


def test_fit_and_apply(phantom, tmp_path, capsys):
    out = tmp_path / "out"
    argv = [
        "calibrate",
        "fit",
        str(out),
        "--chi",
        phantom["chi"],
        phantom["again"],
        "--magnitude",
        phantom["magnitude"],
    ]
    argv += [
        "--mask",
        phantom["mask"],
        "--concentrations",
        *map(str, C),
        "--molar",
        "0.338",
        "--b0",
        "3",
        "7",
    ]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert (
        "by rank of susceptibility" in said
        and "slopes alike over field strength" in said
        and "ICC(2,1)" in said
    )
    found = json.loads((out / "calibration.json").read_text())["Map"]
    assert found["ratio"] == pytest.approx(0.85, abs=0.01) and not found["agrees"] and found["linear"]
    rows = (out / "vials.tsv").read_text().splitlines()
    assert len(rows) == 9 and set(json.loads((out / "vials.json").read_text())) == set(rows[0].split("\t"))
    assert (out / "vials_1.nii.gz").is_file() and (out / "repeatability.svg").read_text().startswith("<svg")
    assert "known: 338.0" in (out / "calibration.svg").read_text()

    result = tmp_path / "calibrated.nii.gz"
    argv = ["calibrate", "apply", str(result), "--chi", phantom["chi"], "--mask", phantom["mask"]]
    argv += ["--calibration", str(out / "correction.json")]
    assert main(argv) == 0
    before, after = (np.asarray(nib.load(p).dataobj) for p in (phantom["chi"], result))
    mask = np.asarray(nib.load(phantom["mask"]).dataobj) > 0
    assert np.allclose(after[mask], before[mask] / found["ratio"], rtol=1e-4, atol=1e-6)
    side = json.loads((tmp_path / "calibrated.json").read_text())
    assert side["CalibrationFactor"] == pytest.approx(1 / found["ratio"])
    assert side["CalibrationPipelineMatches"] is None and side["Uncalibrated"] == phantom["chi"]
    assert "not known to be" in capsys.readouterr().out
    argv[argv.index(phantom["chi"])] = str(result)
    argv[2] = str(tmp_path / "twice.nii.gz")
    assert main(argv) == 2 and "calibrated already" in capsys.readouterr().err


def test_what_is_missing_is_left_out(phantom, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["calibrate", "fit", str(out), "--chi", phantom["chi"], "--labels", phantom["labels"]]
    assert main([*argv, "--concentrations", *map(str, C)]) == 0
    said = capsys.readouterr().out
    for what in ("known molar susceptibility", "consistency over field strength", "repeated scans"):
        assert f"left out: {what}" in said or what in said
    assert not (out / "correction.json").exists() and not (out / "repeatability.svg").exists()
    table = tmp_path / "v.tsv"
    table.write_text("label\tconcentration_mm\n1\t0.5\n2\t1.0\n4\t2.0\n")
    assert main([*argv, "--vials", str(table)]) == 0
    assert len((out / "vials.tsv").read_text().splitlines()) == 4


def test_retest(phantom, tmp_path, capsys):
    out = tmp_path / "r"
    argv = [
        "calibrate",
        "retest",
        str(out),
        "--chi",
        phantom["chi"],
        phantom["again"],
        "--labels",
        phantom["labels"],
    ]
    assert main(argv) == 0
    r = json.loads((out / "repeatability.json").read_text())
    assert r["icc31"] > 0.999 and abs(r["bias"]) < 1 and r["subjects"] == 4
    table = tmp_path / "t.tsv"
    table.write_text("region\ta\tb\nx\t1\t2\ny\t3\t5\nz\t6\t6\n")
    assert main(["calibrate", "retest", str(out), "--table", str(table)]) == 0
    assert "bias +1.00" in capsys.readouterr().out
    rows = [line.split("\t") for line in (out / "repeatability.tsv").read_text().splitlines()]
    assert rows[0][-3:] == ["mean", "within_sd", "repeatability"]
    # Scans of 3 and 5: an SD of the square root of 2, and 2.77 times that.
    assert [float(v) for v in rows[2][-3:]] == pytest.approx([4, 2**0.5, 3.92], rel=1e-3)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["fit"], "nothing to calibrate"),
        (["fit", "--chi", "{chi}"], "vials cannot be found"),
        (["fit", "--chi", "{chi}", "--labels", "{labels}"], "concentrations are not given"),
        (
            ["fit", "--chi", "{chi}", "--labels", "{labels}", "--concentrations", "1", "2"],
            "2 concentrations for 4 labels",
        ),
        (
            [
                "fit",
                "--chi",
                "{chi}",
                "--labels",
                "{labels}",
                "--concentrations",
                *map(str, C),
                "--agent",
                "xenon",
            ],
            "no agent",
        ),
        (
            [
                "fit",
                "--chi",
                "{chi}",
                "--magnitude",
                "{magnitude}",
                "--field",
                "{chi}",
                "--concentrations",
                "1",
            ],
            "needs --mask",
        ),
        (["fit", "--chi", "{chi}", "--table", "x.tsv"], "--table belongs to"),
        (["apply", "--chi", "{chi}"], "--calibration"),
        (["retest", "--chi", "{chi}"], "two maps or more"),
    ],
)
def test_bad_input(phantom, tmp_path, capsys, argv, said):
    argv = [a.format(**phantom) for a in argv]
    assert main(["calibrate", argv[0], str(tmp_path / "o.nii.gz"), *argv[1:]]) == 2
    assert said in capsys.readouterr().err
