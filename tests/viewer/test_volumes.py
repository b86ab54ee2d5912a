"""What the page gets of a volume, against the file."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import view_results as results
from chimap.io.nifti import save_volume
from chimap.viewer.catalogue import read_catalogue
from chimap.viewer.volumes import factor_for, packed
from view_results import unpacked

CHI = f"0/fast/sub-01/ses-1/anat/{results.NAME}_Chimap.nii.gz"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    results.write(tmp_path / "out", "fast", method="tkd")
    return tmp_path / "out"


def test_names_of_labels_come_from_inside_only(out, tmp_path):
    folder = out / "fast" / "sub-01" / "ses-1" / "anat"
    (folder / f"{results.NAME}_dseg.tsv").unlink()
    (tmp_path / "dseg.tsv").write_text("index\tname\n5\tsecret\n")
    entry = read_catalogue([out]).maps[CHI.replace("Chimap", "dseg")]
    assert unpacked(b"".join(packed(entry)))[0]["labels"] == {}
    (out / "dseg.tsv").write_text("index\tname\n5\tputamen\n")
    assert unpacked(b"".join(packed(entry)))[0]["labels"] == {"5": "putamen"}


def test_the_range_of_the_header_and_of_the_numbers(out):
    ramp = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    image = nib.Nifti1Image(ramp, np.eye(4))
    image.header["cal_min"], image.header["cal_max"] = 100, 300
    nib.save(image, out / "asked.nii")
    image.header["cal_max"] = 0
    nib.save(image, out / "own.nii")
    save_volume(out / "huge.nii.gz", np.where(ramp == 7, np.float32(1e9), ramp), np.eye(4))
    found = read_catalogue([out]).maps
    assert unpacked(b"".join(packed(found["0/asked.nii"])))[0]["window"] == [100, 300]
    meta, _ = unpacked(b"".join(packed(found["0/own.nii"])))
    assert meta["window"] == [0, 990] and meta["unit"] == ""
    # One wild voxel does not make the others coarse.
    meta, numbers = unpacked(b"".join(packed(found["0/huge.nii.gz"])))
    assert meta["cut"] and meta["step"] <= 10 and numbers.max() == 32767


def test_scaled_integers_and_nan(out):
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nib.Nifti1Image(stored * 0.5 - 3, np.diag([1, 1, -1, 1.0]))
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, out / "scaled.nii.gz")
    holes = np.where(stored == 7, np.nan, stored).astype(np.float32)
    save_volume(out / "holes.nii.gz", holes, np.eye(4))
    found = read_catalogue([out]).maps
    meta, numbers = unpacked(b"".join(packed(found["0/scaled.nii.gz"])))
    data = nib.load(out / "scaled.nii.gz").get_fdata()
    assert (
        data.min() < -3
        and np.asarray(nib.load(out / "scaled.nii.gz").dataobj.get_unscaled()).dtype == np.int16
    )
    np.testing.assert_allclose(numbers * meta["step"], data[:, :, ::-1], atol=meta["step"])
    _, numbers = unpacked(b"".join(packed(found["0/holes.nii.gz"])))
    assert np.array_equal(numbers == -32768, np.isnan(holes))


def test_large_volumes_are_means_and_say_so(out):
    found = read_catalogue([out]).maps
    meta, numbers = unpacked(b"".join(packed(found[CHI], most_voxels=1000)))
    assert meta["factor"] == 2
    assert meta["shape"] == [10, 7, 9] and meta["voxel_mm"] == [4.0, 3.0, 5.0]
    data = results.chi()
    to_voxel = np.array(meta["to_voxel"])
    for index in [(0, 0, 0), (4, 3, 5), (9, 6, 8), (2, 5, 1)]:
        low = np.rint(to_voxel @ (*index, 1) - 0.5).astype(int)
        cube = data[tuple(slice(i, i + 2) for i in low)]
        assert cube.shape == (2, 2, 2)
        assert numbers[index] * meta["step"] == pytest.approx(cube.mean(), abs=meta["step"])
        # The middle of the cube is where the file's own affine puts it.
        np.testing.assert_allclose(
            np.array(meta["to_mm"]) @ (*index, 1), results.AFFINE[:3] @ (*(low + 0.5), 1), atol=1e-4
        )
    _, numbers = unpacked(b"".join(packed(found[CHI.replace("Chimap", "dseg")], most_voxels=1000)))
    assert set(np.unique(numbers)) == {0, 5, 7}
    assert factor_for((416, 512, 320), 40_000_000) == 2 and factor_for((320, 384, 288), 40_000_000) == 1
