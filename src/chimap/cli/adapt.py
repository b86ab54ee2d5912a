"""Adapt a network of dipole inversion to one scan, without a truth: voxels that it is not given say how well it does.

chimap adapt FIELD --mask MASK -o MY.onnx
chimap invert --method learned --model MY.onnx --smv-mm 0 --field FIELD --mask MASK -o CHI
chimap run SOURCE OUT --method-inversion learned --set inversion.model=MY.onnx

Off by default: it takes minutes, and what it may gain is small. The network stays as it was if the residual of the field in
held-out voxels does not fall. Needs the extra `learning`: pip install "chimap[learning]".
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from chimap.cli import _stage
from chimap.errors import InputError
from chimap.learning._adapt_views import Scan
from chimap.numerics.echoes import root_sum_of_squares
from chimap.types import Volume

SUMMARY = "adapt a network of dipole inversion to one scan"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("field", metavar="FIELD", help="local field in ppm")
    parser.add_argument("--mask", required=True, metavar="NII", help="where the field is valid")
    parser.add_argument("--magnitude", metavar="NII", help="magnitude, 3-D or 4-D")
    parser.add_argument("--r2star", metavar="NII", help="R2* in 1/s")
    parser.add_argument("--noise", metavar="NII", help="standard deviation of the field in ppm")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="ONNX", help="network; its card goes beside it"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="network to start from: its name or an ONNX file (default: inversion)"
    )
    parser.add_argument(
        "--untrained", action="store_true", help="start from a small network with random weights"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="most steps (default: 60; untrained: 320)")
    parser.add_argument(
        "--crop", type=int, default=64, metavar="N", help="edge of the crops in voxels (default: 64)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is random (default: 1)")
    parser.add_argument(
        "--memory-gb", type=float, default=1.0, metavar="GB", help="for one tile of the network (default: 1)"
    )
    _stage.add_acquisition(parser)


def run(args: argparse.Namespace) -> int:
    """Read the scan, adapt, say what came of it."""
    try:
        from chimap.learning import adapt
    except ImportError as e:
        raise InputError(f"adapting needs the package {e.name}", fix='pip install "chimap[learning]"') from e

    if args.untrained and args.model:
        raise InputError("--untrained starts from no network, but --model names one", fix="Give one of them")
    if args.memory_gb <= 0:
        raise InputError(f"--memory-gb is {args.memory_gb:g}; it must be positive", fix="Try 1")
    usual = adapt.UNTRAINED if args.untrained else adapt.TUNED
    steps = usual.steps if args.steps is None else args.steps
    settings = replace(usual, steps=steps, crop=args.crop, seed=args.seed)
    model = None if args.untrained else args.model or adapt.MODEL
    scan = _scan(args)
    console = _stage.console_of(args)
    with console.stage("adapt", "untrained" if model is None else Path(model).stem) as progress:
        made = adapt.adapt(
            scan, args.output, model=model, settings=settings, memory_gb=args.memory_gb, progress=progress
        )
    said = f"held-out residual {1e3 * made.before_ppm:.4f} ppb before, {1e3 * made.after_ppm:.4f} ppb after"
    if not made.changed:
        said += "; that is no gain, so the weights are those that it started from"
    console.note(f"{said} ({made.steps} steps, {made.seconds:.0f} s)")
    print(made.file)
    return 0


def _scan(args: argparse.Namespace) -> Scan:
    """The scan that the flags name."""
    acq = _stage.acquisition(args, args.field, needs_te=False)
    field = _stage.read(args.field)
    like = (args.field, field.shape)
    mask = _stage.read_mask(args.mask, like)

    def read(path: str | None, ndim: int = 3) -> Volume | None:
        if path is None:
            return None
        return _stage.finite(root_sum_of_squares(_stage.read(path, like, ndim=ndim)), mask, path)

    return Scan(
        _stage.finite(field, mask, args.field),
        mask,
        acq,
        read(args.magnitude, ndim=4),
        read(args.r2star),
        read(args.noise),
    )
