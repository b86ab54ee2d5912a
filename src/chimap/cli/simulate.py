"""Simulate multi-echo gradient-echo scans with known truth, as a BIDS data set or flat files."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chimap.acquisition import Acquisition
    from chimap.simulate import Phantom

SUMMARY = "simulate a head, a sphere or a cylinder"


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
        "--object", choices=["head", "sphere", "cylinder"], default="head", help="what to scan (default head)"
    )
    add("--radius", type=float, default=15.0, metavar="MM", help="of sphere or cylinder (default 15)")
    add("--chi", type=float, default=1.0, metavar="PPM", help="of sphere or cylinder in water (default 1)")
    add("--axis", type=float, nargs=3, default=[1, 0, 0], metavar=("X", "Y", "Z"), help="of the cylinder")
    add("--scale", type=float, default=1.0, help="size of the head (default 1)")
    add(
        "--sources",
        action="store_true",
        help="write the head's paramagnetic and diamagnetic susceptibility and R2' too (R2* then follows R2')",
    )
    add("--subjects", type=int, default=1, metavar="N", help="number of persons; BIDS only (default 1)")
    add("--format", choices=["bids", "flat"], default="bids", help="what to write (default bids)")


def run(args: argparse.Namespace) -> int:
    """Simulate and write."""
    import os

    from chimap.acquisition import Acquisition
    from chimap.errors import InputError, OutputError
    from chimap.pipeline.console import Console
    from chimap.simulate import head_phantom, simulate_scan, write_bids, write_flat

    acq = Acquisition(tuple(args.te), args.b0, tuple(args.b0_dir), tuple(args.voxel))
    if args.subjects < 1 or (args.subjects > 1 and args.format == "flat"):
        raise InputError(
            f"{args.subjects} subjects asked for", fix="Give 1 or more, and only 1 with --format flat"
        )
    if args.sources and args.object != "head":
        raise InputError(f"--sources goes with a head, not with a {args.object}", fix="Leave one of them out")
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
                if args.object == "head":
                    phantom = head_phantom(
                        fine.voxel_size_mm,
                        b0_t=acq.b0_t,
                        seed=seed,
                        scale=args.scale,
                        sources=args.sources,
                        progress=progress,
                    )
                else:
                    phantom = _in_flask(args, fine)
            with console.stage("scan") as progress:
                scan = simulate_scan(
                    phantom,
                    acq,
                    snr=args.snr,
                    seed=seed,
                    shim_order=None if args.shim < 0 else args.shim,
                    receive_phase=not args.no_receive_phase,
                    tr_s=args.tr,
                    flip_deg=args.flip,
                    progress=progress,
                )
            del phantom
            with console.stage("files") as progress:
                if args.format == "bids":
                    write_bids(scan, acq, args.output, subject, progress=progress)
                else:
                    write_flat(scan, acq, args.output, progress=progress)
    print(args.output)
    return 0


def _in_flask(args: argparse.Namespace, fine: Acquisition) -> Phantom:
    """A sphere or cylinder in a flask six radii across, on the fine grid."""
    from chimap.simulate import cylinder, flask, sphere

    shape = [6 * max(2, math.ceil(args.radius / d)) for d in fine.voxel_size_mm]
    if args.object == "sphere":
        content = sphere(shape, fine, radius_mm=args.radius, chi_ppm=args.chi)
    else:
        content = cylinder(shape, fine, radius_mm=args.radius, chi_ppm=args.chi, axis=args.axis)
    return flask(content, fine)
