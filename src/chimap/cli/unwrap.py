"""Phase without 2 pi steps, all echoes."""

from __future__ import annotations

import argparse

from chimap.cli import _stage

SUMMARY = "phase without 2 pi steps"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument(
        "--phase", required=True, metavar="NII", help="phase in rad, 3-D or 4-D (echoes last)"
    )
    parser.add_argument("--magnitude", metavar="NII", help="magnitude of the same echoes")
    parser.add_argument("--mask", required=True, metavar="NII", help="where to unwrap")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="unwrapped phase in rad")
    parser.add_argument(
        "--reliability-out",
        metavar="NII",
        help="how far each voxel can be trusted, 0 to 1: its echoes on a line, no steps to its neighbours",
    )
    parser.add_argument(
        "--phase-range", type=float, nargs=2, metavar=("MIN", "MAX"), help="stored values for -pi and +pi"
    )
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "unwrap")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "unwrap")


def run(args: argparse.Namespace) -> int:
    """Read, unwrap, write."""
    _stage.check_output(args.output, args.reliability_out)
    choice = _stage.chosen(args, "unwrap")
    acq = _stage.acquisition(args, args.phase)
    phase = _stage.read_phase(args.phase, acq.echoes, args.phase_range, _stage.console_of(args))
    like = (args.phase, phase.shape)
    mask = _stage.read_mask(args.mask, like)
    magnitude = _stage.read(args.magnitude, like, ndim=4) if args.magnitude else None
    unwrapped = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            phase, mask, acq, progress=progress, **c.method.takes(magnitude=magnitude), **c.parameters
        ),
    )
    _stage.save(args.output, unwrapped, args.phase, "unwrapped phase [rad]")
    if args.reliability_out:
        from chimap.phase.reliability import reliability

        trust = reliability(unwrapped, phase, mask, acq, magnitude)
        _stage.save(args.reliability_out, trust, args.phase, "reliability of the unwrapped phase")
    return 0
