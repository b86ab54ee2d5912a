"""`chimap reference`, `regions` and `iron` on files."""

from __future__ import annotations

import csv
import importlib
import json

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main
from chimap.simulate.tissue import LABELS

SIDES = {"caudate": (11, 50), "putamen": (12, 51), "globus pallidus": (13, 52), "thalamus": (10, 49)}


def _run(*argv):
    return main([str(a) for a in argv])


def _data(path):
    return nib.load(path).get_fdata(dtype=np.float32)


def _rows(path):
    with open(path, encoding="utf-8", newline="") as f:
        return {r["name"]: r for r in csv.DictReader(f, delimiter="\t")}


@pytest.fixture(scope="module")
def head(coarse, tmp_path_factory):
    """True maps of the simulated head: susceptibility, R2*, tissue labels, and labels as FreeSurfer numbers them."""
    out = tmp_path_factory.mktemp("head")
    truth = coarse.flat / "truth"
    mask = _data(coarse.flat / "mask.nii.gz") > 0
    image = nib.load(truth / "dseg.nii.gz")
    tissue = np.rint(image.get_fdata()).astype(np.int16)
    chi = np.where(mask, _data(truth / "chimap.nii.gz") + np.float32(0.123), 0).astype(np.float32)
    x = (np.indices(mask.shape).reshape(3, -1).T @ image.affine[:3, :3].T + image.affine[:3, 3])[:, 0]
    right = x.reshape(mask.shape) > 0
    aseg = np.zeros(mask.shape, np.int16)
    for name, numbers in SIDES.items():
        for number, side in zip(numbers, (~right, right)):
            aseg[(tissue == LABELS[name]) & side] = number
    aseg[tissue == LABELS["white matter"]] = 2
    for name, volume in (("chi", chi), ("mask", mask.astype(np.uint8)), ("aseg", aseg)):
        nib.save(nib.Nifti1Image(volume, image.affine), out / f"{name}.nii.gz")
    r2star = np.where(mask, _data(truth / "r2star.nii.gz"), 0).astype(np.float32)
    nib.save(nib.Nifti1Image(r2star, image.affine), out / "r2star.nii.gz")
    return out


def test_references_differ_by_one_constant(head, tmp_path):
    chi = head / "chi.nii.gz"
    for region, more in (("whole", ()), ("csf", ("--r2star", head / "r2star.nii.gz"))):
        argv = ["reference", "--chi", chi, "--region", region, "-o", tmp_path / f"{region}.nii.gz", "--quiet"]
        assert _run(*argv, *more, "--region-out", tmp_path / f"{region}_region.nii.gz") == 0
    mask = _data(head / "mask.nii.gz") > 0
    whole, csf = _data(tmp_path / "whole.nii.gz"), _data(tmp_path / "csf.nii.gz")
    difference = (whole - csf)[mask]
    # One rounding of float32 at the largest values, those of calcium.
    assert np.ptp(difference) < 3e-7 and not csf[~mask].any()
    about = json.loads((tmp_path / "csf.json").read_text())["Reference"]
    assert about["name"] == "CSF" and about["mean_ppm"] == pytest.approx(float(difference.mean()), abs=1e-6)
    # The mean under whole-brain referencing is the constant between the two; the true zero is that of fluid.
    region = _data(tmp_path / "csf_region.nii.gz") > 0
    assert about["voxels"] == region.sum() and abs(csf[region].mean()) < 1e-6
    assert about["sd_ppm"] == pytest.approx(float(whole[region].std()), rel=1e-3)
    fluid = _data(head / "chi.nii.gz")[mask & (whole != 0)] - 0.123 - csf[mask & (whole != 0)]
    assert abs(fluid.mean()) < 0.002
    # Once more, from the finished map: the same, and no inversion.
    again = ["reference", "--chi", tmp_path / "csf.nii.gz", "--mask", head / "mask.nii.gz"]
    assert _run(*again, "-o", tmp_path / "again.nii.gz", "--quiet") == 0
    assert np.allclose(_data(tmp_path / "again.nii.gz"), whole, atol=3e-7)


def test_reference_by_label(head, tmp_path, capsys):
    argv = [
        "reference",
        "--chi",
        head / "chi.nii.gz",
        "--labels",
        head / "aseg.nii.gz",
        "-o",
        tmp_path / "wm.nii.gz",
    ]
    assert _run(*argv, "--region", "wm") == 0
    assert "label 2" in capsys.readouterr().err
    white = _data(head / "aseg.nii.gz") == 2
    assert abs(_data(tmp_path / "wm.nii.gz")[white & (_data(head / "mask.nii.gz") > 0)].mean()) < 1e-6
    assert _run(*argv, "--region", "amygdala") == 2
    assert "Left-Putamen" in capsys.readouterr().err
    assert _run(*argv[:3], "--region", "csf", "-o", tmp_path / "x.nii.gz") == 2
    assert "R2*" in capsys.readouterr().err
    assert _run(*argv[:3], "--region", "nonsense", "-o", tmp_path / "x.nii.gz") == 2
    assert "no such file" in capsys.readouterr().err


@pytest.fixture(scope="module")
def table(head, tmp_path_factory):
    out = tmp_path_factory.mktemp("table")
    argv = [
        "regions",
        "--chi",
        head / "chi.nii.gz",
        "--labels",
        head / "aseg.nii.gz",
        "--mask",
        head / "mask.nii.gz",
    ]
    argv += [
        "--r2star",
        head / "r2star.nii.gz",
        "-o",
        out / "regions.tsv",
        "--figure-out",
        out / "violins.svg",
    ]
    assert _run(*argv, "--reference-name", "water", "--quiet") == 0
    return out


def test_regions(table, head):
    rows = _rows(table / "regions.tsv")
    left = (_data(head / "aseg.nii.gz") == 12) & (_data(head / "mask.nii.gz") > 0)
    expected = 1000 * _data(head / "chi.nii.gz")[left].mean()
    assert float(rows["Left-Putamen"]["mean_ppb"]) == pytest.approx(expected, abs=0.01)
    assert float(rows["Left-Putamen"]["volume_mm3"]) == 27 * left.sum()
    assert "se_ppb" not in rows["Left-Putamen"] and float(rows["Left-Pallidum"]["r2star_mean"]) > 20
    about = json.loads((table / "regions.json").read_text())
    assert about["Reference"] == "water" and set(rows["Left-Putamen"]) <= about.keys()
    sides = _rows(table / "regions_asymmetry.tsv")
    assert set(sides) == {"caudate", "putamen", "pallidum", "thalamus"}
    svg = (table / "violins.svg").read_text()
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and svg.count('class="violin"') == 9


def test_labels_through_an_affine(table, head, tmp_path):
    """Labels on a finer grid, shifted: FSL's and the header's way lead to the same table."""
    image = nib.load(head / "aseg.nii.gz")
    fine = np.asarray(image.dataobj).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    affine = image.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = image.affine[:3, 3] - 0.25 * image.affine[:3, :3].sum(axis=1)
    nib.save(nib.Nifti1Image(fine, affine), tmp_path / "fine.nii.gz")
    shift = np.eye(4)
    shift[:3, 3] = 12, -7, 30
    nib.save(nib.Nifti1Image(fine, np.linalg.inv(shift) @ affine), tmp_path / "moved.nii.gz")
    np.savetxt(tmp_path / "shift.txt", shift)
    base = ["regions", "--chi", head / "chi.nii.gz", "--mask", head / "mask.nii.gz", "--quiet"]
    assert _run(*base, "--labels", tmp_path / "fine.nii.gz", "-o", tmp_path / "a.tsv") == 0
    moved = [*base, "--labels", tmp_path / "moved.nii.gz", "-o", tmp_path / "b.tsv"]
    assert _run(*moved, "--transform", tmp_path / "shift.txt") == 0
    expected = {n: r["mean_ppb"] for n, r in _rows(table / "regions.tsv").items()}
    for name in ("a", "b"):
        assert {n: r["mean_ppb"] for n, r in _rows(tmp_path / f"{name}.tsv").items()} == expected


def test_registration_needs_its_extra(head, tmp_path, capsys, monkeypatch):
    def missing(name):
        raise ImportError(name)

    chi = head / "chi.nii.gz"
    argv = [
        "regions",
        "--chi",
        chi,
        "--labels",
        head / "aseg.nii.gz",
        "-o",
        tmp_path / "t.tsv",
        "--template",
        chi,
    ]
    assert _run(*argv) == 2 and "--image" in capsys.readouterr().err
    monkeypatch.setattr(importlib, "import_module", _only_for("ants", missing))
    assert _run(*argv, "--image", chi) == 2
    assert 'pip install "chimap[registration]"' in capsys.readouterr().err


def test_registration_with_antspyx(head, tmp_path, monkeypatch):
    """What is asked of antspyx, with a stand-in that shifts nothing."""

    class Image:
        def __init__(self, path):
            self.path = path

        def numpy(self):
            return _data(self.path)

    class Ants:
        image_read = Image

        @staticmethod
        def registration(fixed, moving, type_of_transform, random_seed):
            return {"fwdtransforms": [type_of_transform]}

        @staticmethod
        def apply_transforms(fixed, moving, transforms, interpolator):
            assert transforms == ["SyN"] and interpolator == "nearestNeighbor"
            return moving

    monkeypatch.setattr(importlib, "import_module", _only_for("ants", lambda name: Ants))
    chi = head / "chi.nii.gz"
    argv = ["regions", "--chi", chi, "--labels", head / "aseg.nii.gz", "-o", tmp_path / "t.tsv", "--quiet"]
    assert _run(*argv, "--template", chi, "--image", chi) == 0
    assert "label 12" in _rows(tmp_path / "t.tsv")


def _only_for(wanted, instead):
    real = importlib.import_module
    return lambda name, *a: instead(name) if name == wanted else real(name, *a)


def test_iron(head, tmp_path, capsys):
    chi = tmp_path / "chi.nii.gz"
    image = nib.load(head / "chi.nii.gz")
    nib.save(
        nib.Nifti1Image(_data(head / "chi.nii.gz") - 0.123 * (_data(head / "mask.nii.gz") > 0), image.affine),
        chi,
    )
    argv = ["iron", "--chi", chi, "--labels", head / "aseg.nii.gz", "--mask", head / "mask.nii.gz", "--quiet"]
    argv += ["-o", tmp_path / "iron.tsv", "--figure-out", tmp_path / "iron.svg", "--reference-name", "water"]
    assert _run(*argv, "--age", 45, "--slope", 1.0, "--iron-free", -10, "--range", 0, 90) == 0
    out = capsys.readouterr().out
    assert "relative to water" in out and "Not for diagnosis" in out
    rows = _rows(tmp_path / "iron.tsv")
    assert "Left-Cerebral-White-Matter" not in rows
    for row in rows.values():
        column = "eroded_mean_ppb" if row["iron_from"] == "without rim" else "mean_ppb"
        assert float(row["iron_mg_kg"]) == pytest.approx(float(row[column]) + 10, abs=0.06)
    assert rows["Left-Pallidum"]["iron_flag"] == "above" and rows["Left-Putamen"]["iron_flag"] == "n/a"
    assert float(rows["Right-Pallidum"]["normal_mg_kg"]) == pytest.approx(214.1, abs=0.1)
    about = json.loads((tmp_path / "iron.json").read_text())
    assert about["IronCalibration"]["name"] == "own" and about["AgeYears"] == 45
    assert "<circle" in (tmp_path / "iron.svg").read_text()
    assert _run(*argv, "--age", 200) == 2 and "age" in capsys.readouterr().err
    assert _run(*argv, "--calibration", "nobody") == 2 and "zheng2013" in capsys.readouterr().err
    assert _run("iron", "--chi", chi) == 2 and "nothing is asked for" in capsys.readouterr().err


def test_iron_and_myelin(head, tmp_path, capsys):
    model = tmp_path / "model.json"
    model.write_text(
        json.dumps({"chi_iron": 0.9, "chi_myelin": -150, "r2star_iron": 0.12, "r2star_myelin": 40})
    )
    argv = ["iron", "--chi", head / "chi.nii.gz", "--model", model, "--quiet"]
    argv += ["--iron-out", tmp_path / "fe.nii.gz", "--myelin-out", tmp_path / "my.nii.gz"]
    assert _run(*argv) == 2 and "--r2star" in capsys.readouterr().err
    assert _run(*argv, "--r2star", head / "r2star.nii.gz") == 0
    fe, my, mask = (
        _data(tmp_path / "fe.nii.gz"),
        _data(tmp_path / "my.nii.gz"),
        _data(head / "mask.nii.gz") > 0,
    )
    assert fe.min() >= 0 and my.min() >= 0 and fe[mask].mean() > 0 and not fe[~mask].any()
    assert json.loads((tmp_path / "fe.json").read_text())["Units"].startswith("mg/kg")
    regions = [{"chi_ppb": 0.9 * f - 150 * m, "r2star": 0.12 * f + 40 * m, "iron": f, "myelin": m}
               for f, m in ((10, 0.1), (100, 0.2), (200, 0.05), (40, 0.4), (60, 0.3))]  # fmt: skip
    model.write_text(json.dumps({"regions": regions}))
    assert _run(*argv, "--r2star", head / "r2star.nii.gz") == 0
    assert np.allclose(_data(tmp_path / "fe.nii.gz"), fe, atol=0.1)
    model.write_text("{}")
    assert _run(*argv, "--r2star", head / "r2star.nii.gz") == 2 and "chi_iron" in capsys.readouterr().err
