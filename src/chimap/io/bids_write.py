"""Scans written as a BIDS data set: MEGRE, magnitude and phase in rad, one file an echo and part."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chimap import __version__, textfile
from chimap.errors import InputError, OutputError
from chimap.io.nifti import save_volume, write_json, write_text
from chimap.io.safe import make_folder, output_error
from chimap.io.scan import Scan, ScanData, load

BIDS_VERSION = "1.10.0"
_README = """# Gradient-echo scans for quantitative susceptibility mapping

Made by chimap {version} from {source}. Every echo has its magnitude (part-mag) and its phase in rad (part-phase), float32.
Names, dates, identifiers and free text of scanner files were left out. participants.tsv holds labels only; age and sex
can be added as columns.
"""


def write_scans(
    scans: Sequence[Scan],
    bids_dir: str | Path,
    *,
    subject: str = "01",
    session: str | None = None,
    acquisition: str | None = None,
    data: Sequence[ScanData] | None = None,
    source: str = "DICOM",
) -> list[Path]:
    """Write scans into a BIDS data set, which is made if it is not there.

    Phase is written in rad within +-pi, as `load` scales it; magnitude as it is. Several scans become run-1, run-2 ... A scan of
    one echo gets the suffix T2starw, since MEGRE is for several. The same scans give the same bytes.

    Parameters
    ----------
    scans : sequence of Scan
        In the order of their runs.
    bids_dir : path
        Root of the data set.
    subject, session, acquisition : str, optional
        Labels: letters and digits.
    data : sequence of ScanData, optional
        Of each scan, where they are not what its files hold.
    source : str
        What the data set was made from, for its README.

    Returns
    -------
    list of Path
        The images.

    Raises
    ------
    InputError
        If a label has other characters, or a scan cannot be used; nothing is written then.
    OutputError
        If there is such a scan in the data set already, or the folder cannot be written.
    """
    root = Path(bids_dir)
    folder, stem = destination(root, subject, session, acquisition)
    make_folder(root)
    try:
        # Hidden, so that a run that was killed leaves nothing that looks like data.
        part = Path(tempfile.mkdtemp(dir=root, prefix=".chimap-"))
    except OSError as e:
        raise output_error(e, root) from e
    moved: list[Path] = []
    try:
        for i, scan in enumerate(scans):
            name = stem if len(scans) == 1 else f"{stem}_run-{i + 1}"
            _write_scan(load(scan) if data is None else data[i], scan, part, name)
        make_folder(folder)
        _refuse_existing(folder, stem)
        for file in sorted(part.iterdir()):
            os.replace(file, folder / file.name)
            moved.append(folder / file.name)
    except OSError as e:
        for file in moved:  # half a scan must not look like a whole one
            file.unlink(missing_ok=True)
        raise output_error(e, folder) from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _describe(root, subject, source)
    return [p for p in moved if p.name.endswith(".nii.gz")]


def destination(
    bids_dir: str | Path, subject: str, session: str | None = None, acquisition: str | None = None
) -> tuple[Path, str]:
    """Folder and first part of the names of a scan to be written; an error as of `write_scans` where it cannot be."""
    entities = {"sub": subject, "ses": session, "acq": acquisition}
    for name, label in entities.items():
        if label is not None and not re.fullmatch(r"[A-Za-z0-9]+", label):
            raise InputError(f"the label {name}-{label} has other characters than letters and digits")
    stem = "_".join(f"{k}-{v}" for k, v in entities.items() if v is not None)
    folder = Path(bids_dir) / f"sub-{subject}"
    if session is not None:
        folder /= f"ses-{session}"
    folder /= "anat"
    _refuse_existing(folder, stem)
    return folder, stem


def _refuse_existing(folder: Path, stem: str) -> None:
    names = re.compile(re.escape(stem) + r"(_run-\d+)?(_echo-\d+)?_part-(mag|phase)_(MEGRE|T2starw)\.")
    for file in sorted(folder.glob("*")) if folder.is_dir() else []:
        if names.match(file.name):
            raise OutputError(
                "this scan is there already and is not overwritten",
                file=file,
                fix="Give another --subject, --session or --acquisition, or remove the files",
            )


def _write_scan(data: ScanData, scan: Scan, folder: Path, name: str) -> None:
    common: dict[str, Any] = {
        **{k: v for k, v in scan.metadata.items() if k != "Units" and _plain(v)},
        "MagneticFieldStrength": scan.metadata.get("MagneticFieldStrength", round(data.acq.b0_t, 4)),
    }
    for part, volumes, units in (("mag", data.magnitude, "arbitrary"), ("phase", data.phase, "rad")):
        if volumes is None:
            continue
        for e, te in enumerate(data.acq.te_s):
            several = len(data.acq.te_s) > 1
            entity, suffix = (f"_echo-{e + 1}", "MEGRE") if several else ("", "T2starw")
            file = folder / f"{name}{entity}_part-{part}_{suffix}"
            volume = np.asarray(volumes[..., e], np.float32)
            save_volume(f"{file}.nii.gz", volume, data.affine)
            sidecar = {**common, "EchoTime": round(te, 7), "Units": units}
            if several:
                sidecar["EchoNumber"] = e + 1
            write_json(f"{file}.json", sidecar)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float) or (
        isinstance(value, list) and all(isinstance(v, str | int | float) for v in value)
    )


def _describe(root: Path, subject: str, source: str) -> None:
    """The data set's own files; what is there is left as it is, except for a row of participants.tsv."""
    if not (root / "dataset_description.json").exists():
        write_json(
            root / "dataset_description.json",
            {
                "Name": "Gradient-echo scans for quantitative susceptibility mapping",
                "BIDSVersion": BIDS_VERSION,
                "DatasetType": "raw",
                "GeneratedBy": [{"Name": "chimap", "Version": __version__}],
            },
        )
    if not any(root.glob("README*")):
        write_text(root / "README.md", _README.format(version=__version__, source=source))
    table = root / "participants.tsv"
    row = f"sub-{subject}"
    if not table.exists():
        write_text(table, f"participant_id\n{row}\n")
        write_json(
            root / "participants.json", {"participant_id": {"Description": "Label of the participant"}}
        )
        return
    lines = textfile.read_text(table).splitlines()
    if any(line.split("\t")[0] == row for line in lines):
        return
    columns = len(lines[0].split("\t")) if lines else 1
    lines = lines or ["participant_id"]
    write_text(table, "\n".join([*lines, "\t".join([row, *["n/a"] * (columns - 1)])]) + "\n")
