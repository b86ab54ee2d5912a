"""Local field in ppm from the total field: the field of sources outside the mask is removed."""

from __future__ import annotations

import argparse

from chimap.cli import _stage
from chimap.errors import InputError

SUMMARY = "local field [ppm] from the total field"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--field", required=True, metavar="NII", help="total field in ppm")
    parser.add_argument("--mask", required=True, metavar="NII", help="where the field is known")
    parser.add_argument("--noise", metavar="NII", help="standard deviation of the field in ppm")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="local field in ppm")
    parser.add_argument("--noise-out", metavar="NII", help="standard deviation of the local field in ppm")
    parser.add_argument("--mask-out", metavar="NII", help="where the local field is valid")
    _stage.add_acquisition(parser, te=False)
    _stage.add_choice(parser, "background")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "background")


def run(args: argparse.Namespace) -> int:
    """Read, remove, write."""
    _stage.check_output(args.output, args.mask_out, args.noise_out)
    choice = _stage.chosen(args, "background")
    acq = _stage.acquisition(args, args.field)
    field = _stage.read(args.field)
    like = (args.field, field.shape)
    mask = _stage.read_mask(args.mask, like)
    noise = _stage.read(args.noise, like) if args.noise else None
    local = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            field, mask, acq, progress=progress, **c.method.takes(noise=noise), **c.parameters
        ),
    )
    _stage.save(args.output, local.field_ppm, args.field, "local field [ppm]")
    if args.noise_out and local.noise_ppm is None:
        raise InputError(
            f"method {choice.method.name} gave no noise map", fix="Give --noise, or leave --noise-out away"
        )
    _stage.save(args.noise_out, local.noise_ppm, args.field, "standard deviation of the local field [ppm]")
    _stage.save(args.mask_out, local.mask, args.field, "mask of the local field")
    return 0
