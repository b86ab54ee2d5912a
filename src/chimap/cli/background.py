"""Local field in ppm from the total field: the field of sources outside the mask is removed."""

from __future__ import annotations

import argparse

from chimap.cli import _stage, _start
from chimap.errors import InputError

SUMMARY = "local field [ppm] from the total field"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    _start.add_start(parser, "total field in ppm")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="local field in ppm")
    parser.add_argument("--noise-out", metavar="NII", help="standard deviation of the local field in ppm")
    parser.add_argument("--mask-out", metavar="NII", help="where the local field is valid")
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "background")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "background")


def run(args: argparse.Namespace) -> int:
    """Read, remove, write."""
    _stage.check_output(args.output, args.mask_out, args.noise_out)
    choice = _stage.chosen(args, "background")
    start = _start.read_start(args, choice.method)
    local = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            start.data, start.mask, start.acq, progress=progress, **start.arrays, **c.parameters
        ),
    )
    _stage.save(args.output, local.field_ppm, start.like, "local field [ppm]")
    if args.noise_out and local.noise_ppm is None:
        raise InputError(
            f"method {choice.method.name} gave no noise map", fix="Give --noise, or leave --noise-out away"
        )
    _stage.save(args.noise_out, local.noise_ppm, start.like, "standard deviation of the local field [ppm]")
    _stage.save(args.mask_out, local.mask, start.like, "mask of the local field")
    return 0
