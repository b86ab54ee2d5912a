"""Simulated scanner files of each vendor give the phase and magnitude they were made from."""

import dicom_vendors as v
import io_samples
import numpy as np
import pytest
from dicom_base import Truth
from dicom_stored import FORMS
from io_samples import difference

from chimap.errors import InputError
from chimap.io.checks import check, usable
from chimap.io.inputs import find_scans
from chimap.io.scan import load

SLICES = 8

STEP = 2 * np.pi / 4096

# Between the numbers as they are stored and rad in float32: two steps of float32 at pi for the scaling, one for the result.
ROUNDING = 8e-7


@pytest.fixture
def truth(sample: io_samples.Sample) -> Truth:
    # In double precision, so that writer and formula round to the same whole numbers.
    phase, magnitude = (a[:, :, :SLICES].astype(float) for a in (sample.phase, sample.magnitude))
    return Truth(phase, magnitude, sample.te_s)


@pytest.mark.parametrize("vendor", FORMS)
def test_same_as_stored(vendor, truth, tmp_path):
    """Phase and magnitude are those of the whole numbers in the files, within float32."""
    write, decode = FORMS[vendor]
    write(tmp_path / "dicom", truth)
    stored = decode(truth)
    (scan,) = find_scans(tmp_path / "dicom", tmp_path / "work")
    assert scan.te_s == pytest.approx(truth.te_s, abs=1e-7)
    assert scan.b0_t == pytest.approx(123.25 / 42.577478518, rel=1e-4)
    assert usable(check(scan))
    data = load(scan)
    phase = truth.same_grid(data.phase, data.affine)
    magnitude = truth.same_grid(data.magnitude, data.affine)
    brightest = stored.magnitude.argmax()
    scale = magnitude.flat[brightest] / stored.magnitude.flat[brightest]
    np.testing.assert_allclose(
        magnitude / scale, stored.magnitude, rtol=1e-6, atol=1e-4 * stored.magnitude.max()
    )
    turn = 0.0
    if "alternate" in vendor:
        # Which of the slices are the negative ones cannot be told: all by half a turn is the same field.
        turn = np.pi * (abs(np.median(np.angle(np.exp(1j * (phase - stored.phase))))) > 1)
    # Where both parts are rounded to 0 there is no phase.
    some = stored.magnitude > 0
    assert difference(phase[some], stored.phase[some] + turn) < ROUNDING


def test_mosaic_is_refused_by_name(truth, tmp_path):
    v.siemens_mosaic(tmp_path / "dicom", truth)
    with pytest.raises(InputError, match="series 7 is stored as mosaic"):
        find_scans(tmp_path / "dicom", tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_unsorted_with_a_mosaic_and_another_scan(truth, tmp_path):
    """A mosaic in the folder does not hide the scan beside it, nor do other series."""
    v.siemens_mosaic(tmp_path / "dicom", truth)
    v.siemens(tmp_path / "dicom", truth)
    v.siemens(tmp_path / "dicom", truth, first=12, AcquisitionTime="121314.0")
    v.siemens_xa(tmp_path / "dicom", truth, mixed=True, series=30)
    scans = find_scans(tmp_path / "dicom", tmp_path / "work")
    assert [s.entities["run"] for s in scans] == ["5", "13", "30"]
    for scan in scans:
        data = load(scan)
        assert difference(truth.same_grid(data.phase, data.affine), truth.phase) < 1.1 * STEP


COILS = {
    "by name": v.siemens_coils,
    "by number": lambda f, t, c: v.siemens_coils(f, t, c, named=False),
    "enhanced": v.siemens_xa_coils,
}


@pytest.mark.parametrize("kind", COILS)
def test_uncombined_channels(kind, truth, tmp_path):
    """Each channel comes out whole, in the order of the channels: H9 before H10."""
    coils = v.sensitivities(truth, 3)
    COILS[kind](tmp_path / "dicom", truth, coils)
    (scan,) = find_scans(tmp_path / "dicom", tmp_path / "work")
    assert (scan.channels, len(scan.phase), len(scan.magnitude)) == (3, 3, 3)
    with pytest.raises(InputError, match="3 uncombined receive channels"):
        load(scan)
    import nibabel as nib

    for e, (phase, magnitude) in enumerate(zip(scan.phase, scan.magnitude, strict=True)):
        for path, values in ((phase, np.angle), (magnitude, np.abs)):
            image = nib.load(path)
            stored = truth.same_grid(image.get_fdata(), image.affine)
            wanted = values(truth.signal()[..., e, None] * coils)
            if values is np.angle:
                assert difference(stored * np.pi / 2048 - np.pi, wanted) < 1.1 * STEP
            else:
                np.testing.assert_allclose(stored, wanted, atol=0.51)


def test_coil_names_that_change_from_slice_to_slice_are_no_channels(truth, tmp_path):
    v.siemens(tmp_path / "dicom", truth, coil_by_slice=True)
    (scan,) = find_scans(tmp_path / "dicom", tmp_path / "work")
    assert scan.channels == 1 and usable(check(scan))


def test_one_enhanced_file_cut_off(truth, tmp_path):
    import pydicom

    v.siemens_xa(tmp_path / "dicom", truth, mixed=True)
    (file,) = (tmp_path / "dicom").iterdir()
    d = pydicom.dcmread(file)
    d.PixelData = d.PixelData[: len(d.PixelData) // 2]
    d.save_as(file)
    with pytest.raises(InputError, match="cut off"):
        find_scans(tmp_path / "dicom", tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []
    v.siemens(tmp_path / "dicom", truth, first=40)
    (scan,) = find_scans(tmp_path / "dicom", tmp_path / "work")
    assert scan.name == "scan" and scan.phase[0].name.startswith("s41_")
    assert usable(check(scan)) and "cut off" in str(scan.problems)


def test_compressed_enhanced_file(truth, tmp_path):
    """Frames are handed on as they are compressed."""
    import pydicom
    from pydicom.uid import RLELossless

    v.siemens_xa(tmp_path / "dicom", truth, mixed=True)
    (file,) = (tmp_path / "dicom").iterdir()
    d = pydicom.dcmread(file)
    d.compress(RLELossless)
    d.save_as(file)
    (scan,) = find_scans(tmp_path / "dicom", tmp_path / "work")
    data = load(scan)
    assert difference(truth.same_grid(data.phase, data.affine), truth.phase) < 1.1 * STEP


def test_derived_t2star_map_is_no_magnitude(truth, tmp_path):
    v.siemens(tmp_path / "dicom", truth)
    v.siemens(tmp_path / "dicom", truth, first=20, ImageType=["DERIVED", "PRIMARY", "T2_STAR", "ND"])
    (scan,) = find_scans(tmp_path / "dicom", tmp_path / "work")
    assert [p.name[:3] for p in scan.magnitude] == ["s4_"] * 3


@pytest.mark.parametrize("mixed", [True, False])
def test_enhanced_swi_series_is_passed_over(mixed, truth, tmp_path):
    """Its phase is filtered."""
    v.siemens_xa(tmp_path / "dicom", truth, mixed=mixed, series=10, last="SWI")
    v.siemens_xa(tmp_path / "dicom", truth, mixed=mixed, series=20)
    (scan,) = find_scans(tmp_path / "dicom", tmp_path / "work")
    assert {p.name[:3] for p in scan.phase + scan.magnitude} <= {"s20", "s21"}


def test_a_phantom_in_the_name_is_no_phase(truth, tmp_path):
    """In a folder that dcm2niix filled, with names of the user's."""
    v.siemens(tmp_path / "dicom", truth)
    (scan,) = find_scans(tmp_path / "dicom", tmp_path / "work")
    for part in scan.magnitude:
        for file in (part, part.with_suffix(".json")):
            file.rename(file.with_name(f"{file.stem}_phantom{file.suffix}"))
    (scan,) = find_scans(part.parent, tmp_path / "work")
    assert (len(scan.phase), len(scan.magnitude)) == (3, 3)
    assert usable(check(scan))


def test_files_of_two_persons_are_refused(truth, tmp_path):
    """Without saying who they are."""
    v.siemens(tmp_path / "dicom", truth)
    v.siemens(tmp_path / "dicom", truth, first=8, PatientID="SECRET9")
    with pytest.raises(InputError, match="of 2 persons") as caught:
        find_scans(tmp_path / "dicom", tmp_path / "work")
    assert "SECRET" not in str(caught.value)
