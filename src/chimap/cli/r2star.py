"""R2* in 1/s (and T2* in s) from the magnitude of several echoes."""

from __future__ import annotations

import argparse

from chimap.cli import _stage

SUMMARY = "R2* [1/s] and T2* [s] from the magnitude of several echoes"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--magnitude", required=True, metavar="NII", help="magnitude, 4-D (echoes last)")
    parser.add_argument("--mask", required=True, metavar="NII", help="where to fit")
    parser.add_argument("--field", metavar="NII", help="total field in ppm, for methods that correct for it")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="R2* in 1/s")
    parser.add_argument("--t2star-out", metavar="NII", help="T2* in s")
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "r2star")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "r2star")


def run(args: argparse.Namespace) -> int:
    """Read, fit, write."""
    _stage.check_output(args.output, args.t2star_out)
    choice = _stage.chosen(args, "r2star")
    acq = _stage.acquisition(args, args.magnitude)
    magnitude = _stage.read(args.magnitude, ndim=4)
    mask = _stage.read_mask(args.mask, (args.magnitude, magnitude.shape))
    field = _stage.read(args.field, (args.magnitude, magnitude.shape[:3])) if args.field else None
    fit = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            magnitude, mask, acq, progress=progress, **c.method.takes(field=field), **c.parameters
        ),
    )
    _stage.save(args.output, fit.r2star, args.magnitude, "R2* [1/s]")
    _stage.save(args.t2star_out, fit.t2star, args.magnitude, "T2* [s]")
    return 0
