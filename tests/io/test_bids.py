"""BIDS data sets: what is found, how metadata are inherited, and what is said about faults."""

import json
import shutil

import numpy as np
import pytest
from io_samples import difference

from chimap.errors import InputError
from chimap.io import bids
from chimap.io.checks import check, usable
from chimap.io.inputs import find_scans
from chimap.io.scan import load


def one_error(sample, words, topic=None):
    """The only scan of the data set has one error that says `words`, and loading it raises the same."""
    (scan,) = find_scans(sample.folder / "bids", sample.folder / "work")
    errors = [f for f in check(scan) if f.level == "error"]
    assert len(errors) == 1, errors
    assert words in str(errors[0])
    assert topic is None or errors[0].topic == topic
    assert errors[0].fix
    with pytest.raises(InputError) as e:
        load(scan)
    assert words in str(e.value)
    assert "\n" not in str(e.value)


def edit(sample, pattern, **fields):
    files = sorted((sample.folder / "bids").rglob(pattern))
    assert files
    for f in files:
        values = json.loads(f.read_text()) | fields
        f.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


@pytest.mark.parametrize("suffix", ["MEGRE", "T2starw", "GRE"])
def test_data_set(sample, suffix):
    root = sample.bids("sub-01", suffix=suffix)
    (scan,) = find_scans(root, sample.folder / "work")
    assert scan.name == "sub-01"
    assert scan.te_s == sample.te_s
    assert scan.b0_t == 3
    data = load(scan)
    assert difference(data.phase, sample.phase) < 1e-5
    np.testing.assert_allclose(data.magnitude, sample.magnitude)
    assert data.acq.voxel_size_mm == (2, 2, 2.5)
    assert usable(data.findings)
    assert not (sample.folder / "work").exists()


def test_sessions_runs_acquisitions(sample):
    for name in ("sub-02_acq-hi_run-2", "sub-01_ses-b_run-1", "sub-01_ses-a_run-1", "sub-02_acq-hi_run-10"):
        root = sample.bids(name)
    sample.write("bids/sub-02/anat/sub-02_T1w.nii.gz", sample.magnitude[..., 0])
    sample.write("bids/derivatives/x/sub-02/anat/sub-02_part-phase_MEGRE.nii.gz", sample.phase[..., 0])
    scans = find_scans(root, sample.folder)
    assert [s.name for s in scans] == [
        "sub-01_ses-a_run-1",
        "sub-01_ses-b_run-1",
        "sub-02_acq-hi_run-10",
        "sub-02_acq-hi_run-2",
    ]
    assert scans[3].entities == {"sub": "02", "acq": "hi", "run": "2"}
    assert [s.name for s in find_scans(root / "sub-02", sample.folder)] == [s.name for s in scans[2:]]
    assert all(usable(check(s)) for s in find_scans(root / "sub-01" / "anat", sample.folder))


def test_two_suffixes_of_one_name(sample):
    sample.bids("sub-01")
    root = sample.bids("sub-01", suffix="T2starw")
    assert [s.name for s in find_scans(root, sample.folder)] == ["sub-01_acq-MEGRE", "sub-01_acq-T2starw"]


def test_inheritance(sample):
    root = sample.bids("sub-01", {})
    for f in root.rglob("*_MEGRE.json"):
        f.unlink()
    (root / "MEGRE.json").write_text('{"MagneticFieldStrength": 1.5, "Manufacturer": "A", "EchoTime": 9}')
    (root / "sub-01" / "sub-01_MEGRE.json").write_text('{"MagneticFieldStrength": 7}')
    (root / "part-mag_MEGRE.json").write_text('{"MagneticFieldStrength": 5}')
    for i, te in enumerate(sample.te_s):
        (root / "sub-01" / "anat" / f"sub-01_echo-{i + 1}_MEGRE.json").write_text(
            json.dumps({"EchoTime": te})
        )
    (root / "sub-02_MEGRE.json").write_text('{"MagneticFieldStrength": 9}')
    (scan,) = find_scans(root, sample.folder)
    assert (scan.te_s, scan.b0_t, scan.metadata["Manufacturer"]) == (sample.te_s, 7, "A")
    (from_subject,) = find_scans(root / "sub-01", sample.folder)
    assert from_subject == scan


def test_more_specific_wins_in_one_folder(tmp_path):
    for name, value in (
        ("MEGRE", 1),
        ("echo-1_MEGRE", 2),
        ("echo-1_part-phase_MEGRE", 3),
        ("echo-2_MEGRE", 4),
    ):
        (tmp_path / f"sub-1_{name}.json").write_text(json.dumps({"x": value}))
    image = tmp_path / "sub-1_echo-1_part-phase_MEGRE.nii"
    assert bids.metadata_of(image, tmp_path) == {"x": 3}


def test_magnitude_without_part(sample):
    root = sample.bids("sub-01")
    for f in sorted(root.rglob("*part-mag*")):
        f.rename(f.with_name(f.name.replace("_part-mag", "")))
    (scan,) = find_scans(root, sample.folder)
    assert len(scan.magnitude) == 3
    assert usable(check(scan))


def test_4d_without_echo_entity(sample):
    stem = "bids/sub-01/anat/sub-01_part-"
    for part, data in (("mag", sample.magnitude), ("phase", sample.phase)):
        sample.write(f"{stem}{part}_MEGRE.nii", data)
        (sample.folder / f"{stem}{part}_MEGRE.json").write_text(
            json.dumps({"EchoTime": sample.te_s, "MagneticFieldStrength": 3})
        )
    (scan,) = find_scans(sample.folder / "bids", sample.folder)
    assert load(scan).phase.shape == sample.phase.shape
    edit(sample, "*phase*.json", EchoTime=0.004)
    one_error(sample, "holds 3 volumes but there are 1 echo times")


def test_single_echo_is_noted(sample):
    (scan,) = find_scans(sample.bids("sub-01", echoes=[1]), sample.folder)
    assert [f.topic for f in check(scan) if f.level == "note"] == ["echoes"]


def test_real_and_imaginary(sample):
    signal = sample.magnitude * np.exp(1j * sample.phase)
    signal[:, :, 1::2] *= -1  # as some GE exports
    root = sample.bids("sub-01")
    for f in sorted(root.rglob("*part-*.nii.gz")):
        i = int(f.name.split("echo-")[1][0]) - 1
        part, value = ("real", signal.real) if "phase" in f.name else ("imag", signal.imag)
        new = f.name.replace("phase", part).replace("mag", part)
        sample.write(str((f.parent / new).relative_to(sample.folder)), value[..., i].astype(np.float32))
        sidecar = f.with_name(f.name.replace(".nii.gz", ".json"))
        sidecar.rename(f.with_name(new.replace(".nii.gz", ".json")))
        f.unlink()
    (scan,) = find_scans(root, sample.folder)
    assert (len(scan.real), len(scan.imaginary), scan.phase) == (3, 3, ())
    data = load(scan)
    assert any("opposite sign" in f.what for f in data.findings)
    assert difference(data.phase, sample.phase) < 1e-4
    np.testing.assert_allclose(data.magnitude, sample.magnitude, rtol=1e-4)
    for f in root.rglob("*part-imag*"):
        f.unlink()
    one_error(sample, "part-imag is missing")


def test_echo_missing(sample):
    sample.bids("sub-01", echoes=[1, 3])
    (scan,) = find_scans(sample.folder / "bids", sample.folder)
    errors = [str(f) for f in check(scan) if f.level == "error"]
    assert all("echo-2" in e and "missing" in e for e in errors)
    with pytest.raises(InputError, match="echo-2 of the"):
        load(scan)


def test_echo_missing_in_one_part(sample):
    root = sample.bids("sub-01")
    next(root.rglob("*echo-3_part-mag*.nii.gz")).unlink()
    one_error(sample, "3 echoes but the magnitude 2", "echoes")


def test_echo_times_in_ms(sample):
    sample.bids("sub-01")
    edit(sample, "*echo-2_part-phase*.json", EchoTime=12)
    one_error(sample, "looks like milliseconds")
    one_error(sample, "Write 0.012")


def test_echo_times_out_of_order(sample):
    sample.bids("sub-01")
    edit(sample, "*echo-2_part-phase*.json", EchoTime=0.003)
    one_error(sample, "out of order: 3 ms follows 5 ms")


@pytest.mark.parametrize("value", [None, "n/a", [], -0.004])
def test_echo_time_missing(sample, value):
    sample.bids("sub-01")
    edit(sample, "*echo-2_part-*.json", EchoTime=value)
    one_error(sample, "EchoTime")


def test_echo_time_from_magnitude(sample):
    root = sample.bids("sub-01")
    edit(sample, "*part-phase*.json", EchoTime=None)
    assert find_scans(root, sample.folder)[0].te_s == sample.te_s


def test_field_strength(sample):
    root = sample.bids("sub-01")
    edit(sample, "*.json", MagneticFieldStrength=None)
    one_error(sample, "MagneticFieldStrength is missing")
    edit(sample, "*MEGRE.json", ImagingFrequency=123.25)
    assert find_scans(root, sample.folder)[0].b0_t == pytest.approx(2.8947, abs=1e-4)
    edit(sample, "*MEGRE.json", MagneticFieldStrength=3)
    assert find_scans(root, sample.folder)[0].b0_t == pytest.approx(2.8947, abs=1e-4)
    edit(sample, "*MEGRE.json", MagneticFieldStrength=7)
    (scan,) = find_scans(root, sample.folder)
    assert scan.b0_t == 7
    assert any("disagree" in f.what for f in check(scan))
    edit(sample, "*MEGRE.json", MagneticFieldStrength=30000)
    one_error(sample, "0.01 to 30 T")


def test_broken_sidecar(sample):
    root = sample.bids("sub-01")
    next(root.rglob("*echo-2_part-phase*.json")).write_text("{")
    one_error(sample, "not readable JSON")


def test_one_bad_scan_does_not_hide_the_other(sample):
    sample.bids("sub-01", echoes=[2, 3])
    root = sample.bids("sub-02")
    assert [usable(check(s)) for s in find_scans(root, sample.folder)] == [False, True]


def test_grids_differ(sample):
    root = sample.bids("sub-01")
    f = next(root.rglob("*echo-2_part-phase*.nii.gz"))
    sample.write(str(f.relative_to(sample.folder)), sample.phase[:-1, ..., 1])
    one_error(sample, "25 x 24 x 20")
    moved = np.diag([2.0, 2, 2.5, 1])
    moved[0, 3] = 30
    sample.write(str(f.relative_to(sample.folder)), sample.phase[..., 1], moved)
    one_error(sample, "voxels away")


def test_coils_in_a_file_of_one_echo(sample):
    root = sample.bids("sub-01")
    f = next(root.rglob("*echo-1_part-phase*.nii.gz"))
    sample.write(str(f.relative_to(sample.folder)), np.repeat(sample.phase[..., :1], 32, 3))
    one_error(sample, "holds 32 volumes")


def test_nothing_to_use(sample):
    empty = sample.folder / "empty"
    empty.mkdir()
    for folder, words in (
        (empty, "empty"),
        (sample.folder / "none", "no such folder"),
        (sample.write("x/a.nii", sample.phase), "--phase"),
        (sample.folder / "x", "without sidecars"),
    ):
        with pytest.raises(InputError, match=words) as e:
            find_scans(folder, sample.folder / "work")
        assert str(folder) in str(e.value)
    root = sample.bids("sub-01")
    for f in root.rglob("*part-phase*"):
        f.unlink()
    with pytest.raises(InputError, match="none with phase"):
        find_scans(root, sample.folder / "work")
    shutil.rmtree(root / "sub-01")
    with pytest.raises(InputError, match="no images"):
        find_scans(root, sample.folder / "work")
    (empty / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="neither BIDS"):
        find_scans(empty, sample.folder / "work")


def test_nothing_about_persons_is_kept(sample):
    sample.bids("sub-01")
    edit(sample, "*.json", PatientName="A", PatientBirthDate="1", DeviceSerialNumber="2", Manufacturer="GE")
    (scan,) = find_scans(sample.folder / "bids", sample.folder)
    assert set(scan.metadata) == {"Manufacturer", "MagneticFieldStrength"}
