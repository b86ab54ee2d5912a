"""Susceptibility relative to the mean of a region (default: the whole mask)."""

from __future__ import annotations

import argparse

from chimap.cli import _stage

SUMMARY = "susceptibility relative to a region"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--chi", required=True, metavar="NII", help="susceptibility in ppm")
    parser.add_argument("--mask", required=True, metavar="NII", help="where the map is valid")
    parser.add_argument("--region", metavar="NII", help="mask of the reference region")
    parser.add_argument(
        "-o", "--output", required=True, metavar="NII", help="referenced susceptibility in ppm"
    )
    _stage.add_acquisition(parser, te=False)
    _stage.add_choice(parser, "reference")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "reference")


def run(args: argparse.Namespace) -> int:
    """Read, subtract, write; the reference goes into the sidecar."""
    _stage.check_output(args.output)
    choice = _stage.chosen(args, "reference")
    acq = _stage.acquisition(args, args.chi, needs_te=False)
    chi = _stage.read(args.chi)
    like = (args.chi, chi.shape)
    mask = _stage.read_mask(args.mask, like)
    region = _stage.read_mask(args.region, like) if args.region else None
    result = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            chi, mask, acq, progress=progress, **c.method.takes(region=region), **c.parameters
        ),
    )
    _stage.save(args.output, result.chi_ppm, args.chi, "susceptibility [ppm]")
    _stage.note_sidecar(
        args.output, {"Units": "ppm", "ReferenceRegion": args.region or "mask", **result.reference}
    )
    return 0
