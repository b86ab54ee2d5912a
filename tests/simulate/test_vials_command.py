"""`chimap simulate --object vials` and heads with lesions: their truth is what is in the files."""

from __future__ import annotations

import argparse
import csv
import json

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main, simulate
from chimap.errors import InputError
from chimap.quantify.agents import molar_susceptibility


def call(*argv):
    parser = argparse.ArgumentParser()
    simulate.arguments(parser)
    return simulate.run(parser.parse_args([str(a) for a in argv]))


def _rows(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


VIALS = ("--object", "vials", "--voxel", 3, 3, 3, "--te", 0.004, 0.008)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Two vials' rows and maps: B0 across the vials, manganese."""
    root = tmp_path_factory.mktemp("vials")
    more = ("--agent", "manganese", "--temperature", 37, "--concentrations", 0.5, 1, 2, "--b0-dir", 1, 0, 0)
    assert call(root, *VIALS, *more) == 0
    return root


def test_truth_of_vials(phantom):
    truth = phantom / "derivatives/truth/sub-01/anat"
    rows = _rows(truth / "sub-01_vials.tsv")
    assert set(json.loads((truth / "sub-01_vials.json").read_text())) == set(rows[0])
    chi = nib.load(truth / "sub-01_Chimap.nii.gz").get_fdata()
    labels = nib.load(truth / "sub-01_dseg.nii.gz").get_fdata()
    molar = molar_susceptibility("manganese", 37.0)
    assert [float(r["concentration_mm"]) for r in rows] == [0.5, 1.0, 2.0]
    for row in rows:
        expected = molar * float(row["concentration_mm"])
        assert float(row["chi_ppm"]) == pytest.approx(expected, rel=1e-5)
        at = tuple(round(float(row[f"{a}_mm"]) / 3) for a in "xyz")
        assert chi[at] == pytest.approx(expected, rel=1e-3) and labels[at] == int(row["label"])
    names = (phantom / "derivatives/truth/dseg.tsv").read_text()
    assert "vial 3: 2 mmol/L" in names and "water" in names


def test_calibration_finds_the_truth(phantom, tmp_path, capsys):
    """The true map through `chimap calibrate` gives the known slope."""
    truth, anat = phantom / "derivatives/truth/sub-01/anat", phantom / "sub-01/anat"
    argv = ["calibrate", "fit", tmp_path, "--chi", truth / "sub-01_Chimap.nii.gz"]
    argv += ["--magnitude", anat / "sub-01_echo-1_part-mag_MEGRE.nii.gz"]
    argv += ["--mask", truth / "sub-01_desc-brain_mask.nii.gz", "--vials", truth / "sub-01_vials.tsv"]
    argv += ["--agent", "manganese", "--temperature", "37", "--b0", "3"]
    assert main([str(a) for a in argv]) == 0
    found = json.loads((tmp_path / "calibration.json").read_text())["Map"]
    assert found["ratio"] == pytest.approx(1, abs=0.01)
    assert "by rank" not in capsys.readouterr().out
    # B0 runs across the vials.
    assert {float(r["angle_deg"]) for r in _rows(tmp_path / "vials.tsv")} == {90.0}


def test_many_vials_get_a_wider_container(tmp_path):
    assert (
        call(
            tmp_path,
            *VIALS,
            "--format",
            "flat",
            "--radius",
            6,
            "--concentrations",
            *(0.1 * n for n in range(14)),
        )
        == 0
    )
    assert len(_rows(tmp_path / "truth" / "vials.tsv")) == 14
    labels = nib.load(tmp_path / "truth" / "dseg.nii.gz").get_fdata()
    assert set(np.unique(labels)) == set(range(16))


def test_truth_of_lesions(tmp_path):
    """What the lesions add to the head's susceptibility lies where the table says, as much as it says."""
    head = ("--voxel", 3, 3, 3, "--te", 0.004, "--b0-dir", 0.3, 0, 1, "--microbleeds")
    maps = {}
    for name, count in (("sick", (3, "--calcifications", 1)), ("sound", (0,))):
        assert call(tmp_path / name, *head, *count) == 0
        maps[name] = tmp_path / name / "derivatives/truth/sub-01/anat/sub-01_Chimap.nii.gz"
    image = nib.load(maps["sick"])
    added = image.get_fdata() - nib.load(maps["sound"]).get_fdata()
    rows = _rows(maps["sick"].with_name("sub-01_lesions.tsv"))
    assert [r["kind"] for r in rows] == ["microbleed"] * 3 + ["calcification"]
    assert _rows(maps["sound"].with_name("sub-01_lesions.tsv")) == []
    index = np.stack(np.meshgrid(*map(np.arange, added.shape), indexing="ij"), -1)
    mm = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    off = []
    for row in rows:
        place = np.array([float(row[a]) for a in "xyz"])
        near = np.linalg.norm(mm - place, axis=-1) < float(row["diameter"]) / 2 + 3
        moment = added[near].sum() * 27
        assert 1000 * moment == pytest.approx(float(row["moment"]), rel=0.02)
        centre = (added[near, None] * mm[near]).sum(0) * 27 / moment
        off.append(centre - place)
    # Voxels put what they hold into their middles.
    assert np.abs(off).max() < 1.5 and np.linalg.norm(np.mean(off, axis=0)) < 0.5


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--concentrations", 1), "belongs to --object vials"),
        (("--radius", 5), "belongs to --object sphere or cylinder or vials"),
        (("--object", "sphere", "--microbleeds", 2), "belongs to --object head"),
        (("--sources", "--microbleeds", 2), "no sources"),
        (("--microbleeds", -1), "negative"),
        ((*VIALS, "--axis", 1, 1, 0), "voxel axis"),
        ((*VIALS, "--agent", "gadolinium", "--molar", 0.3), "both"),
        ((*VIALS, "--agent", "xenon"), "no agent"),
        ((*VIALS, "--molar", 0.3, "--temperature", 30), "--temperature"),
        ((*VIALS, "--container", 20), "do not fit"),
        ((*VIALS, "--length", -5), "--length is -5 mm"),
    ],
)
def test_bad_arguments(tmp_path, argv, said):
    with pytest.raises(InputError, match=said):
        call(tmp_path, *argv)
    assert not list(tmp_path.rglob("*.nii.gz"))
