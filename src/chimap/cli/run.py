"""Reconstruct every scan of a BIDS data set or a DICOM folder, or one given as NIfTI files.

  chimap run BIDS_DIR OUT_DIR participant
  chimap run BIDS_DIR OUT_DIR participant --n-procs 4
  chimap run BIDS_DIR OUT_DIR group
  chimap run DICOM_DIR OUT_DIR
  chimap run OUT_DIR --phase P.nii.gz --magnitude M.nii.gz --te 0.004 0.012 --b0 3

OUT_DIR becomes a BIDS derivative data set: maps with sidecars, the methods paragraph, a report for every
scan, and report.html that leads to them. Run again after an interruption, it continues where it stopped.
The level group makes tables and a report over all scans in OUT_DIR (see chimap group).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from chimap.cli._cohort_flags import add_cohort_arguments
from chimap.cli._inputs import add_input_arguments, given_by_files, scans_from_args
from chimap.errors import InputError

SUMMARY = "reconstruct a BIDS data set, a DICOM folder or NIfTI files"
_STAGES = ("mask", "field", "r2star", "background", "inversion", "reference")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.usage = "chimap run INPUT OUT [participant|group] [options]"
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="INPUT OUT [participant|group]",
        help="INPUT: a BIDS data set or a DICOM folder (left out with --phase); OUT: the folder of the results",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="the folder of the results, instead of OUT"
    )
    add_input_arguments(parser, positional=False)
    group = parser.add_argument_group("what to run")
    group.add_argument("--preset", metavar="NAME", help="consensus (default), fast or best")
    for stage in _STAGES:
        group.add_argument(
            f"--method-{stage}",
            metavar="NAME",
            help=f"method of stage {stage} (chimap methods {stage} lists them)",
        )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.PARAMETER=VALUE",
        help="set a parameter of a stage's method, such as inversion.tolerance=0.001; may be repeated",
    )
    group.add_argument(
        "--reference",
        default="whole",
        metavar="whole|csf|REGION|FILE",
        help="region whose mean susceptibility is zero: the whole brain (default), the ventricles' fluid (from R2*), a region of "
        "--labels by name or number (wm, 2+41), or a mask file",
    )
    group.add_argument(
        "--labels",
        type=Path,
        metavar="FILE|DIR",
        help="label image for the table of regions (names in FILE's .tsv; FreeSurfer's are known), or a BIDS folder with one for "
        "each scan (*_dseg.nii.gz)",
    )
    group.add_argument(
        "--derivatives",
        type=Path,
        metavar="DIR",
        help="BIDS derivatives with label images and T1-weighted images of the subjects (fMRIPrep's, say); labels in the space of a "
        "T1-weighted image are brought to the scan by a rigid registration (needs the extra registration)",
    )
    group.add_argument(
        "--label-table",
        type=Path,
        metavar="FILE",
        help="names of the labels: a .tsv with the columns index and name, or FreeSurfer's colour table",
    )
    group.add_argument(
        "--age",
        type=float,
        metavar="YEARS",
        help="age, for normal iron beside the regions' own (default: that of participants.tsv)",
    )
    group.add_argument(
        "--phase-sign", choices=["auto", "+", "-"], default="auto", help="whether phase grows with the field"
    )
    group.add_argument(
        "--refine-mask",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take voxels of unreliable phase at its rim out of a mask that chimap makes (default: yes)",
    )
    group.add_argument(
        "--lesions",
        action="store_true",
        help="find microbleeds and calcifications: table, label image and figure (see chimap lesions)",
    )
    group.add_argument("--force", action="store_true", help="run every stage again, whatever is there")
    add_cohort_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Find the scans, reconstruct them, say where the reports are."""
    out_dir, level = _places(args)
    if level == "group":
        from chimap.cli.group import make_group

        return make_group(out_dir, bids=args.input)
    # Parameters are checked before anything is read.
    options = options_of(args)
    from chimap.cli import as_chimap_error
    from chimap.cli._run_many import options_by_scan, run_many, selected, wants_many
    from chimap.cli._scans import check_folder, run_scans
    from chimap.pipeline.console import Console

    check_folder(out_dir)
    if args.omp_nthreads is not None and args.threads is None and not wants_many(args):
        from chimap.numerics.threads import set_threads

        set_threads(args.omp_nthreads)
    scans, filters = selected(scans_from_args(args, args.work_dir or out_dir / "work"), args)
    if args.labels is not None and len(scans) > 1 and not args.labels.is_dir():
        raise InputError(
            f"one label image for {len(scans)} scans",
            file=args.labels,
            fix="Select one scan, or give a folder with a label image for each",
        )
    console = Console(quiet=args.quiet)
    command = shlex.join(["chimap", *sys.argv[1:]]) if sys.argv else ""
    each = options_by_scan(options, args, filters, console)
    if wants_many(args):
        return run_many(scans, out_dir, each, args, console, command)
    done, failed = run_scans(
        scans,
        out_dir,
        each,
        console=console,
        log_json=args.log_json,
        command=command,
        as_error=as_chimap_error,
    )
    for result, report in done:
        print(f"{result.store.name}: {report}")
    if failed and len(scans) == 1:
        raise failed[0][1]
    if failed:
        print(f"chimap: {len(failed)} of {len(scans)} scans failed", file=sys.stderr)
        return max(e.exit_code for _, e in failed)
    return 0


def options_of(args: argparse.Namespace) -> Any:
    """The pipeline's options from the flags; methods and parameters are checked."""
    from chimap.cli._flags import convert
    from chimap.pipeline import presets
    from chimap.pipeline.measure import compile_clock
    from chimap.pipeline.plan import Options

    compile_clock.start()
    preset = args.preset or presets.DEFAULT
    methods = {s: m for s in _STAGES if (m := getattr(args, f"method_{s}")) is not None}
    parameters: dict[str, dict[str, Any]] = {}
    for text in args.set:
        target, equals, value = text.partition("=")
        stage, dot, name = target.partition(".")
        if not equals or not dot:
            raise InputError(
                f"--set {text!r} is not STAGE.PARAMETER=VALUE", fix="Such as --set inversion.lam=0.001"
            )
        if stage not in _STAGES:
            raise InputError(
                f"--set {text!r}: there is no stage {stage!r}", fix=f"Choose one of: {', '.join(_STAGES)}"
            )
        method = presets.choose(stage, preset=preset, method=methods.get(stage)).method
        name = name.replace("-", "_")
        parameter = next((p for p in method.parameters if p.name == name), None)
        if parameter is None:
            have = ", ".join(p.name for p in method.parameters) or "none"
            raise InputError(
                f"method {method.name} of stage {stage} has no parameter {name!r}",
                fix=f"Its parameters are: {have}",
            )
        parameters.setdefault(stage, {})[name] = convert(parameter, value)
    options = Options(
        preset=preset,
        methods=methods,
        parameters=parameters,
        reference=args.reference,
        labels=args.labels,
        label_table=args.label_table,
        age=args.age,
        phase_sign=args.phase_sign,
        refine=args.refine_mask,
        lesions=args.lesions,
        force=args.force,
    )
    for stage in _STAGES:
        options.choice(stage)
    return options


def _places(args: argparse.Namespace) -> tuple[Path, str]:
    """The output folder and the level; sets ``args.input``."""
    paths = list(args.paths)
    wanted = ([] if given_by_files(args) else ["INPUT"]) + ([] if args.output else ["OUT"])
    level = "participant"
    if len(paths) == len(wanted) + 1 and paths[-1] in ("participant", "group"):
        level = paths.pop()
    if len(paths) != len(wanted):
        expected = " ".join(wanted) or "no folder besides --output"
        raise InputError(
            f"{len(paths)} folders are given; {expected} expected",
            fix="Use: chimap run INPUT OUT, or chimap run OUT --phase FILE --te ... --b0 ...",
        )
    args.input = Path(paths[0]) if "INPUT" in wanted else None
    return Path(args.output or paths[-1]), level
