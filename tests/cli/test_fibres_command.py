"""chimap fibres: the field of known fibres comes off, and a map loses their shift."""

import json

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main
from chimap.numerics.tensor import tensor_field
from chimap.orientation.tensor_maps import cylindrical_tensor

AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
B0 = (0.0, 0.0, 1.0)


def save(path, array):
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), AFFINE), path)
    return str(path)


def read(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture
def sample(tmp_path):
    shape = (16, 18, 14)
    rng = np.random.default_rng(1)
    mask = np.zeros(shape, bool)
    mask[3:13, 3:15, 3:11] = True
    v = rng.standard_normal((*shape, 3)).astype(np.float32)
    v[:8] = 0
    v[~mask] = 0
    return {
        "mask": mask,
        "v": v,
        "dir": tmp_path,
        "m": save(tmp_path / "m.nii.gz", mask),
        "V": save(tmp_path / "v.nii.gz", v),
    }


def test_the_field_of_the_fibres_comes_off(sample):
    rest = np.random.default_rng(2).standard_normal(sample["mask"].shape) * 0.01 * sample["mask"]
    fibres = tensor_field(cylindrical_tensor(sample["v"], 0.015), B0, (2, 2, 2))[..., 0]
    field = save(sample["dir"] / "f.nii.gz", (rest + fibres) * sample["mask"])
    out, removed = str(sample["dir"] / "out.nii.gz"), str(sample["dir"] / "removed.nii.gz")
    words = [
        "fibres",
        "--field",
        field,
        "--mask",
        sample["m"],
        "--v1",
        sample["V"],
        "--delta-chi",
        "0.015",
        "--quiet",
    ]
    assert main([*words, "-o", out, "--removed", removed]) == 0
    np.testing.assert_allclose(read(out), rest, atol=2e-7)
    np.testing.assert_allclose(read(removed), fibres * sample["mask"], atol=2e-7)
    facts = json.loads((sample["dir"] / "out.json").read_text())
    assert facts["FibreAnisotropy"]["Voxels"] == int((sample["mask"] & (sample["v"] != 0).any(-1)).sum())


def test_a_map_loses_the_shift_scaled_by_a_map_where_told(sample):
    mask, v = sample["mask"], sample["v"]
    norm = np.linalg.norm(v, axis=-1)
    cosine2 = np.where(norm > 0, (v[..., 2] / np.where(norm > 0, norm, 1)) ** 2, 0)
    fa = np.linspace(0.2, 0.9, mask.size).reshape(mask.shape)
    white = mask.copy()
    white[:, :8] = False
    shift = np.where(white & (norm > 0), 0.02 * fa * (cosine2 - 1 / 3), 0)
    chi = save(sample["dir"] / "chi.nii.gz", np.where(mask, -0.03 + shift, 0))
    out = str(sample["dir"] / "out.nii.gz")
    words = ["fibres", "--chi", chi, "--v1", sample["V"], "--delta-chi", "0.02", "--quiet", "-o", out]
    words += [
        "--scale",
        save(sample["dir"] / "fa.nii.gz", fa),
        "--white-matter",
        save(sample["dir"] / "w.nii.gz", white),
    ]
    assert main(words) == 0
    np.testing.assert_allclose(read(out), np.where(mask, -0.03, 0), atol=1e-7)
    assert np.abs(shift).max() > 0.005


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--delta-chi", "12"], "white matter has some 0.01"),
        (["--v1", "M"], "three components"),
        (["--white-matter", "EMPTY"], "the mask is empty"),
    ],
)
def test_bad_input_says_what_is_wrong(sample, capsys, change, said):
    chi = save(sample["dir"] / "chi.nii.gz", sample["mask"] * 0.01)
    names = {
        "M": save(sample["dir"] / "m4.nii.gz", np.repeat(sample["mask"][..., None], 2, -1)),
        "EMPTY": save(sample["dir"] / "e.nii.gz", 0 * sample["mask"]),
    }
    words = ["fibres", "--chi", chi, "--v1", sample["V"], "-o", str(sample["dir"] / "out.nii.gz")]
    assert main([*words, *(names.get(c, c) for c in change)]) == 2
    assert said in capsys.readouterr().err
