"""What the fuzzing of DICOM and of the commands after a map has found: the cases themselves, and their causes one by one."""

from __future__ import annotations

import os
import warnings

import fuzz_dicom
import nibabel as nib
import numpy as np
import pytest
from fuzz_run import Fuzz

from chimap import metrics
from chimap.cli import main
from chimap.errors import InputError
from chimap.io import dicom_survey, scaling
from chimap.io.dicom_convert import files
from chimap.io.inputs import find_scans
from chimap.io.nifti import load_volume

# Found by the long runs: tracebacks, warnings of Python's, one wait without end.
FOUND = {"answers": [11, 20, 91, 251, 272], "dicom": [5, 23, 166]}


@pytest.mark.parametrize("which", FOUND)
def test_found(which, tmp_path):
    fuzz = Fuzz(tmp_path, which=which)
    assert set(fuzz.unspoiled.values()) == {0}
    outcomes = [fuzz.case(n) for n in FOUND[which]]
    wrong = [(o.case, o.command, o.spoiled, o.status, o.wrong, o.said[-300:]) for o in outcomes if o.wrong]
    assert not wrong


@pytest.fixture
def dicom(tmp_path):
    fuzz_dicom.write_dicom(tmp_path)
    return tmp_path


def test_a_pipe_among_dicom_is_passed_over(dicom):
    count = len(list(files(dicom / "siemens")))
    os.mkfifo(dicom / "siemens" / "pipe")
    (dicom / "siemens" / "gone").symlink_to("nowhere")
    (dicom / "siemens" / "endless").symlink_to("/dev/zero")
    assert len(list(files(dicom / "siemens"))) == count
    (scan,) = find_scans(dicom / "siemens", dicom / "work")
    assert len(scan.phase) == len(scan.magnitude) == 3


def test_a_slope_that_is_no_number(dicom):
    """Named as damage of that file, without pydicom's own words about the value."""
    (file,) = (dicom / "mixed").iterdir()
    data = file.read_bytes()
    # (0028,1053) RescaleSlope of the phase frames.
    old = b"\x28\x00\x53\x10DS\x04\x002.0 "
    assert old in data
    file.write_bytes(data.replace(old, old[:-4] + b"abc "))
    with warnings.catch_warnings(), pytest.raises(InputError, match="damaged"):
        warnings.simplefilter("error")
        find_scans(dicom / "mixed", dicom / "work")


def test_warnings_do_not_repeat_the_header(dicom):
    file = sorted((dicom / "siemens").iterdir())[0]
    data = file.read_bytes()
    assert b"SECRET1 " in data
    file.write_bytes(
        data.replace(b"ISO_IR 100", b"Quendolin ").replace(
            b"\x18\x00\x81\x00DS\x02\x004 ", b"\x18\x00\x81\x00DS\x02\x00Q "
        )
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dicom_survey.survey([file])
    assert not said


def test_signalling_nan_is_read_as_nan(tmp_path):
    data = np.ones((4, 4, 4), np.float32)
    data.view(np.uint32)[1, 1, 1] = 0x7FA00000
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    read, _ = load_volume(tmp_path / "a.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(read.astype(np.float64)).sum() == 1


def test_truth_that_is_not_finite_is_refused(tmp_path, capsys):
    truth = np.random.default_rng(1).standard_normal((8, 8, 8)).astype(np.float32)
    mask = np.zeros(truth.shape, bool)
    mask[2:6, 2:6, 2:6] = True
    spoiled = truth.copy()
    spoiled[0, 0, 0] = np.inf
    assert metrics.score(truth, spoiled, mask)["nrmse"] == 0
    spoiled[3, 3, 3] = np.inf
    with pytest.raises(InputError, match="truth has NaN or Inf in 1 voxel"):
        metrics.score(truth, spoiled, mask)
    for name, a in (("r", truth), ("t", spoiled), ("m", mask.astype(np.uint8))):
        nib.save(nib.Nifti1Image(a, np.eye(4)), tmp_path / f"{name}.nii")
    argv = ["score", "--recon", "r.nii", "--truth", "t.nii", "--mask", "m.nii"]
    assert main([str(tmp_path / w) if w.endswith(".nii") else w for w in argv]) == 2
    assert "t.nii: 1 values inside the mask" in capsys.readouterr().err


def test_uniform_object_on_a_coarse_grid_is_no_phase():
    """Its edges are as many as wraps, and its range is filled at both ends."""
    rng = np.random.default_rng(3)
    x, y, z = np.indices((24, 22, 18))
    ball = ((x - 12) / 10.5) ** 2 + ((y - 11) / 9.5) ** 2 + ((z - 9) / 8) ** 2 < 1
    noise = rng.standard_normal((2, 3, *ball.shape))
    signal = 900 * ball * np.exp(-20 * np.array([0.004, 0.008, 0.012]))[:, None, None, None]
    magnitude = np.round(np.hypot(signal + 4 * noise[0], 4 * noise[1])).astype(np.float32)
    s = scaling.statistics(magnitude)
    assert s.wraps > 0.05 and s.fill > 0.3
    assert not scaling.looks_like_phase(s) and scaling.looks_like_phase(
        scaling.statistics(rng.integers(0, 4096, magnitude.shape).astype(np.float32))
    )
