"""Brain mask from the magnitude."""

from __future__ import annotations

import argparse

from chimap.cli import _stage

SUMMARY = "brain mask from the magnitude"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument(
        "--magnitude", required=True, metavar="NII", help="magnitude, 3-D or 4-D (echoes last)"
    )
    parser.add_argument("--phase", metavar="NII", help="phase in rad, for methods that judge its quality")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="the mask")
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "mask")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "mask")


def run(args: argparse.Namespace) -> int:
    """Read, mask, write."""
    _stage.check_output(args.output)
    choice = _stage.chosen(args, "mask")
    acq = _stage.acquisition(args, args.magnitude)
    magnitude = _stage.read(args.magnitude, ndim=4)
    phase = _stage.read(args.phase, ndim=4) if args.phase else None
    mask = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            magnitude, acq, progress=progress, **c.method.takes(phase=phase), **c.parameters
        ),
    )
    _stage.save(args.output, mask, args.magnitude, "mask")
    return 0
