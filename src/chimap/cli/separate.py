"""Paramagnetic and diamagnetic susceptibility in ppm: source separation.

  chimap separate --field local.nii.gz --r2prime r2prime.nii.gz --mask mask.nii.gz --b0 3 \\
      --paramagnetic-out para.nii.gz --diamagnetic-out dia.nii.gz
  chimap separate --method chi_separation_r2star --field local.nii.gz --r2star r2star.nii.gz ...
  chimap separate --method decompose --chi chi.nii.gz --magnitude magnitude.nii.gz --acq params.json ...

R2' may be given as such, or as R2* and R2 (--r2star and --r2map).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from chimap.cli import _stage
from chimap.errors import InputError
from chimap.numerics.echoes import root_sum_of_squares
from chimap.pipeline.measure import plain
from chimap.registry import Method
from chimap.relaxometry.r2prime import r2prime as difference

SUMMARY = "paramagnetic and diamagnetic susceptibility [ppm]"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    add = parser.add_argument
    add("--field", metavar="NII", help="local field in ppm")
    add(
        "--chi",
        metavar="NII",
        help="for decompose: susceptibility in ppm, of each echo (4-D) or of all (3-D)",
    )
    add("--r2prime", metavar="NII", help="R2' in 1/s")
    add("--r2star", metavar="NII", help="R2* in 1/s")
    add("--r2map", metavar="NII", help="R2 in 1/s from spin echoes: with --r2star in place of --r2prime")
    add("--mask", required=True, metavar="NII", help="where the data are valid")
    add("--magnitude", metavar="NII", help="magnitude, 3-D or 4-D")
    add("--noise", metavar="NII", help="standard deviation of the local field in ppm")
    add("--paramagnetic-out", metavar="NII", help="paramagnetic susceptibility in ppm, 0 or more")
    add("--diamagnetic-out", metavar="NII", help="diamagnetic susceptibility in ppm, 0 or less")
    add("--total-out", metavar="NII", help="sum of both in ppm")
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "separation")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "separation")


def run(args: argparse.Namespace) -> int:
    """Read, separate, write."""
    outputs = (args.paramagnetic_out, args.diamagnetic_out, args.total_out)
    if not any(outputs):
        raise InputError(
            "no map is asked for", fix="Give --paramagnetic-out, --diamagnetic-out, --total-out or several"
        )
    _stage.check_output(*outputs)
    choice = _stage.chosen(args, "separation")
    method = choice.method
    path, acq, data = _start(args, method)
    like = (path, data.shape[:3])
    mask = _stage.read_mask(args.mask, like)
    arrays = _arrays(args, method, like, mask)
    result = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(data, mask, acq, progress=progress, **arrays, **c.parameters),
    )
    about = {
        "Units": "ppm",
        "Method": method.name,
        "Parameters": plain(choice.all_parameters),
        "MagneticFieldStrength": acq.b0_t,
        "References": [f"doi:{doi}" for doi in method.references],
    }
    total = result.paramagnetic_ppm + result.diamagnetic_ppm
    for out, volume, what in (
        (args.paramagnetic_out, result.paramagnetic_ppm, "paramagnetic susceptibility"),
        (args.diamagnetic_out, result.diamagnetic_ppm, "diamagnetic susceptibility"),
        (args.total_out, total, "sum of paramagnetic and diamagnetic susceptibility"),
    ):
        if out:
            _stage.save(out, volume, path, f"{what} [ppm]")
            _stage.note_sidecar(out, {"Description": what.capitalize(), **about})
    return 0


def _start(args: argparse.Namespace, method: Method) -> tuple[str, Any, np.ndarray]:
    """What the method starts from: its path, the acquisition and the data."""
    of_echoes = method.of is not None
    path = args.chi if of_echoes else args.field
    if path is None:
        raise InputError(
            f"method {method.name} starts from the {method.of or 'local field'}, which was not given",
            fix=f"Give {'--chi' if of_echoes else '--field'}",
        )
    if not of_echoes:
        if args.acq is None and args.b0 is None:
            raise InputError(
                "the relaxometric constants grow with the field strength, which is not given",
                fix="Give --b0 or --acq params.json",
            )
        return path, _stage.acquisition(args, path, needs_te=False), _stage.read(path)
    acq = _stage.acquisition(args, path)
    data = _stage.read(path, ndim=4)
    if data.shape[3] == 1:
        data = np.repeat(data, acq.echoes, axis=3)
    return path, acq, data


def _arrays(
    args: argparse.Namespace, method: Method, like: tuple[str, tuple[int, ...]], mask: np.ndarray
) -> dict[str, Any]:
    """The maps that were given and that the method takes."""
    maps = {
        name: _stage.read(path, like)
        for name in ("r2prime", "r2star", "r2map", "noise")
        if (path := getattr(args, name))
    }
    r2 = maps.pop("r2map", None)
    if r2 is not None:
        if "r2star" not in maps or "r2prime" in maps:
            raise InputError("--r2map goes with --r2star, in place of --r2prime", file=args.r2map,
                             fix="Give --r2star too, and leave --r2prime out")  # fmt: skip
        maps["r2prime"] = difference(maps["r2star"], r2, mask)
    if args.magnitude:
        magnitude = _stage.read(args.magnitude, like, ndim=4)
        maps["magnitude"] = magnitude if method.of else root_sum_of_squares(magnitude)
    return method.takes(**maps)
