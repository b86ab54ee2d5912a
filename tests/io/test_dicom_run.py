"""DICOM through the command line: the same map as from NIfTI, and nothing about the person in any output."""

import gzip
import json
import sys

import dicom_vendors as v
import nibabel as nib
import numpy as np
import pytest
from dicom_base import SECRETS, Truth

from chimap.cli import main

FOLDER = "Quendolin_Xanthippe_1970"


@pytest.fixture(scope="module")
def truth():
    """A ball with a denser ball in it, its field and some noise, large enough for a map."""
    shape, te = (32, 30, 24), (0.004, 0.008, 0.012)
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij")
    x, y, z = 2 * x, 2 * y, 2.5 * z
    mask = x**2 + y**2 + z**2 < 24**2
    r = np.sqrt((x - 4) ** 2 + y**2 + z**2) + 1e-6
    field = np.where(r > 6, (6 / r) ** 3 * (3 * (z / r) ** 2 - 1), 0.0) * 40 + 0.8 * x + 0.5 * y
    rng = np.random.default_rng(5)
    noise = 4 * (rng.standard_normal((*shape, 3)) + 1j * rng.standard_normal((*shape, 3)))
    signal = (
        900
        * mask[..., None]
        * np.exp(1j * (0.4 + 2 * np.pi * field[..., None] * te))
        * np.exp(-20 * np.array(te))
    )
    signal = signal + noise
    return Truth(np.angle(signal), np.abs(signal), te)


def contents(folder):
    """Every file below a folder: its relative path, and its bytes with gzip undone."""
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = file.read_bytes()
        yield file, str(file.relative_to(folder)), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def assert_no_identity(folder, *also):
    """No file name, no byte of any file, and no text field of any NIfTI header has a part of the identity in it."""
    count = 0
    for file, name, data in contents(folder):
        count += 1
        for secret in (*SECRETS, *also):
            assert secret not in name, name
            for text in (secret.encode(), secret.upper().encode(), secret.encode("utf-16-le")):
                assert text not in data, f"{secret} in {name}"
        if file.name.endswith((".nii", ".nii.gz")):
            header = nib.load(file).header
            assert header["aux_file"] == b"" and header["db_name"] == b"" and header["intent_name"] == b"", (
                name
            )
    return count


def run(monkeypatch, *args):
    argv = ["run", *map(str, args), "--preset", "fast", "--quiet"]
    monkeypatch.setattr(sys, "argv", ["chimap", *argv])
    assert main(argv) == 0


@pytest.fixture(scope="module")
def nifti(truth, tmp_path_factory):
    """The truth's own map."""
    folder = tmp_path_factory.mktemp("truth")
    for name in ("phase", "magnitude"):
        nib.save(
            nib.Nifti1Image(getattr(truth, name).astype(np.float32), truth.affine), folder / f"{name}.nii.gz"
        )
    argv = [
        "run",
        str(folder / "out"),
        "--preset",
        "fast",
        "--quiet",
        "--te",
        *map(str, truth.te_s),
        "--b0",
        str(123.25 / 42.577478518),
    ]
    assert (
        main(
            [*argv, "--phase", str(folder / "phase.nii.gz"), "--magnitude", str(folder / "magnitude.nii.gz")]
        )
        == 0
    )
    sidecar = json.loads((folder / "out" / "sub-01" / "anat" / "sub-01_Chimap.json").read_text())
    assert sidecar["Sources"] == ["phase.nii.gz", "magnitude.nii.gz"]
    return folder / "out" / "sub-01" / "anat"


def maps(folder, name):
    image = nib.load(folder / f"sub-01{name}.nii.gz")
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("vendor", ["Siemens XA", "Philips"])
def test_map_and_identity(vendor, truth, nifti, tmp_path, monkeypatch):
    source, out = tmp_path / FOLDER / "dicom_of_Quendolin", tmp_path / "out"
    (v.siemens_xa if vendor == "Siemens XA" else v.philips)(source, truth)
    run(monkeypatch, source, out, "--log-json", out / "log.jsonl")
    chi, affine = maps(out / "sub-01" / "anat", "_Chimap")
    mask, _ = maps(out / "sub-01" / "anat", "_desc-valid_mask")
    wanted, wanted_affine = maps(nifti, "_Chimap")
    wanted_mask, _ = maps(nifti, "_desc-valid_mask")
    chi, mask = truth.same_grid(chi, affine), truth.same_grid(mask, affine)
    np.testing.assert_allclose(wanted_affine, truth.affine, atol=1e-4)
    both = (mask > 0.5) & (wanted_mask > 0.5)
    # Rounded numbers may turn single voxels of the rim.
    assert both.sum() > 0.97 * max((mask > 0.5).sum(), (wanted_mask > 0.5).sum()) > 1000
    apart = (chi - wanted)[both]
    assert np.sqrt(np.mean(apart**2)) < 0.05 * np.std(wanted[both])
    assert assert_no_identity(out, str(tmp_path), FOLDER) > 20
    sidecar = json.loads((out / "sub-01" / "anat" / "sub-01_Chimap.json").read_text())
    assert len(sidecar["Sources"]) == 6
    for uri in sidecar["Sources"]:
        assert uri.startswith("bids::work/") and (out / uri.removeprefix("bids::")).is_file()
    report = (out / "sub-01" / "anat" / "sub-01_report.html").read_text()
    assert "chimap run INPUT OUT --log-json log.jsonl --preset fast" in report


def test_uncombined_channels_are_combined(truth, tmp_path, monkeypatch):
    """The combined phase differs from the truth by an offset that is the same in all echoes."""
    part = Truth(truth.phase[:, :, 8:16], truth.magnitude[:, :, 8:16], truth.te_s)
    source, out = tmp_path / FOLDER, tmp_path / "out"
    v.siemens_coils(source, part, v.sensitivities(part, 4))
    assert main(["check", str(source), "--quick"]) == 0
    from chimap.cli._coils import combined
    from chimap.io.inputs import find_scans
    from chimap.io.scan import load

    (scan,) = find_scans(source, out / "work")
    done = combined(scan, out / "work")
    assert done.channels == 1 and "4 receive channels combined by aspire" in str(done.problems)
    before = done.phase[0].stat().st_mtime_ns
    assert combined(scan, out / "work").phase[0].stat().st_mtime_ns == before
    data = load(done)
    phase = part.same_grid(data.phase, data.affine)
    strong = part.magnitude[..., 2] > 300
    turned = np.exp(1j * (phase - part.phase))[strong]
    for e in (1, 2):
        assert np.angle(turned[:, e] * turned[:, 0].conj()).std() < 0.05
    assert_no_identity(out, str(tmp_path), FOLDER)


def test_converted_folder_without_identity(truth, tmp_path):
    """What dcm2niix said about damaged files names no file of the source."""
    from chimap.io.inputs import find_scans

    part = Truth(truth.phase[:, :, :8], truth.magnitude[:, :, :8], truth.te_s)
    v.siemens(tmp_path / FOLDER / "Quendolin_1", part)
    (tmp_path / FOLDER / "Quendolin_1" / "Xanthippe.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 50)
    (scan,) = find_scans(tmp_path / FOLDER, tmp_path / "work")
    assert_no_identity(tmp_path / "work", str(tmp_path), FOLDER)
    assert not any(s in str(p.what) for p in scan.problems for s in SECRETS)
