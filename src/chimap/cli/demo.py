"""Simulate a whole-head 3 T five-echo scan, reconstruct it, and compare the result with the truth.

OUT/bids gets the simulated data set (with the truth in derivatives/truth), OUT/derivatives the
reconstruction, made from the files as `chimap run` would.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chimap.pipeline.console import Console
    from chimap.pipeline.plan import Result

SUMMARY = "simulate a head, reconstruct it, compare with the truth, write a report"

TE_S = (0.004, 0.009, 0.014, 0.019, 0.024)
B0_T = 3.0
OVERSAMPLE = 1.5
# Regions whose voxels are too few, or that lie outside the brain, tell a newcomer nothing.
_LEAST_VOXELS = 20
_SHELL = {"background air", "air", "bone", "marrow", "skin", "fat", "muscle", "eye"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("output", metavar="OUT", type=Path, help="the folder to write into")
    parser.add_argument(
        "--voxel", type=float, default=1.25, metavar="MM", help="voxel size in mm (default 1.25)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another head, other noise (default 0)")
    parser.add_argument("--preset", metavar="NAME", help="consensus (default), fast or best")


def run(args: argparse.Namespace) -> int:
    """Simulate, reconstruct, compare."""
    from chimap.cli import as_chimap_error
    from chimap.cli._scans import check_folder, run_scans
    from chimap.io.inputs import find_scans
    from chimap.pipeline import presets
    from chimap.pipeline.console import Console
    from chimap.pipeline.measure import compile_clock
    from chimap.pipeline.plan import Options

    start = time.perf_counter()
    compile_clock.start()
    check_folder(args.output)
    preset = args.preset or presets.DEFAULT
    presets.load(preset)
    console = Console(quiet=args.quiet)
    bids = simulate(args.output / "bids", args.voxel, args.seed, console)
    truth = bids / "derivatives" / "truth" / "sub-01" / "anat"
    options = Options(
        preset=preset, labels=truth / "sub-01_dseg.nii.gz", truth=truth / "sub-01_Chimap.nii.gz"
    )
    done, failed = run_scans(
        find_scans(bids, args.output / "work"),
        args.output / "derivatives",
        options,
        console=console,
        log_json=args.log_json,
        command=f"chimap demo {args.output}",
        as_error=as_chimap_error,
    )
    if failed:
        raise failed[0][1]
    result, report = done[0]
    print(table(result.regions))
    print()
    print(comparison(result, truth))
    print(f"total time {time.perf_counter() - start:.0f} s")
    print(f"report: {report}")
    return 0


def simulate(root: Path, voxel_mm: float, seed: int, console: Console) -> Path:
    """Write the simulated data set, unless the same one is there. Returns its folder."""
    import json

    from chimap import __version__
    from chimap.acquisition import Acquisition
    from chimap.io.nifti import write_json
    from chimap.pipeline.store import code_sha256, key_of
    from chimap.simulate import head_phantom, simulate_scan, write_bids

    acq = Acquisition(TE_S, B0_T, voxel_size_mm=(voxel_mm,) * 3)
    key = key_of(acq=acq.to_dict(), seed=seed, version=__version__, code=code_sha256("chimap.simulate"))
    stamp = root.parent / "demo.json"
    try:
        if json.loads(stamp.read_text("utf-8"))["key"] == key:
            return root
    except (OSError, ValueError, KeyError, TypeError):
        # There is no data set, or not one that was finished: it is made.
        stamp.unlink(missing_ok=True)
    with console.whole(("head", "scan", "files"), "simulate"):
        with console.stage("head") as bar:
            fine = voxel_mm / OVERSAMPLE
            phantom = head_phantom((fine, fine, fine), b0_t=B0_T, seed=seed, progress=bar)
        with console.stage("scan") as bar:
            scan = simulate_scan(phantom, acq, seed=seed, progress=bar)
        del phantom
        with console.stage("files") as bar:
            write_bids(scan, acq, root, "01", progress=bar)
            write_json(stamp, {"key": key})
    return root


def table(rows: list[dict[str, Any]]) -> str:
    """Susceptibility of the regions against the truth, for a terminal."""
    shown = [r for r in rows if r["voxels"] >= _LEAST_VOXELS and r["name"] not in _SHELL]
    width = max((len(r["name"]) for r in shown), default=6) + 2
    lines = [
        "",
        "susceptibility [ppb], relative to the whole brain",
        f"{'region':<{width}}{'voxels':>9}{'truth':>9}{'result':>9}{'SD':>8}{'error':>9}",
    ]
    lines += [
        f"{r['name']:<{width}}{r['voxels']:>9}{r['truth_ppb']:>9.1f}{r['mean_ppb']:>9.1f}"
        f"{r['sd_ppb']:>8.1f}{r['error_ppb']:>+9.1f}"
        for r in shown
    ]
    return "\n".join(lines)


def comparison(result: Result, truth: Path) -> str:
    """One line: how far the map is from the truth."""
    import numpy as np

    from chimap.io.nifti import load_volume
    from chimap.metrics import score

    def volume(name: str) -> np.ndarray:
        return load_volume(truth / f"sub-01_{name}.nii.gz", ndim=3)[0]

    chi, _ = load_volume(result.chi, ndim=3)
    values = score(chi, volume("Chimap"), volume("desc-brain_mask") > 0.5)
    return (
        f"whole brain: NRMSE {values['nrmse']:.1f} %, XSIM {values['xsim']:.3f}, "
        f"correlation {values['correlation']:.3f} (100 % of the true mask; {100 * (values['coverage'] or 0):.0f} % covered)"
    )
