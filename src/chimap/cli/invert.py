"""Susceptibility in ppm from the local field: dipole inversion."""

from __future__ import annotations

import argparse

from chimap import offers, tuning
from chimap.cli import _stage, _start, _tuning
from chimap.pipeline import presets
from chimap.pipeline.measure import plain
from chimap.types import Progress, Volume

SUMMARY = "susceptibility [ppm] from the local field"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    _start.add_start(parser, "local field in ppm (total field for the methods that start from it)")
    parser.add_argument("--r2star", metavar="NII", help="R2* in 1/s, for methods that use it")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="susceptibility in ppm")
    parser.add_argument(
        "--deviation",
        metavar="NII",
        help="the error that the method expects, in ppm (learned methods tell it)",
    )
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "inversion")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "inversion")


def run(args: argparse.Namespace) -> int:
    """Read, invert, write."""
    _stage.check_output(args.output, args.deviation)
    choice = _stage.chosen(args, "inversion")
    start = _start.read_start(args, choice.method)
    found: list[tuning.Tuning] = []

    def call(c: presets.Choice, progress: Progress) -> Volume:
        arrays = {**start.arrays, **_tuning.noise_of(args, start)}
        settled, tuned = tuning.resolve(
            c.method, c.parameters, start.data, start.mask, start.acq, arrays, progress=progress
        )
        found.extend([tuned] if tuned else [])
        return c.method(start.data, start.mask, start.acq, progress=progress, **start.arrays, **settled)

    with offers.offers_taken() as offered:
        chi = _stage.execute(args, choice, call)
    expected = offered.get(offers.DEVIATION)
    if expected is not None:
        _stage.save(args.deviation, expected, start.like, "expected deviation [ppm]")
    elif args.deviation:
        _stage.console_of(args).note(f"{choice.method.name} expects no error of itself: no {args.deviation}")
    _stage.save(args.output, chi, start.like, "susceptibility [ppm]")
    for tuned in found:
        _stage.console_of(args).note(_tuning.sentence(tuned))
        _stage.note_sidecar(args.output, {"Units": "ppm", "Tuning": plain(tuned.record())})
    return 0
