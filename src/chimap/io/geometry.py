"""Where the voxels lie: the direction of B0 and the voxel size from the affine, and grids that must agree."""

from __future__ import annotations

import numpy as np

from chimap.errors import InputError
from chimap.io.findings import Finding
from chimap.io.nifti import Header

SHEAR_WARNING = 1e-3
SHEAR_ERROR = 0.02
"""Largest cosine between two voxel axes that is passed, and that is used at all."""


def b0_direction(affine: np.ndarray) -> tuple[float, float, float]:
    r"""Unit vector of the scanner's z-axis along the voxel axes.

    With R the 3 x 3 part of the affine, its columns normalised, it is :math:`R^T (0, 0, 1)^T`, normalised.
    Flipped axes (RAS or LAS storage) need no special case. The sign does not matter to the dipole kernel.
    """
    r = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    d = r[2] / np.linalg.norm(r[2])
    d[np.abs(d) < 1e-6] = 0.0
    return float(d[0]), float(d[1]), float(d[2])


def voxel_size(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size in mm from the affine."""
    v = np.linalg.norm(affine[:3, :3], axis=0)
    return float(v[0]), float(v[1]), float(v[2])


def shear(affine: np.ndarray) -> float:
    """Largest cosine of the angle between two voxel axes; 0 for an orthogonal grid."""
    r = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(r.T @ r - np.eye(3)).max())


def geometry_findings(header: Header, b0_dir: tuple[float, float, float] | None) -> list[Finding]:
    """What the header of the phase image says about orientation and voxel size, good or bad."""
    out: list[Finding] = []
    file = str(header.path)
    voxel = voxel_size(header.affine)
    s = shear(header.affine)
    if s > SHEAR_ERROR:
        angle = np.degrees(np.arccos(min(1.0, s)))
        out.append(
            Finding(
                "error",
                "orientation",
                f"the voxel axes are not at right angles (two of them at {angle:.1f} degrees); "
                "an orthogonal grid is expected",
                "Use the images as reconstructed, or resample them rigidly",
                file,
            )
        )
    elif s > SHEAR_WARNING:
        what = f"the voxel axes are slightly oblique to each other (cosine {s:.4f}); taken as orthogonal"
        out.append(Finding("warning", "orientation", what, "Check how the images were resampled", file))
    if any(abs(a - b) > 0.01 * a for a, b in zip(voxel, header.zooms_mm, strict=True)):
        what = (
            f"the header gives voxels of {_mm(header.zooms_mm)} mm, its affine {_mm(voxel)} mm; "
            "the affine is used"
        )
        out.append(Finding("warning", "voxel size", what, "Check which of them is right", file))
    lost = header.codes == (0, 0)
    if all(abs(v - 1) < 1e-6 for v in voxel) and (lost or header.spatial_unit == "unknown"):
        what = "voxels of exactly 1 x 1 x 1 mm without a unit: the header may have lost the real size"
        out.append(Finding("warning", "voxel size", what, "Compare with the scan protocol", file))
    if max(voxel) > 100 or min(voxel) < 0.01:
        what = f"voxels of {_mm(voxel)} mm; 0.01 to 100 mm are expected"
        out.append(Finding("error", "voxel size", what, "Repair the header", file))
    if b0_dir is not None:
        return out
    d = b0_direction(header.affine)
    if lost:
        out.append(
            Finding(
                "warning",
                "orientation",
                "the header has no orientation (qform and sform codes are 0); B0 is taken along the third voxel axis",
                "Give --b0-dir if the slices were tilted",
                file,
            )
        )
    tilt = np.degrees(np.arccos(min(1.0, max(abs(x) for x in d))))
    how = "along a voxel axis" if tilt < 0.01 else f"{tilt:.1f} degrees off a voxel axis (oblique slices)"
    what = f"B0 along ({d[0]:.4f}, {d[1]:.4f}, {d[2]:.4f}) in voxel axes, {how}; voxels {_mm(voxel)} mm"
    out.append(Finding("ok", "orientation", what))
    return out


def same_grid(header: Header, reference: Header, name: str, topic: str) -> list[Finding]:
    """Check that a file lies on the grid of another.

    Raises
    ------
    InputError
        If the shapes differ, or the voxels lie more than half a voxel elsewhere.
    """
    shape, expected = header.shape[:3], reference.shape[:3]
    if shape != expected:
        raise InputError(
            f"{name} has shape {_x(shape)} but {reference.path.name} {_x(expected)}",
            file=header.path,
            fix="Resample it onto the grid of the phase"
            if topic == "mask"
            else "Give images of one acquisition, on one grid",
        )
    if header.codes == (0, 0) or reference.codes == (0, 0):
        return []
    corners = np.array(
        [(x, y, z, 1) for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])], dtype=float
    )
    apart = np.abs((header.affine - reference.affine) @ corners.T)[:3].max()
    apart /= min(voxel_size(reference.affine))
    if apart > 0.5:
        raise InputError(
            f"{name} lies up to {apart:.1f} voxels away from {reference.path.name} (their affines differ)",
            file=header.path,
            fix="Resample it onto the grid of the phase",
        )
    if apart > 0.05:
        what = f"{name} lies {apart:.2f} voxels away from {reference.path.name}; taken as the same grid"
        return [Finding("warning", topic, what, "Check the headers", str(header.path))]
    return []


def _mm(v: tuple[float, ...]) -> str:
    return " x ".join(f"{x:.4g}" for x in v)


def _x(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
