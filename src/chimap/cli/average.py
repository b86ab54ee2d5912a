"""Average repeats of one protocol as complex images: motion and drift of the phase taken out, weighted by their SNR.

chimap average run1 run2 run3 OUT
chimap average p1.nii.gz,m1.nii.gz p2.nii.gz,m2.nii.gz OUT --te 0.006 0.012 --b0 3 --aligned ALIGNED

OUT is a BIDS data set that `chimap run OUT RESULTS` reconstructs. ALIGNED gets each repeat by itself, moved to the first and free of drift, as
runs of one data set: one label image then serves all of them in `chimap calibrate retest`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "average repeats of one scan: motion, phase drift, SNR"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    from chimap.cli import _several

    _several.add_arguments(parser, "REPEAT")
    group = parser.add_argument_group("method", "doi:10.1016/j.gmod.2005.11.004")
    group.add_argument("--no-motion", action="store_true", help="the head did not move between the repeats")
    group.add_argument("--no-drift", action="store_true", help="the phase did not drift between the repeats")
    group.add_argument(
        "--aligned", type=Path, metavar="DIR", help="data set of the corrected repeats, one run each"
    )


def run(args: argparse.Namespace) -> int:
    """Read, average, write."""
    from chimap.cli import _several, _stage
    from chimap.io.scan import ScanData
    from chimap.pipeline.measure import Measure, append_log
    from chimap.stacks.average import average_repeats

    console = _stage.console_of(args)
    scans, data, out = _several.read(args, console)
    options = {"estimate_motion": not args.no_motion, "correct_drift": not args.no_drift}
    with console.stage("average", "repeats") as bar:
        with Measure(bar) as measure:
            a = average_repeats(
                [_several.as_stack(d) for d in data],
                data[0].acq,
                **options,
                keep_aligned=args.aligned is not None,
                progress=measure.progress,
            )
        record = measure.record("average", "repeats")
    append_log(args.log_json, {**record, "parameters": options})
    for scan, motion, drift, weight in zip(scans, a.motion, a.drift, a.weights):
        console.note(
            f"{scan.name}: weight {weight:.2f}, moved by {' '.join(f'{v:+.2f}' for v in motion.shift_mm)} mm, turned by "
            f"{' '.join(f'{v:+.2f}' for v in motion.turn_deg)} degrees, frequency {drift.frequency_hz:+.2f} Hz, "
            f"phase left {drift.residual_rad:.3f} rad"
        )
    first = data[0]
    facts = {
        "Scans": [s.name for s in scans],
        "Motion": [m.to_dict() for m in a.motion],
        "Drift": [d.to_dict() for d in a.drift],
        "NoiseSD": a.noise,
        "Gain": a.gain,
        "Weights": a.weights,
        **options,
    }
    result = ScanData(a.phase, a.magnitude, None, first.acq, first.affine, [])
    _several.write(args, out, "average", scans[0], [result], facts)
    if args.aligned is not None:
        repeats = [ScanData(p, m, None, first.acq, first.affine, []) for p, m in a.aligned]
        _several.write(args, args.aligned, "average", scans[0], repeats, facts)
    print(f"{out}: the average of {len(scans)} repeats")
    return 0
