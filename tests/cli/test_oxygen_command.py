"""`chimap oxygen` after the default stages of a simulated scan: saturation, tables with their dictionaries, figure, what is missing."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.pipeline import presets
from chimap.simulate import simulate_scan
from chimap.simulate.veins import vein_grid, vein_phantom

SVO2 = (0.56, 0.74, 0.63)
ANGLES = (25, 60, 90)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three veins of 2.5 mm at 3 T and 1 mm, with noise, reconstructed by the default stages."""
    folder = tmp_path_factory.mktemp("oxygen")
    veins = vein_grid(ANGLES, [2.5], SVO2, spacing_mm=19.0, length_mm=18.0, seed=5)
    acq = Acquisition((0.004, 0.010, 0.016, 0.022), 3.0, voxel_size_mm=(1.0, 1.0, 1.0))
    phantom = vein_phantom(veins, radius_mm=34.0, voxel_size_mm=(0.5, 0.5, 0.5), seed=5)
    scan = simulate_scan(phantom, acq, seed=5)
    stage = {n: presets.choose(n) for n in ("field", "background", "inversion", "r2star")}

    def work(name, data, mask, **arrays):
        c = stage[name]
        given = c.method.takes(**{k: v for k, v in arrays.items() if v is not None})
        return c.method(data, mask, acq, **given, **c.parameters)

    total = work("field", scan.phase, scan.mask, magnitude=scan.magnitude)
    r2star = work("r2star", scan.magnitude, scan.mask).r2star
    magnitude = np.sqrt((scan.magnitude**2).sum(axis=3))
    local = work(
        "background", total.field_ppm, scan.mask, noise=total.noise_ppm, magnitude=magnitude, r2star=r2star
    )
    noise = total.noise_ppm if local.noise_ppm is None else local.noise_ppm
    chi = work("inversion", local.field_ppm, local.mask, noise=noise, magnitude=magnitude, r2star=r2star)
    halves = np.where(np.arange(chi.shape[0])[:, None, None] < 35, 1, 2) * local.mask
    maps = {"chi": chi, "mask": local.mask, "field": local.field_ppm, "noise": noise, "r2star": r2star}
    maps |= {"halves": halves, "cbf": 50.0 * local.mask}
    affine = np.eye(4)
    affine[:3, 3] = -(np.array(chi.shape) - 1) / 2
    for name, data in maps.items():
        kind = np.int16 if name == "halves" else np.float32
        nib.save(nib.Nifti1Image(np.asarray(data, kind), affine), folder / f"{name}.nii.gz")
    (folder / "halves.tsv").write_text("index\tname\n1\tleft half\n2\tright half\n")
    return folder


def _run(files, out, *extra):
    args = ["oxygen", "--chi", files / "chi.nii.gz", "--mask", files / "mask.nii.gz", "-o", out, *extra]
    return main([str(a) for a in args])


def _rows(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def test_saturation_within_four_points_and_everything_written(files, tmp_path, capsys):
    status = _run(
        files, tmp_path, "--field", files / "field.nii.gz", "--noise", files / "noise.nii.gz",
        "--r2star", files / "r2star.nii.gz", "--labels", files / "halves.nii.gz", "--cbf", files / "cbf.nii.gz",
        "--quiet",
    )  # fmt: skip
    assert status == 0
    rows = _rows(tmp_path / "oxygen.tsv")
    good = sorted((r for r in rows if r["reliable"] == "yes"), key=lambda r: float(r["x"]))
    assert len(good) == 3
    off = [float(r["svo2"]) - 100 * y for r, y in zip(good, SVO2)]
    assert np.median(np.abs(off)) < 4 and np.max(np.abs(off)) < 7
    assert [float(r["diameter"]) for r in good] == pytest.approx([2.5] * 3, abs=0.25)
    assert [float(r["angle"]) for r in good] == pytest.approx(ANGLES, abs=5)
    about = json.loads((tmp_path / "oxygen.json").read_text())
    assert set(rows[0]) <= set(about) and about["svo2"]["Units"] == "%"
    assert about["LeftOut"] == [] and about["Blood"]["DeoxygenationOfRedCells_ppm_SI"] == 3.3929
    regions = _rows(tmp_path / "regions.tsv")
    assert [r["name"] for r in regions] == ["all veins", "left half", "right half"]
    assert float(regions[0]["cbf"]) == 50 and 80 < float(regions[0]["cmro2"]) < 220
    image = nib.load(tmp_path / "veins_dseg.nii.gz")
    assert {int(r["number"]) for r in rows} == set(np.unique(image.dataobj).astype(int)) - {0}
    assert (tmp_path / "oxygen.png").read_bytes()[:4] == b"\x89PNG"
    said = capsys.readouterr().out
    assert "3 reliable" in said and "0.27 ppm cgs = 3.39 ppm SI" in said


def test_less_input_fewer_columns(files, tmp_path, capsys):
    assert _run(files, tmp_path, "--haematocrit", "0.35", "--figure", "svg", "--noise", "2") == 0
    rows = _rows(tmp_path / "oxygen.tsv")
    assert rows and "territory" not in rows[0] and "r2star_contrast" not in rows[0]
    (region,) = _rows(tmp_path / "regions.tsv")
    assert region["name"] == "all veins" and "cmro2" not in region
    said = capsys.readouterr().err
    for word in ("no local field", "no R2*", "no label image", "no blood flow"):
        assert word in said
    assert json.loads((tmp_path / "oxygen.json").read_text())["MeasuredFrom"] == "susceptibility"
    assert b"<svg" in (tmp_path / "oxygen.svg").read_bytes()


def test_nothing_found(files, tmp_path, capsys):
    assert _run(files, tmp_path, "--contrast", "5000", "--quiet") == 0
    assert _rows(tmp_path / "oxygen.tsv") == []
    assert "0 segments" in capsys.readouterr().out
    assert (tmp_path / "oxygen.png").exists()


def test_errors(files, tmp_path, capsys):
    for extra, word in (
        (("--haematocrit", "42"), "part of 1"),
        (("--deoxygenation", "3.39"), "cgs"),
        (("--noise", "-3"), "not positive"),
    ):
        assert _run(files, tmp_path / "out", *extra) == 2
        assert word in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert _run(files, tmp_path / "file") == 2
