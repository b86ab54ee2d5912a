"""The first arguments of background and inversion methods: a field, or the phase of all echoes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from chimap.acquisition import Acquisition
from chimap.cli import _stage
from chimap.errors import InputError
from chimap.numerics.echoes import root_sum_of_squares
from chimap.registry import Method
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Start:
    """What a method runs with, and the file whose grid the result gets."""

    data: Volume
    mask: Mask
    acq: Acquisition
    arrays: dict[str, Any]
    like: str


def add_start(parser: argparse.ArgumentParser, field: str) -> None:
    """Add --field, --phase, --mask, --magnitude and --noise."""
    parser.add_argument("--field", metavar="NII", help=field)
    parser.add_argument(
        "--phase", metavar="NII", help="wrapped phase of all echoes, for the methods that start from it"
    )
    parser.add_argument(
        "--phase-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="values that mean -pi, pi"
    )
    parser.add_argument("--mask", required=True, metavar="NII", help="where the data are valid")
    parser.add_argument("--magnitude", metavar="NII", help="magnitude, 3-D or 4-D")
    parser.add_argument("--noise", metavar="NII", help="standard deviation of the field in ppm")


def read_start(args: argparse.Namespace, method: Method) -> Start:
    """Read what `method` starts from.

    Raises
    ------
    InputError
        If the file that the method needs was not given.
    """
    of_phase = method.of == "phase"
    path = args.phase if of_phase else args.field
    if path is None:
        kind = method.of or ("local field" if method.stage.name == "inversion" else "total field")
        raise InputError(
            f"method {method.name} starts from the {kind}, which was not given",
            fix=f"Give {'--phase' if of_phase else '--field'}",
        )
    acq = _stage.acquisition(args, path, needs_te=of_phase)
    data = (
        _stage.read_phase(path, acq.echoes, args.phase_range, _stage.console_of(args))
        if of_phase
        else _stage.read(path)
    )
    like = (path, data.shape[:3])
    arrays: dict[str, Any] = {}
    if args.magnitude:
        magnitude = _stage.read(args.magnitude, like, ndim=4)
        # From the phase on each echo counts; a field came from all of them.
        arrays["magnitude"] = magnitude if of_phase else root_sum_of_squares(magnitude)
    for name in ("noise", "r2star"):
        if getattr(args, name, None):
            arrays[name] = _stage.read(getattr(args, name), like)
    return Start(data, _stage.read_mask(args.mask, like), acq, method.takes(**arrays), path)
