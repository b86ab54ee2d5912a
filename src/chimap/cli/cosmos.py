"""One susceptibility map from scans of one head in several orientations (COSMOS).

  chimap cosmos BIDS_DIR OUT_DIR
  chimap cosmos DICOM_1 DICOM_2 DICOM_3 OUT_DIR
  chimap cosmos OUT_DIR --phase P1.nii.gz P2.nii.gz P3.nii.gz --magnitude M1.nii.gz M2.nii.gz M3.nii.gz --te 0.004 0.012 0.02 --b0 3

All scans of a subject (and session) belong together, whatever tells their names apart (acq-ori1, run-1 ...); the first one's grid is the
frame of the map. Each scan goes through mask, field and background removal; its magnitude is registered rigidly to the first one's, its local
field is interpolated once, and B0 turned with it. Written into OUT_DIR: the map with its sidecar and pictures, a table of the orientations with
the errors of their registration, every scan's own fields, and those in the common frame. Run again, it continues where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chimap.errors import InputError

if TYPE_CHECKING:
    from chimap.io.scan import Scan
    from chimap.pipeline.orientation_results import OrientationsResult

SUMMARY = "one susceptibility map from several head orientations"
_STAGES = ("mask", "field", "background")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.usage = "chimap cosmos INPUT [INPUT ...] OUT [options]"
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="INPUT OUT",
        help="one BIDS data set, or a BIDS or DICOM folder an orientation (left out with --phase); last, the folder of the results",
    )
    group = parser.add_argument_group("NIfTI files instead of folders")
    add = group.add_argument
    add("--phase", nargs="+", type=Path, metavar="FILE", help="phase: one 4-D file an orientation")
    add("--magnitude", nargs="+", type=Path, metavar="FILE", help="magnitude, likewise")
    add("--te", nargs="+", type=float, metavar="S", help="echo times in seconds (default: from sidecars)")
    add("--b0", type=float, metavar="T", help="field strength in tesla (default: from sidecars)")
    group = parser.add_argument_group("what to run")
    add = group.add_argument
    add("--preset", metavar="NAME", help="consensus (default), fast or best: up to the local field")
    for stage in _STAGES:
        add(f"--method-{stage}", metavar="NAME", help=f"method of stage {stage}")
    add("--mask", nargs="+", type=Path, metavar="FILE", help="masks of the brain, one an orientation, used as they are")  # fmt: skip
    add("--subject", nargs="+", metavar="LABEL", help="only these subjects")
    add("--phase-sign", choices=["auto", "+", "-"], default="auto", help="whether phase grows with the field")
    add(
        "--registered",
        action="store_true",
        help="the head lies the same way in all images (their affines say how the scanner lay): no registration",
    )
    add("--force", action="store_true", help="run every stage again, whatever is there")
    group = parser.add_argument_group("the map")
    add = group.add_argument
    add(
        "--regularisation",
        choices=["tv", "l2", "none"],
        default="tv",
        help="total variation (default), squared gradient, or none: the original least squares",
    )
    add("--lam", type=float, metavar="L", help="weight of the total variation in mm/ppm (default: 4)")
    add("--smoothness", type=float, metavar="L", help="weight of the squared gradient in mm^2 (default: 0.005)")  # fmt: skip
    add("--within", type=float, default=25.0, metavar="DEG",
        help="largest tilt for the advice on a further orientation (default: 25)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Find the scans of each subject, reconstruct them together, draw, and say what came out."""
    from chimap.cli._scans import check_folder
    from chimap.pipeline import presets
    from chimap.pipeline.console import Console
    from chimap.pipeline.orientations import of_one_person, reconstruct_orientations
    from chimap.pipeline.plan import Options

    if not 1 <= args.within <= 90:
        raise InputError(f"--within {args.within:g} is outside 1 to 90 degrees")
    methods = {s: m for s in _STAGES if (m := getattr(args, f"method_{s}")) is not None}
    options = Options(
        preset=args.preset or presets.DEFAULT,
        methods=methods,
        phase_sign=args.phase_sign,
        force=args.force,
    )
    for stage in _STAGES:
        options.choice(stage)
    settings: dict[str, Any] = {"regularisation": args.regularisation}
    settings |= {k: v for k in ("lam", "smoothness") if (v := getattr(args, k)) is not None}
    out_dir = args.paths[-1]
    check_folder(out_dir)
    console = Console(quiet=args.quiet)
    for scans in of_one_person(_scans(args, out_dir / "work")):
        result = reconstruct_orientations(
            scans,
            out_dir,
            options,
            settings=settings,
            registered=args.registered,
            within_deg=args.within,
            console=console,
            log_json=args.log_json,
        )
        with console.stage("pictures"):
            _draw(result)
        number = result.conditioning.number
        print(
            f"{result.store.name}: {len(scans)} orientations, condition number "
            f"{'infinite' if number == float('inf') else f'{number:.3g}'}, noise {result.conditioning.noise_gain:.2f} times that "
            f"of one field: {result.chi}"
        )
        print(result.advice())
    return 0


def _scans(args: argparse.Namespace, work_dir: Path) -> list[Scan]:
    """The scans of all inputs, in their order."""
    from chimap.io.inputs import find_scans, scan_from_files

    inputs = args.paths[:-1]
    if args.phase is not None:
        if inputs:
            raise InputError(f"both a folder ({inputs[0]}) and --phase are given", fix="Give one of them")
        count = len(args.phase)
        for name in ("magnitude", "mask"):
            given = getattr(args, name)
            if given is not None and len(given) != count:
                raise InputError(f"{count} files with --phase but {len(given)} with --{name}", fix="Give one an orientation")  # fmt: skip
        return [
            scan_from_files(
                args.phase[n],
                None if args.magnitude is None else args.magnitude[n],
                te_s=args.te,
                b0_t=args.b0,
                mask=None if args.mask is None else args.mask[n],
            )
            for n in range(count)
        ]
    for name in ("magnitude", "te", "b0"):
        if getattr(args, name) is not None:
            raise InputError(f"--{name} goes with --phase, not with a folder", fix="Leave it out, or give --phase")  # fmt: skip
    if not inputs:
        raise InputError("no input is given", fix="Give a BIDS data set and the folder of the results")
    scans = []
    for n, path in enumerate(inputs):
        found = find_scans(path, work_dir / f"input-{n + 1}" if len(inputs) > 1 else work_dir)
        # Folders of one orientation each are one person, whatever their subjects are called.
        if len(inputs) > 1:
            found = [replace(s, entities={"sub": "01", **s.entities}) for s in found]
        scans += found
    if args.subject:
        wanted = {s.removeprefix("sub-") for s in args.subject}
        scans = [s for s in scans if s.entities.get("sub") in wanted]
        if not scans:
            raise InputError(f"there is no scan of subject {' or '.join(sorted(wanted))}")
    if args.mask is not None:
        if len(args.mask) != len(scans):
            raise InputError(f"{len(args.mask)} masks for {len(scans)} scans", fix="Give one a scan, in the order of their names")  # fmt: skip
        scans = [replace(s, mask=m) for s, m in zip(scans, args.mask)]
    return scans


def _draw(result: OrientationsResult) -> None:
    """The map, the conditioning, and the scans on each other, as PNG."""
    from chimap.io.nifti import whole_file
    from chimap.pipeline.orientation_results import COSMOS_CHI, COSMOS_MASK, MAGNITUDE
    from chimap.report.figures import three_plane
    from chimap.report.orientations import conditioning_figure, registration_figure

    mask = result.done[COSMOS_MASK.suffix].get()
    pictures = {
        "_desc-cosmos_Chimap": three_plane(
            result.done[COSMOS_CHI.suffix].get(),
            result.affine,
            window=(-0.1, 0.15),
            mask=mask,
            unit="ppb",
            scale=1000,
        ),
        "_desc-conditioning_Chimap": conditioning_figure(result.directions, result.extra),
    }
    magnitudes = [s.done.get(MAGNITUDE.suffix) for s in result.scans]
    if all(m is not None for m in magnitudes):
        volumes = [m.get() for m in magnitudes if m is not None]
        names = [s.name for s in result.scans[1:]]
        pictures["_desc-registration_Chimap"] = registration_figure(
            volumes[0], volumes[1:], names, result.affine, mask
        )
    for suffix, content in pictures.items():
        with whole_file(result.store.path(suffix, ".png")) as f:
            f.write(content)
