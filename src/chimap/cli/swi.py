"""Susceptibility-weighted images from files, each with its minimum-intensity projection on demand.

chimap swi --method swi --magnitude M.nii.gz --phase P.nii.gz --te 0.02 --b0 3 -o swi.nii.gz --projection mip.nii.gz
chimap swi --method clear-swi --magnitude M4D.nii.gz --phase P4D.nii.gz --mask B.nii.gz --acq params.json -o clear.nii.gz
chimap swi --method true-swi --magnitude M.nii.gz --chi Chimap.nii.gz -o tswi.nii.gz
chimap swi --method smwi --magnitude M4D.nii.gz --chi Chimap.nii.gz --threshold 1 -o smwi.nii.gz
chimap swi --method projection --image X.nii.gz --thickness 15 -o mip.nii.gz
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from chimap.cli import _stage
from chimap.errors import InputError

if TYPE_CHECKING:
    from chimap.types import Volume

SUMMARY = "SWI, CLEAR-SWI, true SWI, SMWI and minimum-intensity projections"

_DOI = {
    "swi": "10.1002/mrm.20198",
    "clear-swi": "10.1016/j.neuroimage.2021.118175",
    "true-swi": "10.1002/jmri.24413",
    "smwi": "10.1002/mrm.24920",
}
_NEEDS = {
    "swi": ("magnitude", "phase"),
    "clear-swi": ("magnitude", "phase", "mask"),
    "true-swi": ("magnitude", "chi"),
    "smwi": ("magnitude", "chi"),
    "projection": ("image",),
}
# Parameter: default of each method that has it.
_PARAMETERS: dict[str, dict[str, Any]] = {
    "power": {"swi": 4.0, "clear-swi": 4.0, "true-swi": 2.0, "smwi": 4.0},
    "filter_mm": {"swi": 8.0},
    "veins": {"swi": "+"},
    "echo": {"swi": -1, "true-swi": -1},
    "smoothing_mm": {"clear-swi": 4.0},
    "low_ppm": {"true-swi": 0.0},
    "high_ppm": {"true-swi": 0.45},
    "threshold_ppm": {"smwi": 1.0},
    "sources": {"smwi": "paramagnetic"},
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    add = parser.add_argument
    add("--method", choices=list(_NEEDS), default="swi", help="which image (default: swi)")
    add("--magnitude", metavar="NII", help="magnitude, 3-D or 4-D")
    add("--phase", metavar="NII", help="wrapped phase of the same echoes")
    add("--phase-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="values that mean -pi, pi")
    add("--chi", metavar="NII", help="susceptibility in ppm")
    add("--mask", metavar="NII", help="the object; what is outside is 0 (needed by clear-swi)")
    add("--image", metavar="NII", help="for --method projection: any map")
    add("-o", "--output", required=True, metavar="NII", help="the image")
    add("--projection", metavar="NII", help="also its minimum-intensity projection")
    group = parser.add_argument_group("parameters")
    add = group.add_argument
    add("--echo", type=int, metavar="N", help="swi, true-swi: echo to use, from 1 (default: the last)")
    add(
        "--power",
        type=float,
        metavar="P",
        help="how often the mask is multiplied in (default: 4; true-swi 2)",
    )
    add(
        "--filter-mm",
        type=float,
        metavar="MM",
        help="swi: longest wavelength of phase that stays (default: 8)",
    )
    add("--veins", choices=["+", "-"], help="swi: sign of the phase in veins along B0 (default: +)")
    add("--smoothing-mm", type=float, metavar="MM", help="clear-swi: SD of the high-pass filter (default: 4)")
    add("--low-ppm", type=float, metavar="PPM", help="true-swi: where the mask begins to fall (default: 0)")
    add("--high-ppm", type=float, metavar="PPM", help="true-swi: where it is zero (default: 0.45)")
    add("--threshold-ppm", type=float, metavar="PPM", help="smwi: where the mask is zero (default: 1)")
    add(
        "--sources",
        choices=["paramagnetic", "diamagnetic"],
        help="smwi: what is dark (default: paramagnetic)",
    )
    add("--thickness", type=float, default=10.0, metavar="MM", help="of the projection's slab (default: 10)")
    add(
        "--axis",
        type=int,
        choices=[1, 2, 3],
        default=3,
        help="voxel axis of slices and projection (default: 3)",
    )
    add(
        "--kind",
        choices=["minimum", "maximum", "mean"],
        default="minimum",
        help="of the projection (default: minimum)",
    )
    _stage.add_acquisition(parser)


def run(args: argparse.Namespace) -> int:
    """Read, weight, project, write."""
    from chimap.io.geometry import voxel_size
    from chimap.io.nifti import read_header
    from chimap.quantify import swi

    _stage.check_output(args.output, args.projection)
    for name in _NEEDS[args.method]:
        if getattr(args, name) is None:
            raise InputError(f"{args.method} needs --{name}, which was not given")
    for name, defaults in _PARAMETERS.items():
        if getattr(args, name) is None:
            setattr(args, name, defaults.get(args.method))
        elif args.method not in defaults:
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"{flag} is not a parameter of {args.method}", fix=f"It belongs to {', '.join(defaults)}"
            )
    like = args.image if args.method == "projection" else args.magnitude
    header = read_header(like)
    grid = (like, header.shape)
    mask = _stage.read_mask(args.mask, grid) if args.mask else None
    voxel = voxel_size(header.affine)
    image = _stage.read(like) if args.method == "projection" else _weighted(args, grid, mask)
    facts = {"Method": args.method, "DOI": _DOI.get(args.method), "Units": "arbitrary", **_used(args)}
    slab = {"ProjectionKind": args.kind, "ProjectionThicknessMm": args.thickness, "ProjectionAxis": args.axis}
    todo = [(args.output, image, facts)]
    if args.method == "projection" or args.projection:
        thin = swi.projection(
            image, voxel, mask, thickness_mm=args.thickness, axis=args.axis - 1, kind=args.kind
        )
        if args.method == "projection":
            todo = [(args.output, thin, {"Sources": _names(args, [args.image]), **slab})]
        else:
            todo.append((args.projection, thin, {**facts, **slab}))
    for path, volume, said in todo:
        _stage.save(
            path, volume if mask is None else np.where(mask, volume, np.float32(0)), like, args.method
        )
        _stage.note_sidecar(path, {k: v for k, v in said.items() if v is not None})
    return 0


def _used(args: argparse.Namespace) -> dict[str, Any]:
    own = {n: getattr(args, n) for n, d in _PARAMETERS.items() if args.method in d}
    sources = [v for v in (args.magnitude, args.phase, args.chi) if v]
    return {"Parameters": own, "Sources": _names(args, sources)}


def _names(args: argparse.Namespace, files: list[str]) -> list[str]:
    from pathlib import Path

    from chimap.pipeline.provenance import names_of

    return list(names_of([Path(f) for f in files], Path(args.output).parent).values())


def _weighted(args: argparse.Namespace, grid: tuple[str, tuple[int, ...]], mask: Any) -> Volume:
    from chimap import verbs
    from chimap.quantify import swi

    magnitude = _stage.read(args.magnitude, grid, ndim=4)
    if args.method in ("true-swi", "smwi"):
        chi = _stage.read(args.chi, grid)
        if args.method == "smwi":
            return swi.smwi(
                magnitude, chi, threshold_ppm=args.threshold_ppm, power=args.power, sources=args.sources
            )
        one = magnitude[..., _echo(args.echo, magnitude.shape[3])]
        return swi.true_swi(one, chi, low_ppm=args.low_ppm, high_ppm=args.high_ppm, power=args.power)
    echoes = magnitude.shape[3]
    acq = _stage.acquisition(args, args.magnitude, needs_te=args.method == "clear-swi")
    phase = _stage.read_phase(args.phase, echoes, args.phase_range, _stage.console_of(args))
    if phase.shape[:3] != magnitude.shape[:3]:
        raise InputError(
            f"the phase has shape {phase.shape[:3]} but the magnitude {magnitude.shape[:3]}", file=args.phase
        )
    if args.method == "clear-swi":
        unwrapped = verbs.unwrap(phase, mask, acq, magnitude=magnitude)
        return swi.clear_swi(
            magnitude, unwrapped, mask, acq, smoothing_mm=args.smoothing_mm, power=args.power
        )
    e = _echo(args.echo, echoes)
    one = magnitude[..., e]
    slow = swi.high_pass_phase(phase[..., e], one, acq, filter_mm=args.filter_mm, slice_axis=args.axis - 1)
    return swi.swi(one, slow, power=args.power, veins=args.veins)


def _echo(number: int, echoes: int) -> int:
    """Index of an echo counted from 1; -1 is the last."""
    if number != -1 and not 1 <= number <= echoes:
        raise InputError(f"echo {number} of {echoes} was asked for", fix=f"Give 1 to {echoes}")
    return echoes - 1 if number == -1 else number - 1
