"""DICOM folders, unsorted: converted, sorted into scans, nothing about persons kept."""

import subprocess

import numpy as np
import pydicom
import pytest
from io_samples import difference
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from chimap.cli import main
from chimap.errors import InputError, OutputError
from chimap.io import dicom_convert
from chimap.io.checks import check, usable
from chimap.io.inputs import find_scans
from chimap.io.scan import load


def write_slice(path, pixels, *, series, uid, kind, echo, te_ms, z, instance, part=None, **fields):
    d = pydicom.Dataset()
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = MRImageStorage
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = generate_uid()
    d.SeriesInstanceUID, d.StudyInstanceUID, d.FrameOfReferenceUID = uid, "1.2.3", "1.2.4"
    d.ImageType = ["ORIGINAL", "PRIMARY", kind, "ND"]
    d.Modality, d.Manufacturer, d.ManufacturerModelName = "MR", "SIEMENS", "Prisma"
    d.PatientName, d.PatientID, d.PatientBirthDate = "Doe^Jane", "SECRET1", "19700101"
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = "20240102"
    d.AcquisitionTime = d.ContentTime = "101112.500000"
    d.ProtocolName = d.SeriesDescription = "gre"
    d.ScanningSequence, d.SequenceVariant, d.MRAcquisitionType, d.SequenceName = "GR", "SP", "3D", "fl3d"
    d.MagneticFieldStrength, d.ImagingFrequency, d.RepetitionTime, d.FlipAngle = 3, 123.25, 40, 15
    d.EchoTime, d.EchoNumbers, d.SeriesNumber, d.AcquisitionNumber, d.InstanceNumber = (
        te_ms,
        echo,
        series,
        1,
        instance,
    )
    d.ImageOrientationPatient, d.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-20, -20, z]
    d.SliceThickness, d.SpacingBetweenSlices, d.PixelSpacing = 2.5, 2.5, [2, 2]
    d.Rows, d.Columns = pixels.shape
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    d.PixelData = pixels.astype("<u2").tobytes()
    if part is not None:
        d.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", part)
    for key, value in fields.items():
        setattr(d, key, value)
    d.save_as(path, enforce_file_format=True)


def write_series(folder, data, te_s, *, series, kind, **fields):
    """(x, y, z, echo) whole numbers as one DICOM series, its files named without any order."""
    folder.mkdir(exist_ok=True)
    uid = generate_uid()
    for e, te in enumerate(te_s):
        for z in range(data.shape[2]):
            instance = e * data.shape[2] + z + 1
            name = f"{(instance * 7919 + series * 31) % 10007:05d}_{series}"
            write_slice(
                folder / name,
                data[:, :, z, e].T,
                series=series,
                uid=uid,
                kind=kind,
                echo=e + 1,
                te_ms=1000 * te,
                z=2.5 * z,
                instance=instance,
                **fields,
            )


@pytest.fixture
def folder(sample):
    folder = sample.folder / "dicom"
    write_series(folder, sample.magnitude[:, :, :8], sample.te_s, series=4, kind="M")
    write_series(folder, sample.stored(2048 / np.pi, 2047.5)[:, :, :8], sample.te_s, series=5, kind="P")
    return folder


def test_folder(sample, folder):
    work = sample.folder / "work"
    (scan,) = find_scans(folder, work)
    assert scan.name == "scan"
    assert scan.te_s == pytest.approx(sample.te_s)
    assert (len(scan.phase), len(scan.magnitude)) == (3, 3)
    data = load(scan)
    assert usable(data.findings)
    # DICOM counts x and y towards left and posterior, NIfTI towards right and anterior.
    flips = tuple(slice(None, None, int(s)) for s in np.sign(np.diag(data.affine)[:3]) * (-1, -1, 1))
    assert difference(data.phase, sample.phase[:, :, :8][flips]) < 0.004
    kept = "".join(f.read_text() for f in work.rglob("*.json")) + str(scan)
    assert not any(word in kept for word in ("Doe", "SECRET", "1970", "2024", "1.2.3"))
    before = sorted((f, f.stat().st_mtime_ns) for f in work.rglob("*"))
    assert find_scans(folder, work) == [scan]
    assert sorted((f, f.stat().st_mtime_ns) for f in work.rglob("*")) == before
    assert [s.te_s for s in find_scans(scan.phase[0].parent, work)] == [scan.te_s]


def test_several_scans(sample, folder):
    magnitude, phase = sample.magnitude[:, :, :8], sample.stored(2048 / np.pi, 2047.5)[:, :, :8]
    write_series(folder, magnitude, sample.te_s, series=8, kind="M", AcquisitionTime="111213.0")
    write_series(folder, phase, sample.te_s, series=9, kind="P", AcquisitionTime="111213.0")
    write_series(folder, magnitude[..., :1], (0.003,), series=2, kind="M")
    scans = find_scans(folder, sample.folder / "work")
    assert [s.name for s in scans] == ["scan_run-5", "scan_run-9"]
    assert [s.entities for s in scans] == [{"run": "5"}, {"run": "9"}]
    assert scans[0].magnitude[0].name.startswith("s4_")
    assert scans[1].magnitude[0].name.startswith("s8_")


def test_echo_missing(sample):
    folder, stored = sample.folder / "dicom", sample.stored(2048 / np.pi, 2047.5)[:, :, :8]
    write_series(folder, stored, sample.te_s, series=5, kind="P")
    for file in folder.iterdir():
        if pydicom.dcmread(file).EchoNumbers == 2:
            file.unlink()
    (scan,) = find_scans(folder, sample.folder / "work")
    assert "echo 2 is missing" in str(check(scan)[0])


def test_slice_missing(sample, folder):
    for file in folder.iterdir():
        if pydicom.dcmread(file).ImagePositionPatient[2] == 7.5:
            file.unlink()
    (scan,) = find_scans(folder, sample.folder / "work")
    assert "missing or unevenly spaced" in str(check(scan)[0])


def test_damaged_file_among_good_ones(sample, folder):
    next(folder.iterdir()).write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 50)
    (scan,) = find_scans(folder, sample.folder / "work")
    assert not usable(check(scan))


def test_full_disk(folder, tmp_path, monkeypatch):
    said = b"Error: Unable to write s5_e1_ph.nii (disk full?)"
    done = subprocess.CompletedProcess([], 8, b"", said)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: done)
    with pytest.raises(OutputError, match="disk is full"):
        find_scans(folder, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("with_phase", [True, False])
def test_ge_parts_in_one_series(sample, with_phase):
    """GE: magnitude, phase, real and imaginary images with one series number, told apart by a private tag."""
    folder = sample.folder / "dicom"
    folder.mkdir()
    signal = sample.magnitude * np.exp(1j * sample.phase)
    parts = [sample.magnitude, 1000 * sample.phase, signal.real, signal.imag]
    for kind, values in enumerate(parts):
        if kind == 1 and not with_phase:
            continue
        for e, te in enumerate(sample.te_s):
            for z in range(8):
                n = kind + 4 * (z + 8 * e)
                path = folder / f"{n * 7919 % 10007:05d}"
                common = {"series": 3, "uid": "1.2.5", "echo": e + 1, "te_ms": 1000 * te, "z": 2.5 * z}
                write_slice(
                    path,
                    np.round(values[:, :, z, e].T).astype(np.int16),
                    kind="M",
                    part=kind,
                    instance=n + 1,
                    Manufacturer="GE MEDICAL SYSTEMS",
                    PixelRepresentation=1,
                    BitsStored=16,
                    HighBit=15,
                    **common,
                )
    (scan,) = find_scans(folder, sample.folder / "work")
    assert (len(scan.phase), len(scan.real), len(scan.imaginary)) == ((3, 0, 0) if with_phase else (0, 3, 3))
    assert len(scan.magnitude) == (3 if with_phase else 0)
    data = load(scan)
    assert usable(data.findings)
    flips = tuple(slice(None, None, int(s)) for s in np.sign(np.diag(data.affine)[:3]) * (-1, -1, 1))
    strong = sample.magnitude[:, :, :8] > 100
    apart = np.angle(np.exp(1j * (data.phase[flips] - sample.phase[:, :, :8])))[strong]
    assert np.abs(apart).max() < 0.02


def test_no_phase(sample):
    write_series(sample.folder / "dicom", sample.magnitude[:, :, :8], sample.te_s, series=4, kind="M")
    with pytest.raises(InputError, match=r"no phase images .*magnitude"):
        find_scans(sample.folder / "dicom", sample.folder / "work")


def test_damaged_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 50)
    with pytest.raises(InputError, match="dcm2niix made no image"):
        find_scans(tmp_path / "in", tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_converter_fails(folder, tmp_path, monkeypatch):
    def late(*args, **kwargs):
        raise subprocess.TimeoutExpired("dcm2niix", 1)

    monkeypatch.setattr(dicom_convert, "_program", lambda: "/nowhere/dcm2niix")
    with pytest.raises(InputError, match="cannot be started"):
        find_scans(folder, tmp_path / "work")
    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(InputError, match="did not finish"):
        find_scans(folder, tmp_path / "work")


def test_real_folder(shared_data, tmp_path, capsys):
    (scan,) = find_scans(shared_data / "siemens_gre_dicom", tmp_path)
    assert scan.te_s == pytest.approx((0.0025, 0.0055, 0.0085, 0.0115, 0.0145, 0.0175))
    assert scan.b0_t == pytest.approx(2.8949, abs=1e-3)
    data = load(scan)
    assert data.phase.shape == data.magnitude.shape == (128, 76, 10, 6)
    assert usable(data.findings)
    assert main(["check", str(shared_data / "siemens_gre_dicom")]) == 0
    assert capsys.readouterr().out.startswith("scan: usable")
