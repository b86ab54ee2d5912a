"""The whole chain by single stages on flat files, as scripts use it."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main


@pytest.fixture(scope="module")
def chain(coarse, tmp_path_factory):
    """All stages run once; the folder of their results and the log."""
    out, flat = tmp_path_factory.mktemp("flat"), coarse.flat
    p, m, k, a = (str(flat / n) for n in ("phase.nii.gz", "magnitude.nii.gz", "mask.nii.gz", "params.json"))
    log = str(out / "log.jsonl")

    def run(*argv):
        assert main([*map(str, argv), "--log-json", log, "--quiet"]) == 0

    run("mask", "--magnitude", m, "--acq", a, "-o", out / "mask.nii.gz")
    run("unwrap", "--phase", p, "--magnitude", m, "--mask", k, "--acq", a, "-o", out / "unwrapped.nii.gz")
    run(
        "field",
        "--phase",
        p,
        "--magnitude",
        m,
        "--mask",
        k,
        "--acq",
        a,
        "-o",
        out / "total.nii.gz",
        "--noise-out",
        out / "noise.nii.gz",
    )
    run(
        "background",
        "--field",
        out / "total.nii.gz",
        "--mask",
        k,
        "--acq",
        a,
        "--noise",
        out / "noise.nii.gz",
        "-o",
        out / "local.nii.gz",
        "--mask-out",
        out / "valid.nii.gz",
    )
    run(
        "invert",
        "--method",
        "tv",
        "--tolerance",
        "0.05",
        "--field",
        out / "local.nii.gz",
        "--mask",
        out / "valid.nii.gz",
        "--acq",
        a,
        "--magnitude",
        m,
        "--noise",
        out / "noise.nii.gz",
        "-o",
        out / "chi.nii.gz",
    )
    run(
        "r2star",
        "--magnitude",
        m,
        "--mask",
        k,
        "--acq",
        a,
        "-o",
        out / "r2star.nii.gz",
        "--t2star-out",
        out / "t2star.nii.gz",
    )
    run("reference", "--chi", out / "chi.nii.gz", "--mask", out / "valid.nii.gz", "-o", out / "ref.nii.gz")
    return out


def _data(path):
    return nib.load(path).get_fdata()


def test_results(chain, coarse):
    mask = _data(coarse.flat / "mask.nii.gz") > 0
    affine = nib.load(coarse.flat / "mask.nii.gz").affine
    for path in chain.glob("*.nii.gz"):
        image = nib.load(path)
        assert np.allclose(image.affine, affine) and image.shape[:3] == mask.shape
        if path.name != "mask.nii.gz":
            assert np.isfinite(image.get_fdata()).all() and (image.get_fdata()[~mask] == 0).all(), path.name
    assert _data(chain / "unwrapped.nii.gz").shape == (*mask.shape, 3)
    true = _data(coarse.flat / "truth" / "totalfield.nii.gz")
    assert np.corrcoef(_data(chain / "total.nii.gz")[mask], true[mask])[0, 1] > 0.9
    valid = _data(chain / "valid.nii.gz") > 0
    assert abs(_data(chain / "ref.nii.gz")[valid].mean()) < 1e-6
    side = json.loads((chain / "ref.json").read_text())
    assert side["Units"] == "ppm" and side["ReferenceRegion"] == "mask"


def test_log(chain):
    lines = [json.loads(line) for line in (chain / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == [
        "mask",
        "unwrap",
        "field",
        "background",
        "inversion",
        "r2star",
        "reference",
    ]
    for line in lines:
        assert {
            "method",
            "seconds",
            "compile_seconds",
            "peak_memory_mb",
            "iterations",
            "converged",
            "facts",
            "parameters",
        } <= line.keys()
        assert line["seconds"] > 0 and line["compile_seconds"] >= 0 and line["peak_memory_mb"] > 10
    assert lines[4]["method"] == "tv" and lines[4]["parameters"]["tolerance"] == 0.05


def test_flags_stand_in_for_acq(chain, coarse, tmp_path):
    flat = coarse.flat
    te = [str(t) for t in coarse.acq.te_s]
    argv = [
        "field",
        "--phase",
        flat / "phase.nii.gz",
        "--magnitude",
        flat / "magnitude.nii.gz",
        "--mask",
        flat / "mask.nii.gz",
    ]
    argv += [
        "--te",
        *te,
        "--b0",
        "3",
        "--b0-dir",
        "0",
        "0",
        "1",
        "--voxel",
        "3",
        "3",
        "3",
        "-o",
        tmp_path / "t.nii.gz",
        "--quiet",
    ]
    assert main([str(a) for a in argv]) == 0
    assert np.array_equal(_data(tmp_path / "t.nii.gz"), _data(chain / "total.nii.gz"))


def test_reliability_of_unwrapping(chain, coarse, tmp_path):
    flat, out = coarse.flat, tmp_path / "r.nii.gz"
    argv = ["unwrap", "--phase", flat / "phase.nii.gz", "--magnitude", flat / "magnitude.nii.gz"]
    argv += ["--mask", flat / "mask.nii.gz", "--acq", flat / "params.json", "-o", tmp_path / "u.nii.gz"]
    assert main([*map(str, argv), "--reliability-out", str(out), "--quiet"]) == 0
    assert np.array_equal(_data(tmp_path / "u.nii.gz"), _data(chain / "unwrapped.nii.gz"))
    mask, trust = _data(flat / "mask.nii.gz") > 0, _data(out)
    assert trust.shape == mask.shape and not trust[~mask].any() and 0 <= trust.min() <= trust.max() <= 1
    assert np.median(trust[mask]) > 0.8


def test_score_prints_json(chain, coarse, capsys):
    truth = coarse.flat / "truth"
    argv = ["score", "--recon", truth / "chimap.nii.gz", "--truth", truth / "chimap.nii.gz"]
    argv += ["--mask", coarse.flat / "mask.nii.gz", "--seg", truth / "dseg.nii.gz"]
    assert main([str(a) for a in argv]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    values = json.loads(out)
    assert values["nrmse"] == 0 and values["xsim"] == 1 and "nrmse_dgm" in values


def test_methods(capsys):
    assert main(["methods", "inversion"]) == 0
    text = capsys.readouterr().out
    assert "tv  (default)" in text and "--tolerance" in text and "https://doi.org/10.1002/mrm.25029" in text
    assert main(["methods", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {"mask", "field", "inversion"} <= table.keys()
    assert any(m["default"] and m["parameters"] for m in table["inversion"])


def test_region_and_preset(chain, coarse, tmp_path):
    seg = nib.load(coarse.flat / "truth" / "dseg.nii.gz")
    region = tmp_path / "region.nii.gz"
    nib.save(nib.Nifti1Image((seg.get_fdata() == 8).astype(np.uint8), seg.affine), region)
    argv = ["reference", "--chi", chain / "chi.nii.gz", "--mask", chain / "valid.nii.gz", "--region", region]
    assert main([*map(str, argv), "-o", str(tmp_path / "ref.nii.gz"), "--quiet"]) == 0
    inside = (seg.get_fdata() == 8) & (_data(chain / "valid.nii.gz") > 0)
    assert abs(_data(tmp_path / "ref.nii.gz")[inside].mean()) < 1e-6
    argv = ["invert", "--preset", "fast", "--field", chain / "local.nii.gz", "--mask", chain / "valid.nii.gz"]
    assert main([*map(str, argv), "-o", str(tmp_path / "chi.nii.gz"), "--quiet"]) == 0
