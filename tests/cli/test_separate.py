"""`chimap separate` on a small simulated head, from files to files."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.metrics import correlation
from chimap.simulate import head_phantom, simulate_scan, write_flat


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """A head of 4 mm with its sources as flat files, R2 among them."""
    root = tmp_path_factory.mktemp("sources")
    acq = Acquisition((0.005, 0.012, 0.019), 3.0, voxel_size_mm=(4.0, 4.0, 4.0))
    scan = simulate_scan(head_phantom((8 / 3,) * 3, sources=True), acq, snr=100)
    write_flat(scan, acq, root)
    image = nib.load(root / "truth" / "r2star.nii.gz")
    nib.save(nib.Nifti1Image(scan.r2star - scan.r2prime, image.affine), root / "r2.nii.gz")
    return root


def separate(flat, out, *more):
    start = ["separate", "--mask", flat / "mask.nii.gz", "--acq", flat / "params.json", "--quiet"]
    asked = ["--paramagnetic-out", out / "para.nii.gz", "--diamagnetic-out", out / "dia.nii.gz"]
    return main([*map(str, [*start, *asked, *more])])


def load(path):
    return np.asarray(nib.load(path).dataobj)


FIELD = "truth/localfield.nii.gz"
WAYS = {
    "R2'": ["--field", FIELD, "--r2prime", "truth/r2prime.nii.gz", "--total-out", "{out}/total.nii.gz"],
    "R2* and R2": ["--field", FIELD, "--r2star", "truth/r2star.nii.gz", "--r2map", "r2.nii.gz"],
    "R2*": ["--method", "chi_separation_r2star", "--field", FIELD, "--r2star", "truth/r2star.nii.gz"],
    "echoes": ["--method", "decompose", "--chi", "truth/chimap.nii.gz"],
}


@pytest.mark.parametrize("way", WAYS)
def test_maps_with_sidecars(flat, tmp_path, way):
    words = [w.format(out=tmp_path) if "{" in w else str(flat / w) if ".nii" in w else w for w in WAYS[way]]
    assert separate(flat, tmp_path, *words, "--magnitude", flat / "magnitude.nii.gz") == 0
    m = load(flat / "mask.nii.gz") > 0
    para, dia = load(tmp_path / "para.nii.gz"), load(tmp_path / "dia.nii.gz")
    assert (para >= 0).all() and (dia <= 0).all() and not para[~m].any()
    least = 0.5 if way == "echoes" else 0.8
    assert correlation(para, load(flat / "truth" / "paramagnetic.nii.gz"), m) > least
    beside = json.loads((tmp_path / "para.json").read_text())
    assert (
        beside["Units"] == "ppm" and beside["Method"] in (words[1], "chi_separation") and beside["References"]
    )
    if way != "echoes":
        assert beside["Parameters"]["dr_pos"] == 137
    if way == "R2'":
        assert np.allclose(load(tmp_path / "total.nii.gz"), para + dia, atol=1e-6)


def test_both_ways_to_r2prime_agree(flat, tmp_path):
    maps = []
    for n, way in enumerate(("R2'", "R2* and R2")):
        out = tmp_path / str(n)
        words = [w.format(out=out) if "{" in w else str(flat / w) if ".nii" in w else w for w in WAYS[way]]
        assert separate(flat, out, *words) == 0
        maps.append(load(out / "para.nii.gz"))
    assert np.allclose(maps[0], maps[1], atol=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--field", FIELD], "chi_separation_r2star"),
        (["--field", FIELD, "--r2map", "r2.nii.gz"], "--r2star"),
        (["--r2prime", "truth/r2prime.nii.gz"], "--field"),
        (["--method", "decompose", "--field", FIELD], "--chi"),
        (["--method", "decompose", "--chi", "truth/chimap.nii.gz"], "magnitude"),
        (["--method", "chi_separation_r2star", "--field", FIELD], "chimap r2star"),
    ],
)
def test_what_is_missing(flat, tmp_path, capsys, words, said):
    assert separate(flat, tmp_path, *[str(flat / w) if ".nii" in w else w for w in words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and said in err
    assert not list(tmp_path.iterdir())


def test_the_field_strength_must_be_given(flat, tmp_path, capsys):
    argv = ["separate", "--field", flat / FIELD, "--r2prime", flat / "truth/r2prime.nii.gz"]
    argv += ["--mask", flat / "mask.nii.gz", "--paramagnetic-out", tmp_path / "p.nii.gz"]
    assert main([*map(str, argv)]) == 2
    assert "--b0" in capsys.readouterr().err
    assert main([*map(str, argv[:-2])]) == 2
    assert "--paramagnetic-out" in capsys.readouterr().err
