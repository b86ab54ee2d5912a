"""`chimap lesions`: tables with their dictionaries, label image, figure; what is missing is said."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.numerics.dipole import forward_field

SHAPE = (48, 50, 46)
AFFINE = np.array([[-1.0, 0, 0, 24], [0, 1, 0, -25], [0, 0, 1, -23], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A ball of brain with a bleed and a calcification."""
    folder = tmp_path_factory.mktemp("lesions")
    rng = np.random.default_rng(1)
    axes = np.ogrid[tuple(slice(0, n) for n in SHAPE)]

    def ball(centre, diameter):
        r = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, centre)))
        return np.clip(0.5 + diameter / 2 - r, 0, 1).astype(np.float32)

    mask = ball((24, 25, 23), 44) > 0.5
    spots = ball((16, 25, 23), 5), ball((32, 25, 23), 4)
    chi = rng.normal(0, 0.01, SHAPE).astype(np.float32) + spots[0] - 1.2 * spots[1]
    field = forward_field(np.where(mask, chi, 0), Acquisition((0.02,), 3.0))
    maps = {
        "chi": chi * mask,
        "mask": mask.astype(np.uint8),
        "field": field * mask,
        "r2star": (20 + 80 * (spots[0] + spots[1])) * mask,
        "magnitude": (1 - 0.6 * (spots[0] + spots[1])) * mask,
        "labels": (np.indices(SHAPE)[0] // 24 + 1).astype(np.int16),
    }
    for name, data in maps.items():
        kind = data.dtype if data.dtype.kind in "iu" else np.float32
        nib.save(nib.Nifti1Image(data.astype(kind), AFFINE), folder / f"{name}.nii.gz")
    (folder / "labels.tsv").write_text("index\tname\n1\tright half\n2\tleft half\n3\tnothing\n")
    return folder


def _run(files, out, *extra):
    args = ["lesions", "--chi", files / "chi.nii.gz", "--mask", files / "mask.nii.gz", "-o", out, *extra]
    return main([str(a) for a in args])


def _rows(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def test_everything(files, tmp_path, capsys):
    inputs = [f(files) for f in (lambda d: d / "field.nii.gz", lambda d: d / "r2star.nii.gz")]
    labels = files / "labels.nii.gz"
    roi = files / "mask.nii.gz"
    status = _run(
        files, tmp_path, "--field", inputs[0], "--r2star", inputs[1], "--labels", labels, "--b0", "3",
        "--rims", roi, "--tumour", roi, "--quiet",
    )  # fmt: skip
    assert status == 0
    rows = _rows(tmp_path / "lesions.tsv")
    assert [r["kind"] for r in rows] == ["haemorrhage", "calcification"]
    assert float(rows[0]["x"]) == pytest.approx(8, abs=0.5) and rows[0]["region"] == "right half"
    assert float(rows[0]["moment"]) == pytest.approx(1000 * np.pi / 6 * 125, rel=0.2)
    about = json.loads((tmp_path / "lesions.json").read_text())
    assert set(rows[0]) <= set(about) and about["moment"]["Units"] == "ppb mm^3"
    assert about["LeftOut"] == []
    image = nib.load(tmp_path / "lesions_dseg.nii.gz")
    assert np.allclose(image.affine, AFFINE) and set(np.unique(image.dataobj)) == {0, 1, 2}
    assert (tmp_path / "lesions.png").read_bytes()[:4] == b"\x89PNG"
    assert _rows(tmp_path / "rims.tsv")[0]["rim"] == "n/a"
    assert [r["parts"] for r in _rows(tmp_path / "tumour.tsv")] == ["1", "1"]
    assert (tmp_path / "tumour_dseg.nii.gz").exists()
    assert "1 haemorrhage, 1 calcification" in capsys.readouterr().out


def test_less_input_fewer_columns(files, tmp_path, capsys):
    assert _run(files, tmp_path, "--magnitude", files / "magnitude.nii.gz", "--figure", "svg") == 0
    rows = _rows(tmp_path / "lesions.tsv")
    assert len(rows) == 2
    assert "region" not in rows[0] and "r2star_contrast" not in rows[0] and "dark_volume" in rows[0]
    said = capsys.readouterr().err
    assert "no local field" in said and "no R2*" in said and "no label image" in said
    assert b"<svg" in (tmp_path / "lesions.svg").read_bytes()
    assert not (tmp_path / "rims.tsv").exists()


def test_nothing_found(files, tmp_path):
    assert _run(files, tmp_path, "--contrast", "5000", "--quiet") == 0
    assert _rows(tmp_path / "lesions.tsv") == []
    assert (tmp_path / "lesions.png").exists()


def test_errors(files, tmp_path, capsys):
    assert _run(files, tmp_path, "--r2star", files / "r2star.nii.gz") == 2
    assert "--b0" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert _run(files, tmp_path / "file") == 2
