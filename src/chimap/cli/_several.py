"""What `chimap join` and `chimap average` share: several scans of one head as input, one BIDS data set as output."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chimap.errors import InputError

if TYPE_CHECKING:
    from chimap.acquisition import Acquisition
    from chimap.io.scan import Scan, ScanData
    from chimap.pipeline.console import Console
    from chimap.stacks.scan import Stack


def add_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the scans, OUT, echo times and labels."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar=what,
        help="BIDS data sets or folders of DICOM files, all scans in them; or PHASE.nii.gz,MAGNITUDE.nii.gz "
        "(4-D, one pair a scan). The last one is OUT: the BIDS data set to write",
    )
    group = parser.add_argument_group("input and output")
    group.add_argument(
        "--te",
        nargs="+",
        type=float,
        metavar="S",
        help="echo times in seconds of NIfTI pairs (default: sidecars)",
    )
    group.add_argument("--b0", type=float, metavar="T", help="field strength in tesla of NIfTI pairs")
    group.add_argument("--subject", default="01", metavar="LABEL", help="label in the data set (default: 01)")
    group.add_argument("--session", metavar="LABEL", help="session in the data set")


def read(args: argparse.Namespace, console: Console) -> tuple[list[Scan], list[ScanData], Path]:
    """The scans with their data, in the order given; and OUT.

    Raises
    ------
    InputError
        If there are fewer than two scans, one cannot be used, or echo times or field strengths differ.
    """
    from chimap.io.bids_write import destination
    from chimap.io.inputs import find_scans, scan_from_files
    from chimap.io.scan import load

    *inputs, out = args.paths
    if not inputs:
        raise InputError("only one path is given", fix="Give two scans or more, and OUT at the end")
    for folder in (out, getattr(args, "aligned", None)):
        if folder is not None:  # before the work is done, not after
            destination(folder, args.subject, args.session)
    scans, data = [], []
    with tempfile.TemporaryDirectory(prefix="chimap-") as work:
        for n, text in enumerate(inputs):
            if "," in text and not Path(text).exists():
                phase, _, magnitude = text.partition(",")
                found = [scan_from_files(phase, magnitude, te_s=args.te, b0_t=args.b0)]
            else:
                if not Path(text).is_dir():
                    fix = "Give a folder, or PHASE.nii.gz,MAGNITUDE.nii.gz"
                    raise InputError("this is neither a folder nor a pair of files", file=text, fix=fix)
                found = find_scans(text, Path(work) / str(n))
            for scan in found:
                scans.append(replace(scan, mask=None))
                data.append(load(scans[-1]))
    if len(scans) < 2:
        raise InputError(f"{len(scans)} scan is given; two or more are needed", file=inputs[0])
    for scan, one in zip(scans, data):
        file = scan.files[0]
        if one.magnitude is None:
            raise InputError("there is no magnitude", file=file, fix="Give phase and magnitude of each scan")
        if not np.allclose(one.acq.te_s, data[0].acq.te_s, atol=2e-4) or one.acq.echoes != data[0].acq.echoes:
            raise InputError(
                f"the echo times {_ms(one.acq)} are not those of the first scan, {_ms(data[0].acq)}",
                file=file,
                fix="Give scans of the same echoes",
            )
        if abs(one.acq.b0_t - data[0].acq.b0_t) > 0.05:
            raise InputError(
                f"the field strength is {one.acq.b0_t:g} T, that of the first scan {data[0].acq.b0_t:g} T",
                file=file,
            )
        shape, size = one.phase.shape[:3], one.acq.voxel_size_mm
        console.note(f"{scan.name}: {' x '.join(map(str, shape))}, {' x '.join(f'{v:.3g}' for v in size)} mm")
    return scans, data, Path(out)


def _ms(acq: Acquisition) -> str:
    return " ".join(f"{1000 * t:.4g}" for t in acq.te_s) + " ms"


def as_stack(data: ScanData, profile: tuple[str, str, str] = ("kspace", "kspace", "kspace")) -> Stack:
    """A scan's data as `chimap.stacks` takes them."""
    from chimap.stacks.scan import Stack

    assert data.magnitude is not None
    return Stack(data.phase, data.magnitude, data.affine, profile)


def write(
    args: argparse.Namespace,
    out: Path,
    name: str,
    scan: Scan,
    data: Sequence[ScanData],
    record: dict[str, Any],
) -> None:
    """Write the data set, and ``derivatives/NAME/NAME.json`` with what was done."""
    from chimap.io.bids_write import write_scans
    from chimap.io.nifti import write_json

    kept = {k: v for k, v in scan.metadata.items() if k not in ("Units", "EchoTime", "EchoNumber")}
    plain = replace(scan, metadata=kept)
    write_scans(
        [plain] * len(data),
        out,
        subject=args.subject,
        session=args.session,
        data=data,
        source=f"chimap {name}",
    )
    write_json(out / "derivatives" / name / f"{label(args)}_{name}.json", record)


def label(args: argparse.Namespace) -> str:
    """The beginning of the names of files beside the images."""
    return f"sub-{args.subject}" + (f"_ses-{args.session}" if args.session else "")
