"""`chimap correlate` and `chimap swi` on a small simulated head."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main


def values(path):
    return np.asarray(nib.load(path).dataobj)


def test_correlate(coarse, tmp_path, capsys):
    flat, out = coarse.flat, tmp_path / "out"
    chi, r2star = flat / "truth/chimap.nii.gz", flat / "truth/r2star.nii.gz"
    argv = [
        "correlate",
        str(out),
        "--maps",
        f"chi={chi}",
        f"r2star={r2star}",
        "--mask",
        str(flat / "mask.nii.gz"),
    ]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "left out: regions" in said and "third map" in said and "no --window" in said
    third = tmp_path / "third.nii.gz"
    nib.save(nib.Nifti1Image(values(r2star) ** 2, nib.load(chi).affine), third)
    argv[2:3] = ["--maps", f"mt:pu={third}"]
    assert main([*argv, "--labels", str(flat / "truth/dseg.nii.gz"), "--window", "12"]) == 0
    rows = [line.split("\t") for line in (out / "correlations.tsv").read_text().splitlines()]
    assert [r[2] for r in rows[1:]] == ["voxels", "regions", "partial"] * 3
    about = json.loads((out / "correlations.json").read_text())
    assert set(rows[0]) < set(about) and about["Maps"]["mt"]["Units"] == "pu"
    assert about["Maps"]["chi"]["Units"] == "ppb" and about["Notes"] == []
    assert (out / "mt_chi.svg").read_text().count("<rect") > 50 and "Means of regions" in (
        out / "mt_chi.svg"
    ).read_text()
    assert np.abs(values(out / "mt_chi_window-r.nii.gz")).max() <= 1
    assert set((out / "regions.tsv").read_text().split("\n")[0].split("\t")) == set(
        json.loads((out / "regions.json").read_text())
    )


@pytest.mark.parametrize(
    ("maps", "said"),
    [(["chi={chi}"], "two or more"), (["chi={chi}", "chi={chi}"], "different names"), (["{chi}", "b={chi}"], "NAME=FILE"),
     (["chi={chi}", "b={other}"], "shape")],
)  # fmt: skip
def test_correlate_bad_input(coarse, tmp_path, capsys, maps, said):
    other = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.float32), np.eye(4)), other)
    maps = [m.format(chi=coarse.flat / "truth/chimap.nii.gz", other=other) for m in maps]
    assert (
        main(["correlate", str(tmp_path / "o"), "--maps", *maps, "--mask", str(coarse.flat / "mask.nii.gz")])
        == 2
    )
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("method", ["swi", "clear-swi", "true-swi", "smwi"])
def test_swi(coarse, tmp_path, method):
    flat, out, thin = coarse.flat, tmp_path / "s.nii.gz", tmp_path / "m.nii.gz"
    argv = [
        "swi",
        "--method",
        method,
        "--magnitude",
        str(flat / "magnitude.nii.gz"),
        "--mask",
        str(flat / "mask.nii.gz"),
        "--quiet",
    ]
    argv += ["--phase", str(flat / "phase.nii.gz")] if method.endswith("-swi") or method == "swi" else []
    argv += [
        "--chi",
        str(flat / "truth/chimap.nii.gz"),
        "--acq",
        str(flat / "params.json"),
        "-o",
        str(out),
        "--projection",
        str(thin),
    ]
    assert main(argv) == 0
    image, low, mask = values(out), values(thin), values(flat / "mask.nii.gz") > 0
    assert image[mask].mean() > 0 and not image[~mask].any() and (low <= image + 1e-6)[mask].all()
    side = json.loads((tmp_path / "s.json").read_text())
    assert side["Method"] == method and side["DOI"].startswith("10.") and side["Parameters"]["power"] > 0
    assert json.loads((tmp_path / "m.json").read_text())["ProjectionThicknessMm"] == 10


def test_projection_and_bad_input(coarse, tmp_path, capsys):
    chi, out = str(coarse.flat / "truth/chimap.nii.gz"), str(tmp_path / "p.nii.gz")
    assert main(["swi", "--method", "projection", "--image", chi, "--kind", "maximum", "-o", out]) == 0
    assert (values(out) >= values(chi) - 1e-6).all()
    for argv, said in (
        (["--method", "smwi", "--chi", chi], "needs --magnitude"),
        (["--method", "projection", "--image", chi, "--power", "3"], "not a parameter"),
        (
            [
                "--magnitude",
                str(coarse.flat / "magnitude.nii.gz"),
                "--phase",
                str(coarse.flat / "phase.nii.gz"),
                "--echo",
                "9",
            ],
            "echo 9",
        ),
    ):
        assert main(["swi", *argv, "-o", out]) == 2
        assert said in capsys.readouterr().err
