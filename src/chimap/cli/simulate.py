"""Simulate multi-echo gradient-echo scans with known truth, as a BIDS data set or flat files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from chimap.cli._phantoms import add_object_arguments, make, settle, truth_of, write_truth

if TYPE_CHECKING:
    from chimap.acquisition import Acquisition
    from chimap.cli._phantoms import Thing
    from chimap.pipeline.console import Console

SUMMARY = "simulate a head, a sphere, a cylinder or a calibration phantom"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("output", metavar="OUT", help="folder to write (a BIDS data set, or flat files)")
    add("--b0", type=float, default=3.0, metavar="T", help="field strength in T (default 3)")
    add(
        "--te",
        type=float,
        nargs="+",
        default=[0.004, 0.009, 0.014, 0.019, 0.024],
        metavar="S",
        help="echo times in s (default 0.004 0.009 0.014 0.019 0.024)",
    )
    add("--snr", type=float, default=60.0, help="first echo's mean in the brain over the noise (default 60)")
    add("--b0-dir", type=float, nargs=3, default=[0, 0, 1], metavar=("X", "Y", "Z"), help="B0 in voxel axes")
    add("--voxel", type=float, nargs=3, default=[1.25] * 3, metavar=("X", "Y", "Z"), help="image voxel in mm")
    add("--oversample", type=float, default=1.5, metavar="N", help="object voxels per image voxel and axis")
    add("--tr", type=float, metavar="S", help="repetition time in s (default: last echo time and 0.007)")
    add("--flip", type=float, default=15.0, metavar="DEG", help="flip angle in degrees (default 15)")
    add(
        "--shim",
        type=int,
        default=2,
        choices=[-1, 0, 1, 2],
        help="order of the shim, -1 for none (default 2)",
    )
    add("--no-receive-phase", action="store_true", help="leave the receiver's phase offset out")
    add("--seed", type=int, default=0, help="person, coils and noise (default 0)")
    add(
        "--sources",
        action="store_true",
        help="write the head's paramagnetic and diamagnetic susceptibility and R2' too (R2* then follows R2')",
    )
    add("--subjects", type=int, default=1, metavar="N", help="number of persons; BIDS only (default 1)")
    add(
        "--orientations",
        type=int,
        default=1,
        metavar="N",
        help="scan the head in N positions, as acq-ori1, acq-ori2 ...; BIDS and heads only (default 1)",
    )
    add("--within", type=float, default=25.0, metavar="DEG", help="largest tilt of them (default 25)")
    add("--format", choices=["bids", "flat"], default="bids", help="what to write (default bids)")
    add_object_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Simulate and write."""
    import os

    from chimap.acquisition import Acquisition
    from chimap.errors import InputError, OutputError
    from chimap.pipeline.console import Console
    from chimap.simulate import simulate_scan, write_bids, write_flat

    acq = Acquisition(tuple(args.te), args.b0, tuple(args.b0_dir), tuple(args.voxel))
    if args.subjects < 1 or (args.subjects > 1 and args.format == "flat"):
        raise InputError(
            f"{args.subjects} subjects asked for", fix="Give 1 or more, and only 1 with --format flat"
        )
    settle(args)
    if args.orientations != 1:
        _check_orientations(args)
    if not 1 <= args.oversample <= 8:
        raise InputError(
            f"{args.oversample:g} object voxels per image voxel asked for", fix="Give 1 to 8, best 1.5 or 2"
        )
    try:
        # Known before the work starts, not after it.
        os.makedirs(args.output, exist_ok=True)
    except OSError as e:
        raise OutputError(f"this folder cannot be made ({e.strerror})", file=args.output) from e
    fine = acq.with_(voxel_size_mm=tuple(v / args.oversample for v in acq.voxel_size_mm))
    console = Console(quiet=getattr(args, "quiet", False))
    for n in range(args.subjects):
        subject, seed = f"{n + 1:02d}", args.seed + n
        with console.whole(("head", "scan", "files"), f"sub-{subject}"):
            with console.stage("head") as progress:
                thing = make(args, fine, seed, progress)
            if args.orientations > 1:
                _write_orientations(args, thing, acq, subject, seed, console)
                continue
            with console.stage("scan") as progress:
                scan = simulate_scan(
                    thing.phantom,
                    acq,
                    snr=args.snr,
                    seed=seed,
                    shim_order=None if args.shim < 0 else args.shim,
                    receive_phase=not args.no_receive_phase,
                    tr_s=args.tr,
                    flip_deg=args.flip,
                    progress=progress,
                )
            truth = truth_of(args, thing, scan)
            del thing
            with console.stage("files") as progress:
                if args.format == "bids":
                    write_bids(scan, acq, args.output, subject, progress=progress)
                    folder = Path(args.output, "derivatives", "truth", f"sub-{subject}", "anat")
                    write_truth(truth, folder, f"sub-{subject}_")
                else:
                    write_flat(scan, acq, args.output, progress=progress)
                    write_truth(truth, Path(args.output, "truth"))
    print(args.output)
    return 0


def _check_orientations(args: argparse.Namespace) -> None:
    """Several positions are of a head, in BIDS."""
    from chimap.errors import InputError

    if args.orientations < 1:
        raise InputError(f"{args.orientations} orientations asked for", fix="Give 1 or more")
    if args.object != "head" or args.format != "bids":
        raise InputError(
            "--orientations goes with a head and --format bids", fix="Leave --object and --format out"
        )
    if args.microbleeds is not None or args.calcifications is not None:
        raise InputError(
            "the table of lesions is of one position of the head",
            fix="Leave --orientations or the lesions out",
        )


def _write_orientations(
    args: argparse.Namespace, thing: Thing, acq: Acquisition, subject: str, seed: int, console: Console
) -> None:
    """Scan the head in its positions, and write each scan before the next begins."""
    from chimap.simulate import write_bids
    from chimap.simulate.orientations import simulate_orientations, standard_positions

    with console.stage("scan") as progress:
        scans = simulate_orientations(
            thing.phantom,
            acq,
            standard_positions(args.orientations, args.within, seed=seed),
            seed=seed,
            snr=args.snr,
            shim_order=None if args.shim < 0 else args.shim,
            receive_phase=not args.no_receive_phase,
            tr_s=args.tr,
            flip_deg=args.flip,
        )
        for n, scan in enumerate(scans, 1):
            write_bids(scan, acq, args.output, subject, acquisition=f"ori{n}")
            progress(n, args.orientations)
