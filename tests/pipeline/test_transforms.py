"""Affines of ITK, FSL and plain numbers all mean the same map."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from chimap.errors import InputError
from chimap.pipeline.transforms import read_affine

LABELS = {"labels_affine": np.diag([-1.0, 1.0, 1.2, 1.0]), "labels_shape": (30, 32, 34)}
SCAN = {
    "affine": np.array([[2, 0, 0, -20], [0, 2, 0, -30], [0, 0, 2.5, 5], [0, 0, 0, 1.0]]),
    "shape": (20, 22, 16),
}
GRIDS = {**LABELS, **SCAN}


@pytest.fixture
def true(rng):
    """Scan mm to label mm."""
    out = np.eye(4)
    out[:3, :3] += rng.normal(0, 0.1, (3, 3))
    out[:3, 3] = rng.normal(0, 8, 3)
    return out


def test_plain(tmp_path, true):
    np.savetxt(tmp_path / "t.txt", np.linalg.inv(true))
    assert np.allclose(read_affine(tmp_path / "t.txt", **GRIDS), true)
    assert np.allclose(read_affine(tmp_path / "t.txt", invert=True, **GRIDS), np.linalg.inv(true))


@pytest.mark.parametrize("binary", [False, True])
def test_itk(tmp_path, true, binary):
    # ITK: LPS, y = A (x - c) + c + t from fixed to moving.
    lps = np.diag([-1, -1, 1, 1.0])
    m, c = lps @ true @ lps, np.array([3.0, -7.0, 11.0])
    values = [*m[:3, :3].ravel(), *(m[:3, 3] - c + m[:3, :3] @ c)]
    path = tmp_path / "0GenericAffine.mat"
    if binary:
        savemat(path, {"AffineTransform_double_3_3": np.c_[values], "fixed": np.c_[c]}, format="4")
    else:
        numbers = " ".join(f"{v:.12g}" for v in values)
        path.write_text(
            "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
            f"Parameters: {numbers}\nFixedParameters: 3 -7 11\n"
        )
    assert np.allclose(read_affine(path, **GRIDS), true, atol=1e-6)
    assert np.allclose(read_affine(path, invert=True, **GRIDS), np.linalg.inv(true), atol=1e-6)


def test_fsl(tmp_path, true):
    """FLIRT's numbers from first principles: scaled voxels, x turned round where the determinant is positive."""

    def to_fsl(affine, shape, mm):
        voxel = np.linalg.inv(affine) @ np.append(mm, 1)
        if np.linalg.det(affine[:3, :3]) > 0:
            voxel[0] = shape[0] - 1 - voxel[0]
        return voxel[:3] * np.linalg.norm(affine[:3, :3], axis=0)

    points = np.random.default_rng(3).normal(0, 20, (12, 3))
    moved = points @ true[:3, :3].T + true[:3, 3]
    source = np.array([[*to_fsl(*LABELS.values(), p), 1] for p in moved])
    target = np.array([to_fsl(*SCAN.values(), p) for p in points])
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(source, target, rcond=None)[0].T
    np.savetxt(tmp_path / "flirt.mat", matrix)
    assert np.allclose(read_affine(tmp_path / "flirt.mat", **GRIDS), true, atol=1e-6)
    back = read_affine(tmp_path / "flirt.mat", kind="ras", **GRIDS)
    assert not np.allclose(back, true)


@pytest.mark.parametrize(
    "text", ["", "1 0 0\n0 1 0\n", "hello", "0 0 0 0\n" * 4, "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 1 1\n"]
)
def test_nonsense(tmp_path, text):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InputError):
        read_affine(tmp_path / "t.txt", **GRIDS)
    with pytest.raises(InputError, match="no such file"):
        read_affine(tmp_path / "none.txt", **GRIDS)
