"""From what a user points at (data set, DICOM folder, files) to scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chimap.errors import InputError
from chimap.io import bids, dicom
from chimap.io.findings import Finding
from chimap.io.scan import Scan
from chimap.io.sidecar import beside, echo_times, field_strength, selected

__all__ = ["find_scans", "scan_from_files"]

Paths = str | Path | Sequence[str | Path]


def find_scans(path: str | Path, work_dir: str | Path) -> list[Scan]:
    """The gradient-echo scans in a BIDS data set, a DICOM folder or a folder that dcm2niix has filled.

    Parameters
    ----------
    path : path
        The folder. For BIDS it may also be one subject, session or ``anat`` folder of a data set.
    work_dir : path
        Where DICOM is converted to; not touched otherwise.

    Returns
    -------
    list of Scan
        At least one, in the order of names. What is wrong with a scan is in its `problems`.

    Raises
    ------
    InputError
        If the folder is missing or empty, or holds no scan with phase.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("there is no such folder", file=path, fix="Check the path")
    if path.is_file():
        if path.name.endswith((".nii", ".nii.gz")):
            fix = "Give a BIDS data set or a DICOM folder, or --phase FILE --te ... --b0 ..."
            raise InputError("this is one NIfTI file; a folder is expected", file=path, fix=fix)
        raise InputError("this is a file; a BIDS data set or a DICOM folder is expected", file=path)
    path = path.resolve()
    try:
        empty = not any(path.iterdir())
    except OSError as e:
        raise InputError(f"the folder cannot be read ({e.strerror})", file=path) from e
    if empty:
        raise InputError("the folder is empty", file=path, fix="Give a BIDS data set or a DICOM folder")
    images = bids.image_files(path)
    if bids.is_bids(path) or any(bids.parse_name(f) for f in images):
        return bids.find(path)
    if any(beside(f) for f in images if f.parent == path):
        return dicom.find(path, path)
    if dicom.has_dicom(path):
        return dicom.find(dicom.convert(path, Path(work_dir)), path)
    if images:
        fix = "Give them as --phase FILE --magnitude FILE --te ... --b0 ..., or name them as BIDS asks"
        raise InputError(f"{len(images)} NIfTI files without sidecars or BIDS names", file=path, fix=fix)
    raise InputError("neither BIDS images nor DICOM files in this folder", file=path, fix="Check the path")


def scan_from_files(
    phase: Paths,
    magnitude: Paths | None = None,
    *,
    te_s: Sequence[float] | None = None,
    b0_t: float | None = None,
    b0_dir: Sequence[float] | None = None,
    mask: str | Path | None = None,
    phase_range: tuple[float, float] | None = None,
) -> Scan:
    """A scan from NIfTI files: one an echo, or one 4-D file.

    Parameters
    ----------
    phase, magnitude : path or several
        In the order of the echoes.
    te_s : sequence of float, optional
        Echo times in s; without them the sidecars beside the phase files are read.
    b0_t : float, optional
        Field strength in T; without it, from the sidecars.
    b0_dir : 3 float, optional
        Direction of B0 along the voxel axes; without it, from the affine.
    mask : path, optional
        Used as it is.
    phase_range : (float, float), optional
        The stored values that stand for -pi and +pi; detected without it.

    Raises
    ------
    InputError
        If echo times or field strength are neither given nor in sidecars.
    """
    files = _paths(phase)
    if not files:
        raise InputError("no phase file is given", fix="Give --phase FILE")
    sidecars = [beside(f) for f in files if f.exists()]
    problems: list[Finding] = []
    if te_s is None:
        te: list[float] = []
        for file, sidecar in zip(files, sidecars, strict=False):
            if not sidecar:
                raise InputError(
                    "no echo times: none are given and there is no sidecar", file=file, fix="Give --te"
                )
            times, wrong = echo_times(sidecar, file)
            problems += wrong
            te += times
        te_s = te
    sidecar = sidecars[0] if sidecars else {}
    if b0_t is None:
        if not sidecar:
            raise InputError(
                "no field strength: it is not given and there is no sidecar", file=files[0], fix="Give --b0"
            )
        b0_t, wrong = field_strength(sidecar, files[0])
        problems += wrong
    direction = None
    if b0_dir is not None:
        if len(b0_dir) != 3:
            raise InputError(f"B0 direction {tuple(b0_dir)} has {len(b0_dir)} numbers; three are expected")
        direction = (float(b0_dir[0]), float(b0_dir[1]), float(b0_dir[2]))
    return Scan(
        name="scan",
        phase=files,
        magnitude=_paths(magnitude),
        te_s=tuple(float(t) for t in te_s),
        b0_t=float(b0_t),
        b0_dir=direction,
        mask=None if mask is None else Path(mask),
        phase_range=phase_range,
        metadata=selected(sidecar),
        sidecar=bool(sidecar),
        problems=tuple(problems),
    )


def _paths(given: Paths | None) -> tuple[Path, ...]:
    if given is None:
        return ()
    if isinstance(given, str | Path):
        return (Path(given),)
    return tuple(Path(p) for p in given)
