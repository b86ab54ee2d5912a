"""Good input on a tiny grid, and the ways to spoil it that the fuzzing draws from."""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

Spoil = Callable[[Path, np.random.Generator], None]
SHAPE, TE_S = (20, 18, 16), (0.004, 0.012, 0.020)
AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


def write_input(root: Path) -> None:
    """``bids``, ``flat`` (phase, magnitude, mask, labels and their names, maps, acquisition, transform) and ``dicom``."""
    rng = np.random.default_rng(7)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.6
    field = 60 * x * y + 50 * z**2 - 40 * x
    te = np.array(TE_S)
    signal = 1000 * mask[..., None] * np.exp(1j * (0.8 + 2 * np.pi * field[..., None] * te) - 25 * te)
    signal = signal + 30 * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    phase, magnitude = np.angle(signal).astype(np.float32), np.abs(signal).astype(np.float32)
    labels = ((x > 0) * 2 + (y > 0) + 1) * mask
    flat, anat = root / "flat", root / "bids" / "sub-01" / "anat"
    for folder in (flat, anat):
        folder.mkdir(parents=True)
    small = (field / 128 * mask).astype(np.float32)
    volumes = {"phase": phase, "magnitude": magnitude, "mask": mask.astype(np.uint8), "field": small}
    volumes |= {"labels": labels.astype(np.int16), "chi": small / 5, "noise": mask * np.float32(0.01)}
    for name, data in volumes.items():
        nib.save(nib.Nifti1Image(data, AFFINE), flat / f"{name}.nii.gz")
    acquisition = {"TE": TE_S, "B0": 3.0, "B0_dir": [0, 0.1, 0.99], "voxel_size": [2, 2, 2.5]}
    (flat / "params.json").write_text(json.dumps(acquisition))
    (flat / "labels.tsv").write_text("index\tname\n" + "".join(f"{n}\tregion {n}\n" for n in (1, 2, 3, 4)))
    (flat / "affine.txt").write_text("1 0 0 0.5\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    (root / "bids" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for part, data in (("phase", phase), ("mag", magnitude)):
        for e, t in enumerate(TE_S):
            stem = anat / f"sub-01_echo-{e + 1}_part-{part}_MEGRE"
            nib.save(nib.Nifti1Image(data[..., e], AFFINE), f"{stem}.nii.gz")
            fields = {"EchoTime": t, "MagneticFieldStrength": 3.0, "Manufacturer": "X", "FlipAngle": 15}
            stem.with_suffix(".json").write_text(json.dumps(fields))


# -- bytes -------------------------------------------------------------------------------------------------


def flip_bytes(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    for at in rng.integers(0, len(data), int(rng.integers(1, 12))):
        data[at] = rng.integers(256)
    path.write_bytes(data)


def cut(path: Path, rng: np.random.Generator) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(0, len(data)))])


def noise(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(rng.bytes(int(rng.integers(0, 4000))))


def twice(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes() * 2)


def utf16(path: Path, rng: np.random.Generator) -> None:
    text = path.read_bytes().decode("latin-1")
    path.write_bytes(text.encode(str(rng.choice(["utf-16", "utf-16-be", "utf-32"]))))


def no_file(path: Path, rng: np.random.Generator) -> None:
    """Something that is no file stands in its place."""
    path.unlink()
    kind = int(rng.integers(7))
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to("/dev/zero")
    elif kind == 3:
        path.symlink_to("/dev/null")
    elif kind == 4:
        path.symlink_to(path.name)
    elif kind == 5:
        path.symlink_to("gone.nii.gz")
    else:
        path.write_bytes(b"")


# -- NIfTI -------------------------------------------------------------------------------------------------

_ODD = {
    "h": [0, -1, 1, 2, 3, 7, 8, 255, 32767, -32768, 30000],
    "i": [0, -1, 1, 347, 540, 1543569408, 2**31 - 1, -(2**31)],
    "f": [0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -1e38, 352.5, 1e9, 348.0],
}
# Offset, kind and number of each field of the header that says something.
_FIELDS = [(0, "i", 1), (40, "h", 8), (68, "h", 1), (70, "h", 1), (72, "h", 1), (76, "f", 8), (108, "f", 1),
           (112, "f", 2), (123, "b", 1), (252, "h", 2), (256, "f", 6), (280, "f", 12), (344, "i", 1), (348, "i", 2)]  # fmt: skip


def header(path: Path, rng: np.random.Generator) -> None:
    """Absurd numbers in one to three fields of the header, its data left alone."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    for _ in range(int(rng.integers(1, 4))):
        start, kind, count = _FIELDS[rng.integers(len(_FIELDS))]
        if kind == "b":
            data[start] = rng.integers(256)
            continue
        at = start + struct.calcsize(kind) * int(rng.integers(count))
        data[at : at + struct.calcsize(kind)] = struct.pack(
            f"<{kind}", _ODD[kind][rng.integers(len(_ODD[kind]))]
        )
    _zip(path, data)


def many_voxels(path: Path, rng: np.random.Generator) -> None:
    """A header that claims 10^9 voxels or more, sometimes with zipped zeros that bear it out."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    shape = [(1000, 1000, 1000, 1), (30000, 30000, 2, 1), (32767, 32767, 32767, 3), (1, 1, 1, 32767)][
        rng.integers(4)
    ]
    data[40:56] = struct.pack("<8h", 4, *shape, 1, 1, 1)
    if rng.random() < 0.15:
        # Deflate shrinks zeros a thousand times: one packed block, repeated.
        block = gzip.compress(bytes(1 << 24), 1)
        path.write_bytes(gzip.compress(bytes(data), 1) + block * 240)
    else:
        _zip(path, data)


def values(path: Path, rng: np.random.Generator) -> None:
    """Numbers that no scanner gives, some or all of them."""
    image = nib.load(path)
    a = image.get_fdata(dtype=np.float32).copy()
    odd = [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, 1e-42, -5.0, 7e9][rng.integers(9)]
    a[rng.random(a.shape) < rng.choice([0.001, 0.5, 1.1])] = odd
    nib.save(nib.Nifti1Image(a, image.affine), path)


def shape(path: Path, rng: np.random.Generator) -> None:
    """Another number of axes, or axes of one or two voxels."""
    image = nib.load(path)
    a = np.asarray(image.dataobj)
    kind = int(rng.integers(5))
    if kind == 0:
        a = a[
            tuple(slice(0, int(rng.integers(1, 4))) if rng.random() < 0.6 else slice(None) for _ in range(3))
        ]
    elif kind == 1:
        a = a[..., None, None]
    elif kind == 2:
        a = np.repeat(a[..., None], 2, axis=-1)
    elif kind == 3:
        a = a[:, :, 0]
    else:
        a = a[::-1, ::2]
    nib.save(nib.Nifti1Image(a, image.affine), path)


def affine(path: Path, rng: np.random.Generator) -> None:
    """An affine that is singular, sheared, not finite, or of absurd size."""
    matrix = np.array(AFFINE)
    kind = int(rng.integers(5))
    if kind == 0:
        matrix[rng.integers(3), rng.integers(4)] = rng.choice([np.nan, np.inf, 1e30, 0.0, -1e-12])
    elif kind == 1:
        matrix[:3, :3] = 0
    elif kind == 2:
        matrix[:3, :3] = rng.normal(size=(3, 3))
    elif kind == 3:
        matrix[:3, :3] *= rng.choice([1e-6, 1e6, 1e18, 1e-20])
    else:
        matrix[:3, 3] = 1e20
    # nibabel would refuse to write some of these.
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[252:256] = struct.pack("<2h", 0, 1)
    with np.errstate(over="ignore"):
        data[280:328] = matrix[:3].astype("<f4").tobytes()
    _zip(path, data)


def dtype(path: Path, rng: np.random.Generator) -> None:
    """The same numbers in another type, some of which hold no real number."""
    kinds = ["u1", "<i2", ">i2", ">f4", ">f8", "<f8", "<u8", "<i8", "<c8", ">c16", "rgb"]
    image = nib.load(path)
    a, kind = np.asarray(image.dataobj), kinds[rng.integers(len(kinds))]
    if kind == "rgb":
        a = np.zeros(a.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    else:
        with np.errstate(all="ignore"):
            a = a.astype(kind)
    made = nib.Nifti1Image(a, image.affine, dtype=a.dtype)
    nib.save(made, path)


def _zip(path: Path, data: bytes | bytearray) -> None:
    path.write_bytes(gzip.compress(bytes(data), 1))


# -- text --------------------------------------------------------------------------------------------------

_WORDS = ["-1", "0", "1e400", "NaN", "Infinity", "9" * 400, "9" * 5000, "null", "true", '"0.004"', '"\\ud800"', "[]",
          "{}", "[[1]]", '[0.004, "x"]', '"../../../etc/passwd"', '"<script>"', "1e-320", '"' + "x" * 300 + '"']  # fmt: skip


def json_values(path: Path, rng: np.random.Generator) -> None:
    """Odd values under known keys."""
    content = json.loads(path.read_text())
    known = ["ImagingFrequency", "ImageType", "Units", "MRAcquisitionType", "SeriesNumber", "RepetitionTime"]
    keys = [*content, *known]
    parts = {k: json.dumps(v) for k, v in content.items()}
    for _ in range(int(rng.integers(1, 4))):
        parts[keys[rng.integers(len(keys))]] = _WORDS[rng.integers(len(_WORDS))]
    path.write_text("{" + ", ".join(f'"{k}": {v}' for k, v in parts.items()) + "}")


def json_forms(path: Path, rng: np.random.Generator) -> None:
    """JSON that is none, or none of this kind."""
    deep = int(rng.choice([500, 200_000]))
    forms = [
        "[" * deep,
        '{"a":' * deep + "1" + "}" * deep,
        "[]",
        "null",
        "3",
        '"x"',
        "{",
        "",
        "\ufeff{}",
        "{}" * 2,
    ]
    path.write_text(forms[rng.integers(len(forms))])


def table(path: Path, rng: np.random.Generator) -> None:
    rows = ["index\tname", "index\tname\n1e400\tx", "index\tname\nnan\tx", "name\n1", "index\tname\n1", "\0\0\tname\n1",
            "index\tname\n" + "9" * 300 + "\tx", "index\tname\n1\t" + "y" * 200_000, '"index\tname\n1\tx', "index,name\n1,x"]  # fmt: skip
    path.write_text(rows[rng.integers(len(rows))])


def numbers(path: Path, rng: np.random.Generator) -> None:
    rows = ["1 0 0 0", "nan " * 16, "1e400 0 0 0\n" * 4, "#Insight Transform File V1.0\nTransform: A\nParameters: x",
            "#Insight Transform File V1.0\nTransform: A\nParameters: 1 2\nFixedParameters: 0", "0 0 0 0\n" * 4,
            "#Insight Transform File V1.0\nTransform: A\nParameters: " + "0 " * 12 + "\nFixedParameters: 0 0 0",
            "1 2 3 4\n1 2 3\n", "MATLAB 5.0 MAT-file" + "x" * 200]  # fmt: skip
    path.write_text(rows[rng.integers(len(rows))])


def matlab(path: Path, rng: np.random.Generator) -> None:
    """Headers of MATLAB's version 4 with absurd sizes."""
    pick = [0, 1, 3, 12, -1, 2**31 - 1, 1000000]
    words = [int(rng.choice([0, 10, 100, 50, 1000])), *(pick[rng.integers(len(pick))] for _ in range(4))]
    path.write_bytes(struct.pack("<5i", *words) + rng.bytes(int(rng.integers(0, 400))))


# -- names -------------------------------------------------------------------------------------------------


def rename(path: Path, rng: np.random.Generator) -> None:
    """Entities that no data set should have: digits that are none, dots, line ends, bytes that are no text."""
    tricks = ["echo-9999999999", "echo-²", "echo-٣", "echo-0", "echo-..", "sub-..", "sub-~", "sub-01\n", "sub-<b>", "sub-$(id)",
              "run-" + "1" * 180, "echo-1_echo-1", "echo-\udcff", "acq-%2e%2e", "sub-", "part-real", "part-imag", "part-x"]  # fmt: skip
    old = ("echo-1", "echo-2", "echo-3", "sub-01", "part-phase", "part-mag")[rng.integers(6)]
    new = path.with_name(path.name.replace(old, tricks[rng.integers(len(tricks))]))
    if os.fsencode(new) != os.fsencode(path) and len(os.fsencode(new.name)) < 256:
        path.rename(new)


ANY: tuple[Spoil, ...] = (flip_bytes, cut, noise, twice, no_file)
IMAGE: tuple[Spoil, ...] = (*ANY, header, header, header, many_voxels, values, shape, affine, dtype)
TEXT: tuple[Spoil, ...] = (*ANY, utf16)


def spoils_for(path: Path) -> tuple[Spoil, ...]:
    """What may be done to a file, by its kind."""
    if path.name.endswith((".nii", ".nii.gz")):
        return (*IMAGE, rename) if "bids" in path.parts else IMAGE
    if path.suffix == ".json":
        more = (rename,) if "bids" in path.parts else ()
        return (*TEXT, *more, json_values, json_values, json_forms)
    if path.suffix == ".tsv":
        return (*TEXT, table, table)
    if path.suffix == ".txt":
        return (*TEXT, numbers, numbers, matlab)
    return ANY
