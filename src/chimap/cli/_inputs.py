"""The flags that say what to reconstruct: a folder, or NIfTI files with their echo times."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from chimap.errors import InputError

if TYPE_CHECKING:
    from chimap.io.scan import Scan


def add_input_arguments(parser: argparse.ArgumentParser, *, positional: bool = True) -> None:
    """Add INPUT (if `positional`) and the flags for NIfTI files: --phase, --magnitude, --te, --b0 ..."""
    if positional:
        parser.add_argument(
            "input", nargs="?", type=Path, metavar="INPUT", help="a BIDS data set or a folder of DICOM files"
        )
    group = parser.add_argument_group("NIfTI files instead of a folder")
    group.add_argument(
        "--phase",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="phase: one 4-D file, or one file an echo in order",
    )
    group.add_argument("--magnitude", nargs="+", type=Path, metavar="FILE", help="magnitude, likewise")
    group.add_argument(
        "--te",
        nargs="+",
        type=float,
        metavar="S",
        help="echo times in seconds (default: from the JSON sidecars beside the files)",
    )
    group.add_argument(
        "--b0", type=float, metavar="T", help="field strength in tesla (default: from the sidecar)"
    )
    group.add_argument(
        "--b0-dir",
        nargs=3,
        type=float,
        metavar=("X", "Y", "Z"),
        help="direction of B0 along the voxel axes (default: from the image header)",
    )
    group.add_argument(
        "--mask", type=Path, metavar="FILE", help="mask of the object on the same grid, used as it is"
    )
    group.add_argument(
        "--phase-range",
        nargs=2,
        type=float,
        metavar=("MIN", "MAX"),
        help="the stored values that stand for -pi and +pi (default: detected)",
    )


def given_by_files(args: argparse.Namespace) -> bool:
    """Whether the scan is given by files (--phase) and not by a folder."""
    return args.phase is not None


def scans_from_args(args: argparse.Namespace, work_dir: str | Path) -> list[Scan]:
    """The scans that the arguments of `add_input_arguments` ask for; DICOM is converted into `work_dir`.

    Raises
    ------
    InputError
        If neither or both of folder and files are given, or there is no scan.
    """
    from dataclasses import replace

    from chimap.cli._coils import combined
    from chimap.io.inputs import find_scans, scan_from_files

    flags = {"--magnitude": args.magnitude, "--te": args.te, "--b0": args.b0, "--b0-dir": args.b0_dir}
    folder = getattr(args, "input", None)
    if given_by_files(args):
        if folder is not None:
            raise InputError(f"both a folder ({folder}) and --phase are given", fix="Give one of them")
        scan = scan_from_files(
            args.phase,
            args.magnitude,
            te_s=args.te,
            b0_t=args.b0,
            b0_dir=args.b0_dir,
            mask=args.mask,
            phase_range=None if args.phase_range is None else tuple(args.phase_range),
        )
        return [scan]
    used = [f for f, v in flags.items() if v is not None]
    if folder is None:
        what = f"{used[0]} is given but not --phase" if used else "no input is given"
        raise InputError(what, fix="Give a BIDS or DICOM folder, or --phase FILE --te ... --b0 ...")
    if used:
        raise InputError(
            f"{used[0]} goes with --phase, not with a folder", fix="Leave it out, or give --phase"
        )
    scans = find_scans(folder, work_dir)
    if args.mask is not None and len(scans) > 1:
        what = f"one mask for {len(scans)} scans"
        raise InputError(what, file=args.mask, fix="Give the folder of one scan, or --phase with --mask")
    span = None if args.phase_range is None else tuple(args.phase_range)
    return [combined(replace(s, mask=args.mask or s.mask, phase_range=span), work_dir) for s in scans]
