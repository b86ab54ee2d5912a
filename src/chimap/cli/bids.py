"""Make a BIDS data set of DICOM files: every echo with its magnitude and its phase in rad.

  chimap bids DICOM_DIR BIDS_DIR --subject 01
  chimap bids DICOM_DIR BIDS_DIR --subject 01 --session 2 --acquisition qsm

DICOM_DIR may be unsorted and hold other series; the gradient-echo scans with phase are found. Names, dates, identifiers and
free text are left out. A scan that is there already is not overwritten.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "make a BIDS data set of DICOM files"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("input", type=Path, metavar="DICOM_DIR", help="a folder of DICOM files")
    parser.add_argument("output", type=Path, metavar="BIDS_DIR", help="the data set; made if it is not there")
    parser.add_argument(
        "--subject", default="01", metavar="LABEL", help="label of the subject, no name (default: 01)"
    )
    parser.add_argument("--session", metavar="LABEL", help="label of the session")
    parser.add_argument("--acquisition", metavar="LABEL", help="label of the acquisition, such as qsm")
    parser.add_argument(
        "--phase-range",
        nargs=2,
        type=float,
        metavar=("MIN", "MAX"),
        help="the stored values that stand for -pi and +pi (default: detected)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert, find the scans, write them, say what was made."""
    import tempfile
    from dataclasses import replace

    from chimap.cli._coils import combined
    from chimap.cli._stage import console_of
    from chimap.errors import InputError
    from chimap.io import bids
    from chimap.io.bids_write import write_scans
    from chimap.io.inputs import find_scans

    labels = {name: getattr(args, name) for name in ("subject", "session", "acquisition")}
    for prefix, name in (("sub-", "subject"), ("ses-", "session"), ("acq-", "acquisition")):
        if labels[name] is not None:
            labels[name] = labels[name].removeprefix(prefix)
    if args.input.is_dir() and bids.is_bids(args.input):
        raise InputError(
            "this is a BIDS data set already", file=args.input, fix="Give a folder of DICOM files"
        )
    console = console_of(args)
    span = None if args.phase_range is None else tuple(args.phase_range)
    with tempfile.TemporaryDirectory(prefix="chimap-bids-") as work_dir:
        scans = [combined(replace(s, phase_range=span), work_dir) for s in find_scans(args.input, work_dir)]
        if len(scans) > 1:
            console.note(f"{len(scans)} scans: run-1 to run-{len(scans)}, in the order of their series")
        images = write_scans(scans, args.output, **labels)
    for image in images:
        print(image)
    return 0
