"""Simulated scans as files: a BIDS data set as a scanner site would share it, or flat files for single stages."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from chimap import __version__
from chimap.acquisition import Acquisition
from chimap.errors import InputError, OutputError
from chimap.numerics.threads import get_threads
from chimap.simulate.scan import SimulatedScan
from chimap.types import Progress, silent

BIDS_VERSION = "1.10.0"


def scanner_affine(acq: Acquisition, shape: tuple[int, ...]) -> np.ndarray:
    """Affine (4, 4) of a slab tilted such that B0 is the scanner's z axis, centred at the isocentre.

    The rotation is the shortest one that takes `acq.b0_dir` to z (Rodrigues), so it is proper (determinant 1).
    """
    b = np.asarray(acq.b0_dir, float)
    z = np.array([0.0, 0.0, 1.0])
    axis, cos = np.cross(b, z), float(b @ z)
    if cos < -1 + 1e-12:
        rotation = np.diag([1.0, -1.0, -1.0])
    else:
        k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        rotation = np.eye(3) + k + k @ k / (1 + cos)
    out = np.eye(4)
    out[:3, :3] = rotation @ np.diag(acq.voxel_size_mm)
    out[:3, 3] = -out[:3, :3] @ ((np.asarray(shape[:3]) - 1) / 2)
    return out


def write_bids(
    scan: SimulatedScan,
    acq: Acquisition,
    root: str | Path,
    subject: str = "01",
    session: str | None = None,
    *,
    acquisition: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a scan into a BIDS data set, with the truth in ``derivatives/truth``.

    Parameters
    ----------
    scan : SimulatedScan
    acq : Acquisition
        The scan's.
    root : path
        Data set; subjects that are there already stay. Files appear whole or not at all.
    subject, session, acquisition : str
        Labels (letters and digits); `acquisition` tells several scans of one person apart.
    progress : callable, optional
        Told of each file.

    Returns
    -------
    Path
        The data set.

    Raises
    ------
    InputError
        If a label is not letters and digits, or the echoes do not fit the scan.
    OutputError
        If a file cannot be written.
    """
    root = Path(root)
    stem = _stem(subject, session)
    folder = stem.replace("_", "/") + "/anat"
    if acquisition is not None:
        _label(acquisition)
        stem += f"_acq-{acquisition}"
    if scan.phase.shape[3] != acq.echoes:
        raise InputError(f"{acq.echoes} echo times given for a scan of {scan.phase.shape[3]} echoes")
    affine = scanner_affine(acq, scan.mask.shape)
    anat, truth = root / folder, root / "derivatives" / "truth" / folder
    jobs: list[Callable[[], None]] = []

    def image(path: Path, data: np.ndarray, sidecar: dict[str, object]) -> None:
        jobs.append(lambda: _save(path, data, affine))
        jobs.append(lambda: _json(path.with_name(path.name.replace(".nii.gz", ".json")), sidecar))

    for e, te in enumerate(acq.te_s):
        for part, data in (("mag", scan.magnitude), ("phase", scan.phase)):
            sidecar = _sidecar(scan, acq, te, part)
            image(anat / f"{stem}_echo-{e + 1}_part-{part}_MEGRE.nii.gz", data[..., e], sidecar)
    for suffix, data, units, text in _truth(scan):
        image(
            truth / f"{stem}_{suffix}.nii.gz",
            data,
            {"Description": text, **({"Units": units} if units else {})},
        )
    jobs.append(lambda: _text(root / "derivatives/truth/dseg.tsv", _table(scan)))
    _describe(root)
    _run(jobs, progress)
    _participants(root)
    return root


def write_flat(
    scan: SimulatedScan, acq: Acquisition, root: str | Path, *, progress: Progress | None = None
) -> Path:
    """Write a scan as flat files: phase, magnitude, mask, params.json, and the truth below ``truth``.

    ``params.json`` has TE [s], B0 [T], B0_dir and voxel_size [mm], which `Acquisition.from_json` reads. The truth:
    totalfield, localfield, chimap [ppm], r2star [1/s], dseg with labels.tsv; of a head with sources also
    paramagnetic, diamagnetic [ppm] and r2prime [1/s]. Errors as for `write_bids`.
    """
    root = Path(root)
    affine = scanner_affine(acq, scan.mask.shape)
    names = {
        "Chimap": "truth/chimap",
        "desc-total_fieldmap": "truth/totalfield",
        "desc-local_fieldmap": "truth/localfield",
        "R2starmap": "truth/r2star",
        "desc-brain_mask": "mask",
        "dseg": "truth/dseg",
        "desc-paramagnetic_Chimap": "truth/paramagnetic",
        "desc-diamagnetic_Chimap": "truth/diamagnetic",
        "R2primemap": "truth/r2prime",
    }
    jobs: list[Callable[[], None]] = [
        lambda: _save(root / "phase.nii.gz", scan.phase, affine),
        lambda: _save(root / "magnitude.nii.gz", scan.magnitude, affine),
        lambda: _json(root / "params.json", acq.to_dict()),
        lambda: _json(root / "simulation.json", scan.parameters),
        lambda: _text(root / "truth/labels.tsv", _table(scan)),
    ]
    for suffix, data, _, _ in _truth(scan):
        jobs.append(partial(_save, root / f"{names[suffix]}.nii.gz", data, affine))
    _run(jobs, progress)
    return root


def _stem(subject: str, session: str | None) -> str:
    for label in (subject, session):
        if label is not None:
            _label(label)
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


def _label(label: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]+", label):
        raise InputError(f"{label!r} is not a BIDS label", fix="Use letters and digits only")


def _truth(scan: SimulatedScan) -> Iterable[tuple[str, np.ndarray, str, str]]:
    yield "Chimap", scan.chi_ppm, "ppm", "True susceptibility against water"
    yield "desc-total_fieldmap", scan.total_field_ppm, "ppm", "True field after the shim, relative to B0"
    yield "desc-local_fieldmap", scan.local_field_ppm, "ppm", "True field of the brain's own susceptibility"
    yield "R2starmap", scan.r2star, "1/s", "True R2* without the dephasing between voxels"
    yield "desc-brain_mask", scan.mask.astype(np.uint8), "", "Inside of the skull, or of the container"
    yield "dseg", scan.labels, "", "Tissue at the voxel's centre, see dseg.tsv"
    if scan.paramagnetic_ppm is not None and scan.diamagnetic_ppm is not None and scan.r2prime is not None:
        yield (
            "desc-paramagnetic_Chimap",
            scan.paramagnetic_ppm,
            "ppm",
            "True paramagnetic part of the susceptibility",
        )
        yield (
            "desc-diamagnetic_Chimap",
            scan.diamagnetic_ppm,
            "ppm",
            "True diamagnetic part, 0 or less",
        )
        yield "R2primemap", scan.r2prime, "1/s", "True R2' without the dephasing between voxels"


def _sidecar(scan: SimulatedScan, acq: Acquisition, te_s: float, part: str) -> dict[str, object]:
    out: dict[str, object] = {
        "Modality": "MR",
        "MagneticFieldStrength": acq.b0_t,
        "Manufacturer": "Simulated",
        "ManufacturersModelName": "chimap",
        "SoftwareVersions": __version__,
        "PulseSequenceType": "Multi-echo gradient echo",
        "MRAcquisitionType": "3D",
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "ImageType": ["ORIGINAL", "PRIMARY", "P" if part == "phase" else "M", "ND"],
        "EchoTime": te_s,
        "RepetitionTime": scan.parameters["tr_s"],
        "FlipAngle": scan.parameters["flip_deg"],
        "ChimapSimulation": scan.parameters,
    }
    if part == "phase":
        out["Units"] = "rad"
    return out


def _table(scan: SimulatedScan) -> str:
    text = io.StringIO()
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")
    rows.writerow(["index", "name", "chi_ppm"])
    rows.writerows(sorted([number, name, chi] for name, (number, chi) in scan.table.items()))
    return text.getvalue()


def _describe(root: Path) -> None:
    generator = {"Name": "chimap simulate", "Version": __version__}
    _json(
        root / "dataset_description.json",
        {
            "Name": "Simulated multi-echo gradient-echo scans",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "raw",
            "License": "CC0",
            "GeneratedBy": [generator],
        },
    )
    _json(
        root / "derivatives/truth/dataset_description.json",
        {
            "Name": "Ground truth of the simulated scans",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [generator],
        },
    )
    _text(
        root / "README",
        "Multi-echo gradient-echo scans, simulated with chimap. No person was scanned.\n"
        "Phase is in rad and grows where the field is higher. B0 is along the scanner's z axis.\n"
        "derivatives/truth holds the susceptibility, fields, R2* and labels behind them.\n",
    )


def _participants(root: Path) -> None:
    names = sorted(p.name for p in root.glob("sub-*") if p.is_dir())
    _text(root / "participants.tsv", "participant_id\n" + "".join(f"{n}\n" for n in names))


def _run(jobs: list[Callable[[], None]], progress: Progress | None) -> None:
    """All files, a few at a time: compression dominates and releases the interpreter's lock."""
    tell = progress or silent
    tell(0, len(jobs), stage="write")
    with ThreadPoolExecutor(max(1, get_threads())) as pool:
        for n, _ in enumerate(pool.map(lambda job: job(), jobs)):
            tell(n + 1, len(jobs))


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(np.asarray(data), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    _whole(path, lambda part: nib.save(image, part))


def _json(path: Path, values: dict[str, object]) -> None:
    _text(path, json.dumps(values, indent=2) + "\n")


def _text(path: Path, text: str) -> None:
    _whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, then rename: a file is there as a whole or not at all."""
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except OSError as e:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OutputError(f"cannot be written ({e.strerror or e})", file=path) from e
