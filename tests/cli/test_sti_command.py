"""chimap sti, end to end on small files, and where directions come from."""

import json

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main
from chimap.io.directions import directions_of_files, read_directions, voxel_vectors
from chimap.numerics.tensor import tensor_field, to_matrix
from chimap.orientation.tensor_maps import cylindrical_tensor
from chimap.simulate.anisotropic import positions

AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
H = positions(6)


def save(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), affine), path)
    return str(path)


@pytest.fixture
def sample(tmp_path):
    """A bar of fibres along (1, 1, 0) in fluid, in six files."""
    shape = (20, 22, 18)
    p = [i - (n - 1) / 2 for i, n in zip(np.indices(shape), shape, strict=True)]
    mask = sum(c * c for c in p) < 8.5**2
    bar = mask & (np.abs(p[0] - p[1]) < 3) & (np.abs(p[2]) < 3)
    v = np.where(bar[..., None], np.array([1, 1, 0]) / np.sqrt(2), 0).astype(np.float32)
    tensor = cylindrical_tensor(v, 0.02, np.where(bar, -0.03, 0))
    fields = tensor_field(tensor, H, (2, 2, 2)) * mask[..., None]
    files = [save(tmp_path / f"field{n}.nii.gz", fields[..., n]) for n in range(6)]
    np.savetxt(tmp_path / "b0.txt", H, header="x y z")
    return {
        "files": files, "mask": save(tmp_path / "mask.nii.gz", mask), "bar": bar, "v": v,
        "csf": save(tmp_path / "csf.nii.gz", mask & ~bar), "table": str(tmp_path / "b0.txt"), "dir": tmp_path,
    }  # fmt: skip


def read(path):
    return np.asarray(nib.load(path).dataobj)


def test_six_files_to_maps(sample, capsys):
    out = sample["dir"] / "out"
    words = ["sti", *sample["files"], "--mask", sample["mask"], "--directions", sample["table"]]
    words += [
        "--isotropic",
        sample["csf"],
        "--smooth",
        "0.001",
        "--smooth-mean",
        "0.001",
        "--quiet",
        "-o",
        str(out),
    ]
    assert main(words) == 0, capsys.readouterr().err
    bar = sample["bar"]
    tensor = read(out / "tensor.nii.gz")
    assert tensor.shape == (20, 22, 18, 6)
    assert read(out / "anisotropy.nii.gz")[bar].mean() == pytest.approx(0.02, rel=0.05)
    assert read(out / "mean.nii.gz")[bar].mean() == pytest.approx(-0.03, abs=0.002)
    direction = read(out / "direction.nii.gz")
    assert np.median(np.abs((direction[bar] * sample["v"][bar]).sum(axis=1))) > 0.999
    assert np.median(read(out / "angle.nii.gz")[bar]) == pytest.approx(90, abs=2)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(to_matrix(tensor[bar].astype(float))).mean(axis=1),
        read(out / "mean.nii.gz")[bar],
        atol=1e-6,
    )
    colours = read(out / "colours.nii.gz")[bar]
    red, green, blue = (np.median(colours[c]) for c in "RGB")
    assert red == pytest.approx(green, abs=3) and blue < 10 < red
    facts = json.loads((out / "tensor.json").read_text())
    np.testing.assert_allclose(facts["B0_dir"], H, atol=1e-6)
    assert facts["DirectionsFrom"] == "table" and facts["Converged"]
    assert str(sample["dir"]) not in json.dumps(facts)
    assert (out / "tensor.png").read_bytes().startswith(b"\x89PNG")


def test_known_fibres_and_two_positions(sample):
    v1 = save(sample["dir"] / "v1.nii.gz", sample["v"] * np.array([-1, 1, 1]))
    # A radiological affine (negative determinant): FSL's axes are the voxel axes.
    assert np.linalg.det(AFFINE) < 0
    world = sample["dir"] / "out"
    table = sample["dir"] / "two.txt"
    table.write_text("position\tx\ty\tz\na\t0\t0\t1\nb\t0.5\t0.3\t0.8\n")
    fields = tensor_field(cylindrical_tensor(sample["v"], 0.02), [[0, 0, 1], [0.5, 0.3, 0.8]], (2, 2, 2))
    files = [save(sample["dir"] / f"two{n}.nii.gz", fields[..., n]) for n in range(2)]
    words = [
        "sti",
        *files,
        "--mask",
        sample["mask"],
        "--directions",
        str(table),
        "--model",
        "axis",
        "--v1",
        v1,
    ]
    words += ["--v1-frame", "world", "--smooth", "0", "--smooth-mean", "0", "--quiet", "--figure", "none"]
    assert main([*words, "-o", str(world)]) == 0
    direction = read(world / "direction.nii.gz")[sample["bar"]]
    assert np.abs((direction * sample["v"][sample["bar"]]).sum(axis=1)).min() > 0.999
    assert not (world / "tensor.png").exists()


def test_directions_from_sidecars_and_headers(sample):
    with pytest.raises(Exception, match="same orientation"):
        directions_of_files(sample["files"])
    for file, h in zip(sample["files"], H, strict=True):
        with open(file.replace(".nii.gz", ".json"), "w") as f:
            json.dump({"B0_dir": h.tolist()}, f)
    found, source = directions_of_files(sample["files"])
    np.testing.assert_allclose(found, H)
    assert source == "sidecars"
    turn = np.eye(4)
    c, s = np.cos(0.4), np.sin(0.4)
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    turned = [
        save(sample["dir"] / f"h{n}.nii", np.zeros((4, 4, 4)), a)
        for n, a in enumerate((AFFINE, turn @ AFFINE))
    ]
    found, source = directions_of_files(turned)
    assert source == "headers"
    np.testing.assert_allclose(found, [[0, 0, 1], [0, s, c]], atol=1e-6)


def test_vectors_of_other_conventions():
    v = np.array([[0.6, 0.0, 0.8]], np.float32)
    np.testing.assert_array_equal(voxel_vectors(v, AFFINE, "voxel"), v)
    np.testing.assert_allclose(voxel_vectors(v, AFFINE, "world"), [[-0.6, 0, 0.8]])
    np.testing.assert_array_equal(voxel_vectors(v, AFFINE, "fsl"), v)
    np.testing.assert_allclose(voxel_vectors(v, np.eye(4), "fsl"), [[-0.6, 0, 0.8]])


@pytest.mark.parametrize(
    ("text", "words"),
    [("0 0 1\n0 1\n", "line 2"), ("0 0 1\nx y z\n", "line 2"), ("# nothing\n", "no direction"), ("0 0 inf\n0 0 nan", "line 2")],
)  # fmt: skip
def test_bad_tables(tmp_path, text, words):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(Exception, match=words):
        read_directions(tmp_path / "t.txt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: ["--directions", s["table"], "--noise", s["mask"]], "1 files for --noise"),
        (lambda s: [], "--directions TABLE"),
        (lambda s: ["--directions", s["table"], "--v1", s["mask"]], "three components"),
        (lambda s: ["--directions", s["table"], "--model", "axis"], "needs the fibre directions"),
    ],
)
def test_what_is_missing_is_said_in_one_line(sample, capsys, change, words):
    argv = [
        "sti",
        *sample["files"],
        "--mask",
        sample["mask"],
        "--quiet",
        "-o",
        str(sample["dir"] / "o"),
        *change(sample),
    ]
    assert main(argv) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error
    assert not (sample["dir"] / "o").exists()


def test_as_many_directions_as_fields(sample, capsys):
    argv = ["sti", *sample["files"][:5], "--mask", sample["mask"], "--directions", sample["table"], "-o", "x"]
    assert main(argv) == 2
    assert "6 directions but 5 fields" in capsys.readouterr().err
