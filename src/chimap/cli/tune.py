"""Choose a parameter of an inversion method for a scan; the value is printed, the curve goes to files.

chimap tune --field local.nii.gz --mask valid.nii.gz --noise noise.nii.gz --figure curve.svg --table curve.tsv
chimap tune --rule lcurve --method tv --parameter lam ... -o chi.nii.gz
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chimap import tuning
from chimap.cli import _stage, _start, _tuning
from chimap.errors import OutputError
from chimap.io.nifti import write_text
from chimap.pipeline import presets
from chimap.pipeline.measure import plain
from chimap.types import Progress

SUMMARY = "choose a parameter of an inversion method for a scan"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    _start.add_start(parser, "local field in ppm")
    parser.add_argument("--r2star", metavar="NII", help="R2* in 1/s, for methods that use it")
    group = parser.add_argument_group("search")
    group.add_argument("--parameter", metavar="NAME", help="what to choose (default: lam, or its like)")
    group.add_argument("--rule", metavar="NAME", help=f"one of the following (default: {tuning.DEFAULT})")
    group.add_argument(
        "--values",
        type=float,
        nargs="+",
        metavar="V",
        help="values to try (default: around the method's own)",
    )
    group.add_argument(
        "--crop",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="search on the middle of a large object (default: yes)",
    )
    rules = "\n".join(f"{r.name:16} {r.summary}" for r in tuning.rules().values())
    parser.add_argument_group("rules", rules)
    group = parser.add_argument_group("results")
    group.add_argument("--figure", metavar="FILE", help="the curve as .svg or .png")
    group.add_argument("--table", metavar="TSV", help="the curve as a table")
    group.add_argument(
        "-o", "--output", metavar="NII", help="also invert the whole field with the value found"
    )
    _stage.add_acquisition(parser)
    _stage.add_choice(parser, "inversion")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "inversion")


def run(args: argparse.Namespace) -> int:
    """Read, search, print and write."""
    _stage.check_output(args.output)
    if args.figure and not args.figure.endswith((".svg", ".png")):
        raise OutputError(
            "figures are .svg or .png", file=args.figure, fix="Give a name that ends in one of them"
        )
    choice = _stage.chosen(args, "inversion")
    start = _start.read_start(args, choice.method)
    arrays = {**start.arrays, **_tuning.noise_of(args, start)}

    def search(c: presets.Choice, progress: Progress) -> tuning.Tuning:
        name = args.parameter or next((n for n in c.parameters if tuning.is_automatic(c.parameters[n])), None)
        fixed = {k: v for k, v in c.parameters.items() if k != name}
        return tuning.tune(
            start.data,
            start.mask,
            start.acq,
            method=c.method,
            parameter=name,
            rule=args.rule,
            values=args.values,
            parameters=fixed,
            crop=args.crop,
            progress=progress,
            noise=arrays.get("noise"),
            magnitude=arrays.get("magnitude"),
            r2star=arrays.get("r2star"),
        )

    found = _stage.execute(args, choice, search)
    print(f"{found.value:g}")
    _stage.console_of(args).note(_tuning.sentence(found))
    if args.table:
        write_text(Path(args.table), found.as_tsv())
    if args.figure:
        from chimap.report.curve import curve_figure

        Path(args.figure).write_bytes(curve_figure(found, Path(args.figure).suffix[1:]))
    if args.output:
        settled: dict[str, Any] = {**choice.parameters, found.parameter: found.value}

        def invert(c: presets.Choice, progress: Progress) -> Any:
            return c.method(start.data, start.mask, start.acq, progress=progress, **start.arrays, **settled)

        _stage.save(args.output, _stage.execute(args, choice, invert), start.like, "susceptibility [ppm]")
        _stage.note_sidecar(args.output, {"Units": "ppm", "Tuning": plain(found.record())})
    return 0
