"""Susceptibility in ppm from the local field: dipole inversion."""

from __future__ import annotations

import argparse

from chimap.cli import _stage, _start

SUMMARY = "susceptibility [ppm] from the local field"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    _start.add_start(parser, "local field in ppm (total field for the methods that start from it)")
    parser.add_argument("--r2star", metavar="NII", help="R2* in 1/s, for methods that use it")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="susceptibility in ppm")
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "inversion")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "inversion")


def run(args: argparse.Namespace) -> int:
    """Read, invert, write."""
    _stage.check_output(args.output)
    choice = _stage.chosen(args, "inversion")
    start = _start.read_start(args, choice.method)
    chi = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            start.data, start.mask, start.acq, progress=progress, **start.arrays, **c.parameters
        ),
    )
    _stage.save(args.output, chi, start.like, "susceptibility [ppm]")
    return 0
