"""NIfTI files that cannot be used are refused in one line; what is written is whole or not there."""

import errno
import gzip
import os

import nibabel as nib
import numpy as np
import pytest

from chimap.errors import InputError, OutputError
from chimap.io import nifti, safe
from chimap.io.nifti import load_volume, save_volume, write_json, write_text
from chimap.numerics import threads

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


@pytest.fixture
def volume(rng):
    return rng.standard_normal((11, 13, 7)).astype(np.float32)


def refused(path, words, **options):
    with pytest.raises(InputError, match=words) as e:
        load_volume(path, **options)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_reading_agrees_with_nibabel(tmp_path, rng, name, dtype):
    data = rng.integers(0, 200, (9, 8, 7, 3)).astype(dtype)
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / name)
    got, affine = load_volume(tmp_path / name)
    np.testing.assert_array_equal(got, data.astype(np.float32))
    np.testing.assert_array_equal(affine, AFFINE)
    assert got.dtype == np.float32
    assert got[..., 1].flags.c_contiguous


def test_big_endian_and_slope(tmp_path):
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nib.Nifti1Image(data, AFFINE, nib.Nifti1Header(endianness=">"))
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "a.nii")
    expected = nib.load(tmp_path / "a.nii").get_fdata()
    np.testing.assert_allclose(load_volume(tmp_path / "a.nii")[0], expected, rtol=1e-6)


def test_pair_of_files(tmp_path, volume):
    nib.save(nib.Nifti1Pair(volume, AFFINE), tmp_path / "a.hdr")
    np.testing.assert_array_equal(load_volume(tmp_path / "a.hdr")[0], volume)


def test_small_slabs(tmp_path, volume, monkeypatch):
    monkeypatch.setattr(nifti, "_SLAB_BYTES", 11 * 13 * 4 * 2)
    nib.save(nib.Nifti1Image(volume, AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(load_volume(tmp_path / "a.nii.gz")[0], volume)


def test_what_cannot_be_read(tmp_path, volume):
    refused(tmp_path / "none.nii", "no such file")
    (tmp_path / "annexed.nii.gz").symlink_to(tmp_path / "objects" / "none")
    refused(tmp_path / "annexed.nii.gz", "datalad get")
    refused(tmp_path, "folder")
    (tmp_path / "empty.nii").touch()
    refused(tmp_path / "empty.nii", "empty")
    (tmp_path / "text.nii").write_text("hello " * 200)
    refused(tmp_path / "text.nii", "not a NIfTI")
    (tmp_path / "text.nii.gz").write_text("hello " * 200)
    refused(tmp_path / "text.nii.gz", "not a NIfTI|damaged")
    nib.save(nib.Nifti1Image(volume.astype(np.complex64), AFFINE), tmp_path / "c.nii")
    refused(tmp_path / "c.nii", "complex")
    nib.save(nib.Nifti1Image(np.stack([volume] * 4, -1), AFFINE), tmp_path / "4.nii")
    refused(tmp_path / "4.nii", "3 axes", ndim=3)
    nib.save(nib.MGHImage(volume, AFFINE), tmp_path / "a.mgz")
    refused(tmp_path / "a.mgz", "NIfTI is expected")
    header = bytearray(save_volume(tmp_path / "flat.nii", volume, AFFINE).read_bytes())
    header[280:328] = np.diag([1, 0, 1, 1])[:3].astype("<f4").tobytes()
    (tmp_path / "flat.nii").write_bytes(header)
    refused(tmp_path / "flat.nii", "voxels of 1 x 0 x 1 mm")


def test_damaged_headers(tmp_path, volume, rng):
    whole = save_volume(tmp_path / "a.nii", volume, AFFINE).read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, 352, 3):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "a.nii").write_bytes(damaged)
        try:
            load_volume(tmp_path / "a.nii")
        except InputError as e:
            assert "\n" not in str(e)


def test_cut_off(tmp_path, volume):
    nib.save(nib.Nifti1Image(volume, AFFINE), tmp_path / "a.nii.gz")
    whole = (tmp_path / "a.nii.gz").read_bytes()
    for length in (20, 200, len(whole) // 2, len(whole) - 4):
        (tmp_path / "cut.nii.gz").write_bytes(whole[:length])
        refused(tmp_path / "cut.nii.gz", "cut off or damaged|not a NIfTI")
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    (tmp_path / "damaged.nii.gz").write_bytes(damaged)
    refused(tmp_path / "damaged.nii.gz", "damaged")
    plain = gzip.decompress(whole)
    (tmp_path / "cut.nii").write_bytes(plain[:-100])
    refused(tmp_path / "cut.nii", "cut off")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 3), (1, 1, 1)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32])
def test_saved_is_read_back(tmp_path, rng, name, shape, dtype):
    data = rng.integers(0, 2, shape).astype(dtype)
    image = nib.load(save_volume(tmp_path / "new" / name, data, AFFINE, description="a map"))
    np.testing.assert_array_equal(np.asarray(image.dataobj).reshape(shape), data)
    np.testing.assert_allclose(image.affine, AFFINE)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert bytes(image.header["descrip"]).startswith(b"a map")


def test_saved_is_the_same_bit_for_bit(tmp_path, volume, monkeypatch):
    monkeypatch.setattr(nifti, "_CHUNK_BYTES", 2000)
    echoes = np.moveaxis(np.stack([volume, volume + 1]), 0, 3)
    files = []
    for n in (1, 3):
        threads.set_threads(n)
        files.append(save_volume(tmp_path / f"{n}.nii.gz", echoes, AFFINE).read_bytes())
    threads.set_threads(None)
    assert files[0] == files[1]
    assert files[0] == save_volume(tmp_path / "c.nii.gz", np.array(echoes, order="C"), AFFINE).read_bytes()
    np.testing.assert_array_equal(nib.load(tmp_path / "1.nii.gz").get_fdata(), echoes)


def test_json_and_text(tmp_path):
    values = {"b": np.float32(0.5), "a": np.arange(2), "path": tmp_path, "µ": "χ"}
    text = write_json(tmp_path / "x" / "a.json", values).read_text()
    assert '"b": 0.5' in text
    assert "χ" in text
    assert write_text(tmp_path / "t.txt", "first").read_text() == "first"
    assert write_text(tmp_path / "t.txt", "second").read_text() == "second"
    assert (tmp_path / "t.txt").stat().st_mode & 0o777 == 0o666 & ~safe._umask()


def refuse(number):
    def function(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return function


@pytest.mark.parametrize(
    ("function", "number", "words"),
    [
        ("tempfile.mkstemp", errno.EROFS, "read-only"),
        ("tempfile.mkstemp", errno.EACCES, "permission denied"),
        ("os.fsync", errno.ENOSPC, "disk is full"),
        ("os.fsync", errno.EDQUOT, "quota"),
        ("os.replace", errno.EISDIR, "folder of that name"),
        ("os.fsync", errno.EIO, "disk or the network"),
        ("os.fsync", errno.ENXIO, "cannot be written"),
    ],
)
def test_a_refused_file_leaves_nothing(tmp_path, volume, monkeypatch, function, number, words):
    save_volume(tmp_path / "a.nii.gz", volume, AFFINE)
    before = (tmp_path / "a.nii.gz").read_bytes()
    monkeypatch.setattr(function, refuse(number))
    with pytest.raises(OutputError, match=words) as e:
        save_volume(tmp_path / "a.nii.gz", volume + 1, AFFINE)
    assert str(tmp_path / "a.nii.gz") in str(e.value)
    assert e.value.exit_code == 2
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == before


def test_full_disk(volume):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "wb", buffering=0) as f, pytest.raises(OSError, match="No space"):
        nifti._write_gzip(f, b"head", volume, 1)


def test_interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt), safe.whole_file(tmp_path / "a") as f:
        f.write(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match=r"not a folder|in the way"):
        write_text(tmp_path / "out" / "a.txt", "x")
