"""``chimap simulate``: scans of a procedural head with known truth."""

from __future__ import annotations

import argparse

SUMMARY = "simulate multi-echo gradient-echo scans of a head, with the truth beside them"


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
    add("--scale", type=float, default=1.0, help="size of the head (default 1)")
    add("--subjects", type=int, default=1, metavar="N", help="number of persons; BIDS only (default 1)")
    add("--format", choices=["bids", "flat"], default="bids", help="what to write (default bids)")


def run(args: argparse.Namespace) -> int:
    """Simulate and write."""
    from chimap.acquisition import Acquisition
    from chimap.errors import InputError
    from chimap.simulate import head_phantom, simulate_scan, write_bids, write_flat

    acq = Acquisition(tuple(args.te), args.b0, tuple(args.b0_dir), tuple(args.voxel))
    if args.subjects < 1 or (args.subjects > 1 and args.format == "flat"):
        raise InputError(
            f"{args.subjects} subjects asked for", fix="Give 1 or more, and only 1 with --format flat"
        )
    if not 1 <= args.oversample <= 8:
        raise InputError(
            f"{args.oversample:g} object voxels per image voxel asked for", fix="Give 1 to 8, best 1.5 or 2"
        )
    fine = tuple(v / args.oversample for v in acq.voxel_size_mm)
    for n in range(args.subjects):
        subject = f"{n + 1:02d}"
        seed = args.seed + n
        with _bar(f"sub-{subject}") as step:
            phantom = head_phantom(
                fine, b0_t=acq.b0_t, seed=seed, scale=args.scale, progress=step("head", 0.0, 0.4)
            )
            scan = simulate_scan(
                phantom,
                acq,
                snr=args.snr,
                seed=seed,
                shim_order=None if args.shim < 0 else args.shim,
                receive_phase=not args.no_receive_phase,
                tr_s=args.tr,
                flip_deg=args.flip,
                progress=step("scan", 0.4, 0.75),
            )
            del phantom
            write = step("files", 0.75, 1.0)
            if args.format == "bids":
                write_bids(scan, acq, args.output, subject, progress=write)
            else:
                write_flat(scan, acq, args.output, progress=write)
    print(args.output)
    return 0


class _bar:
    """A progress bar on standard error over the steps of one subject; nothing where that is not a terminal."""

    def __init__(self, title: str):
        from tqdm import tqdm

        self.bar = tqdm(
            total=100, desc=title, disable=None, bar_format="{desc:<16}{percentage:3.0f}%|{bar}| {elapsed}"
        )
        self.title = title

    def __enter__(self):  # type: ignore[no-untyped-def]
        def step(name: str, start: float, stop: float):  # type: ignore[no-untyped-def]
            def tell(done: int, total: int, **facts: object) -> None:
                self.bar.set_description(f"{self.title} {name}", refresh=False)
                # tqdm counts up only; slabs of two threads may report out of order.
                now = 100 * (start + (stop - start) * done / max(total, 1))
                self.bar.update(max(0.0, now - self.bar.n))

            return tell

        return step

    def __exit__(self, *error: object) -> None:
        self.bar.close()
