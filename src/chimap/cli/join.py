"""Join thick-slice stacks of one head, in different orientations or shifted, into one isotropic scan.

chimap join axial coronal sagittal OUT
chimap join axial_phase.nii.gz,axial_mag.nii.gz sagittal_phase.nii.gz,sagittal_mag.nii.gz OUT --te 0.006 0.012 --b0 3

OUT is a BIDS data set with magnitude and phase of each echo, which `chimap run OUT RESULTS` reconstructs. The head lies in it as
in the first stack. derivatives/join has the motion that was found, and how many stacks cover each voxel.
"""

from __future__ import annotations

import argparse

SUMMARY = "join thick-slice stacks of one head into one isotropic scan"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    from chimap.cli import _several

    _several.add_arguments(parser, "STACK")
    group = parser.add_argument_group("method", "doi:10.1109/TMI.2010.2051680")
    group.add_argument(
        "--voxel", type=float, metavar="MM", help="edge of the new voxels (default: the smallest given)"
    )
    group.add_argument(
        "--profile",
        choices=["kspace", "boxcar", "gaussian"],
        default="kspace",
        help="along the longest edge of a stack's voxels: kspace for 3-D scans (phase-encoded slices), boxcar or gaussian for "
        "2-D ones (default: kspace)",
    )
    group.add_argument(
        "--regularisation",
        type=float,
        default=0.3,
        metavar="R",
        help="weight of the total variation in SDs of the noise; 0: none (default: 0.3)",
    )
    group.add_argument("--no-motion", action="store_true", help="trust the headers: the head did not move")
    group.add_argument(
        "--phase-smoothing",
        type=float,
        default=6.0,
        metavar="MM",
        help="SD of the Gaussian that says how smooth the phase between stacks is (default: 6)",
    )


def run(args: argparse.Namespace) -> int:
    """Read, join, write."""
    from chimap.cli import _several, _stage
    from chimap.io.nifti import save_volume
    from chimap.io.scan import ScanData
    from chimap.pipeline.measure import Measure, append_log
    from chimap.stacks.join import join_stacks

    console = _stage.console_of(args)
    scans, data, out = _several.read(args, console)
    stacks = []
    for one in data:
        size = one.acq.voxel_size_mm
        thick = [args.profile if v == max(size) and v > 1.05 * min(size) else "kspace" for v in size]
        stacks.append(_several.as_stack(one, (thick[0], thick[1], thick[2])))
    options = {
        "voxel_mm": args.voxel,
        "regularisation": args.regularisation,
        "estimate_motion": not args.no_motion,
        "phase_smoothing_mm": args.phase_smoothing,
    }
    with console.stage("join", "stacks") as bar:
        with Measure(bar) as measure:
            joined = join_stacks(stacks, data[0].acq, **options, progress=measure.progress)
        record = measure.record("join", "stacks")
    append_log(args.log_json, {**record, "parameters": options})
    for n, (motion, scan) in enumerate(zip(joined.motion, scans)):
        if n:
            shift, turn = motion.shift_mm, motion.turn_deg
            console.note(
                f"{scan.name}: moved by {' '.join(f'{v:+.2f}' for v in shift)} mm, turned by "
                f"{' '.join(f'{v:+.2f}' for v in turn)} degrees against the first"
            )
    result = ScanData(joined.phase, joined.magnitude, None, joined.acq, joined.affine, [])
    facts = {
        "Scans": [s.name for s in scans],
        "Motion": [m.to_dict() for m in joined.motion],
        "NoiseSD": joined.noise,
        "Gain": joined.gain,
        **options,
        "profile": args.profile,
    }
    _several.write(args, out, "join", scans[0], [result], facts)
    coverage = out / "derivatives" / "join" / f"{_several.label(args)}_coverage.nii.gz"
    save_volume(coverage, joined.coverage, joined.affine, description="chimap number of stacks at each voxel")
    print(
        f"{out}: {' x '.join(map(str, joined.phase.shape[:3]))}, {joined.acq.voxel_size_mm[0]:.3g} mm isotropic"
    )
    return 0
