"""Susceptibility in ppm from the local field: dipole inversion."""

from __future__ import annotations

import argparse

import numpy as np

from chimap.cli import _stage

SUMMARY = "susceptibility [ppm] from the local field"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--field", required=True, metavar="NII", help="local field in ppm")
    parser.add_argument("--mask", required=True, metavar="NII", help="where the local field is valid")
    parser.add_argument(
        "--magnitude", metavar="NII", help="magnitude, 3-D or 4-D (combined by its root sum of squares)"
    )
    parser.add_argument("--noise", metavar="NII", help="standard deviation of the field in ppm")
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="susceptibility in ppm")
    _stage.add_acquisition(parser, te=False)
    _stage.add_choice(parser, "inversion")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "inversion")


def run(args: argparse.Namespace) -> int:
    """Read, invert, write."""
    _stage.check_output(args.output)
    choice = _stage.chosen(args, "inversion")
    acq = _stage.acquisition(args, args.field)
    field = _stage.read(args.field)
    like = (args.field, field.shape)
    mask = _stage.read_mask(args.mask, like)
    noise = _stage.read(args.noise, like) if args.noise else None
    magnitude = _stage.read(args.magnitude, like, ndim=4) if args.magnitude else None
    if magnitude is not None:
        magnitude = np.sqrt(np.einsum("xyze,xyze->xyz", magnitude, magnitude))
    chi = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            field,
            mask,
            acq,
            progress=progress,
            **c.method.takes(magnitude=magnitude, noise=noise),
            **c.parameters,
        ),
    )
    _stage.save(args.output, chi, args.field, "susceptibility [ppm]")
    return 0
