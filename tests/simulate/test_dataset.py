import json

import nibabel as nib
import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError, OutputError
from chimap.simulate import head_phantom, simulate_scan, write_bids, write_flat
from chimap.simulate.dataset import scanner_affine


@pytest.fixture(scope="module")
def acq():
    return Acquisition((0.004, 0.012), 3.0, (0.2, -0.3, 0.9), (4.5, 4.5, 6))


@pytest.fixture(scope="module")
def scan(acq):
    return simulate_scan(head_phantom((3, 3, 3)), acq)


def test_bids_data_set(scan, acq, tmp_path):
    seen = []
    write_bids(scan, acq, tmp_path, "01", progress=lambda done, total, **_: seen.append(done / total))
    write_bids(scan, acq, tmp_path, "02", "a")
    assert seen[-1] == 1
    for folder, stem in (("sub-01/anat", "sub-01"), ("sub-02/ses-a/anat", "sub-02_ses-a")):
        for e, te in enumerate(acq.te_s):
            for part, data in (("mag", scan.magnitude), ("phase", scan.phase)):
                name = f"{stem}_echo-{e + 1}_part-{part}_MEGRE"
                image = nib.load(tmp_path / folder / f"{name}.nii.gz")
                np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), data[..., e])
                sidecar = json.loads((tmp_path / folder / f"{name}.json").read_text())
                assert sidecar["EchoTime"] == te
                assert sidecar["MagneticFieldStrength"] == 3.0
                assert sidecar.get("Units") == ("rad" if part == "phase" else None)
        truth = tmp_path / "derivatives/truth" / folder
        np.testing.assert_array_equal(nib.load(truth / f"{stem}_Chimap.nii.gz").get_fdata(), scan.chi_ppm)
        assert nib.load(truth / f"{stem}_dseg.nii.gz").get_data_dtype() == np.uint8
    description = json.loads((tmp_path / "dataset_description.json").read_text())
    assert description["BIDSVersion"] and description["DatasetType"] == "raw"
    assert (tmp_path / "participants.tsv").read_text().split() == ["participant_id", "sub-01", "sub-02"]
    rows = (tmp_path / "derivatives/truth/dseg.tsv").read_text().splitlines()
    assert rows[0] == "index\tname\tchi_ppm" and "8\twhite matter\t-0.03" in rows
    assert not [p for p in tmp_path.rglob(".*")]


@pytest.mark.parametrize("b0_dir", [(0, 0, 1), (0, 0, -1), (0.2, -0.3, 0.9), (1, 0, 0)])
def test_affine_puts_b0_along_scanner_z(b0_dir):
    acq = Acquisition((0.01,), 3.0, b0_dir, (1, 1.5, 2))
    affine = scanner_affine(acq, (10, 12, 14))
    rotation = affine[:3, :3] / acq.voxel_size_mm
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation @ acq.b0_dir, (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(affine @ (4.5, 5.5, 6.5, 1), (0, 0, 0, 1), atol=1e-12)


def test_flat_files(scan, acq, tmp_path):
    write_flat(scan, acq, tmp_path)
    assert Acquisition.from_json(tmp_path / "params.json") == acq
    phase = nib.load(tmp_path / "phase.nii.gz")
    np.testing.assert_array_equal(phase.get_fdata(dtype=np.float32), scan.phase)
    np.testing.assert_array_equal(nib.load(tmp_path / "mask.nii.gz").get_fdata() > 0, scan.mask)
    for name, data in (
        ("totalfield", scan.total_field_ppm),
        ("localfield", scan.local_field_ppm),
        ("chimap", scan.chi_ppm),
        ("r2star", scan.r2star),
        ("dseg", scan.labels),
    ):
        np.testing.assert_array_equal(nib.load(tmp_path / f"truth/{name}.nii.gz").get_fdata(), data)


def test_bad_labels_and_folders_are_told(scan, acq, tmp_path):
    with pytest.raises(InputError):
        write_bids(scan, acq, tmp_path, "sub 1")
    with pytest.raises(InputError):
        write_bids(scan, acq.with_(te_s=(0.01,)), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_flat(scan, acq, tmp_path / "file")
