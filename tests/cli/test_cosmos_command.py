"""chimap simulate --orientations and chimap cosmos: from scans in several positions to a map, resumed the second time."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from chimap.cli import main
from chimap.metrics import correlation

pytest.importorskip("SimpleITK")


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    root = tmp_path_factory.mktemp("orientations") / "bids"
    flags = "--voxel 5 5 5 --oversample 1 --snr 100 --te 0.005 0.012 0.02 --quiet --within 20"
    assert main(["simulate", str(root), "--orientations", "3", *flags.split()]) == 0
    return root


def test_scans_in_three_positions_become_one_map(head, tmp_path, capsys):
    names = sorted(p.name for p in (head / "sub-01" / "anat").glob("*echo-1_part-phase*.nii.gz"))
    assert [n.split("_")[1] for n in names] == ["acq-ori1", "acq-ori2", "acq-ori3"]
    out = tmp_path / "out"
    argv = ["cosmos", str(head), str(out), "--method-mask", "threshold", "--lam", "2", "--quiet"]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "3 orientations, condition number" in said and "a further scan would help most" in said
    folder = out / "sub-01" / "anat"
    image = nib.load(folder / "sub-01_desc-cosmos_Chimap.nii.gz")
    mask = nib.load(folder / "sub-01_desc-cosmos_mask.nii.gz").get_fdata() > 0
    truth = nib.load(head / "derivatives/truth/sub-01/anat/sub-01_acq-ori1_Chimap.nii.gz")
    brain = nib.load(head / "derivatives/truth/sub-01/anat/sub-01_acq-ori1_desc-brain_mask.nii.gz")
    assert np.allclose(image.affine, truth.affine, atol=1e-4)
    # Without the brain's edge: what background removal leaves there in a mask by threshold is not the map's doing.
    inside = mask & binary_erosion(brain.get_fdata() > 0, iterations=2)
    assert correlation(image.get_fdata(), truth.get_fdata(), inside) > 0.6
    facts = json.loads((folder / "sub-01_desc-orientations_Chimap.json").read_text())
    motion = json.loads((head / "sub-01/anat/sub-01_acq-ori2_echo-1_part-phase_MEGRE.json").read_text())[
        "ChimapSimulation"
    ]["head_motion"]
    found = facts["Registrations"]["sub-01_acq-ori2"]["Matrix"]
    assert np.allclose(np.array(found)[:3, :3], np.array(motion)[:3, :3], atol=0.01)
    assert facts["Registrations"]["sub-01_acq-ori1"] is None
    assert facts["BestFurtherOrientation"]["Posture"]
    rows = (folder / "sub-01_desc-orientations_Chimap.tsv").read_text().splitlines()
    assert len(rows) == 4 and rows[1].split("\t")[5:][0] == "1.0"
    sidecar = json.loads((folder / "sub-01_desc-cosmos_Chimap.json").read_text())
    assert sidecar["ConditionNumber"] < 15 and sidecar["Units"] == "ppm"
    field = json.loads((folder / "sub-01_acq-ori2_space-common_desc-local_fieldmap.json").read_text())
    assert np.linalg.norm(field["B0_dir"]) == pytest.approx(1)
    for picture in ("cosmos", "conditioning", "registration"):
        assert (folder / f"sub-01_desc-{picture}_Chimap.png").read_bytes()[:4] == b"\x89PNG"

    before = (folder / "sub-01_desc-cosmos_Chimap.nii.gz").stat().st_mtime_ns
    assert main(argv) == 0
    assert (folder / "sub-01_desc-cosmos_Chimap.nii.gz").stat().st_mtime_ns == before


def test_one_scan_is_not_enough(head, tmp_path, capsys):
    one = tmp_path / "one"
    anat = one / "sub-01" / "anat"
    anat.mkdir(parents=True)
    for p in (head / "sub-01" / "anat").glob("*acq-ori1*"):
        (anat / p.name).symlink_to(p)
    assert main(["cosmos", str(one), str(tmp_path / "out")]) == 2
    assert "only scan of its subject" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, said",
    [
        (["cosmos", "OUT"], "no input is given"),
        (["cosmos", "HEAD", "OUT", "--te", "0.01"], "goes with --phase"),
        (["cosmos", "HEAD", "OUT", "--within", "95"], "outside 1 to 90"),
        (["cosmos", "HEAD", "OUT", "--mask", "a.nii"], "1 masks for 3 scans"),
        (
            ["cosmos", "OUT", "--phase", "a.nii", "b.nii", "--magnitude", "c.nii"],
            "2 files with --phase but 1",
        ),
        (["simulate", "OUT", "--orientations", "2", "--object", "sphere"], "goes with a head"),
        (["simulate", "OUT", "--orientations", "0"], "0 orientations"),
    ],
)
def test_what_cannot_be_is_refused(argv, said, head, tmp_path, capsys):
    argv = [{"HEAD": str(head), "OUT": str(tmp_path / "out")}.get(a, a) for a in argv]
    assert main(argv) == 2
    assert said in capsys.readouterr().err
