"""Total field in ppm from the wrapped phase of all echoes: unwrapping, phase offset, combination."""

from __future__ import annotations

import argparse

from chimap.cli import _stage
from chimap.errors import InputError

SUMMARY = "total field [ppm] from the phase of all echoes"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument(
        "--phase", required=True, metavar="NII", help="phase in rad, 3-D or 4-D (echoes last)"
    )
    parser.add_argument("--magnitude", metavar="NII", help="magnitude of the same echoes")
    parser.add_argument("--mask", required=True, metavar="NII", help="where the field is wanted")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="total field in ppm")
    parser.add_argument("--noise-out", metavar="NII", help="standard deviation of the field in ppm")
    parser.add_argument(
        "--phase-range", type=float, nargs=2, metavar=("MIN", "MAX"), help="stored values for -pi and +pi"
    )
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "field")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "field")


def run(args: argparse.Namespace) -> int:
    """Read, fit, write."""
    _stage.check_output(args.output, args.noise_out)
    choice = _stage.chosen(args, "field")
    acq = _stage.acquisition(args, args.phase)
    phase = _stage.read_phase(args.phase, acq.echoes, args.phase_range, _stage.console_of(args))
    like = (args.phase, phase.shape)
    mask = _stage.read_mask(args.mask, like)
    magnitude = _stage.read(args.magnitude, like, ndim=4) if args.magnitude else None
    field = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            phase, mask, acq, progress=progress, **c.method.takes(magnitude=magnitude), **c.parameters
        ),
    )
    if args.noise_out and field.noise_ppm is None:
        raise InputError(f"method {choice.method.name} gives no noise map", fix="Leave out --noise-out")
    _stage.save(args.output, field.field_ppm, args.phase, "total field [ppm]")
    _stage.save(args.noise_out, field.noise_ppm, args.phase, "SD of the total field [ppm]")
    return 0
