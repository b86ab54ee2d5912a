"""Iron by region from a susceptibility map, against what is normal at an age; and maps of iron and myelin.

  chimap iron --chi chi.nii.gz --labels aseg.nii.gz --age 45 -o iron.tsv --figure-out iron.svg
  chimap iron --chi chi.nii.gz --r2star r2star.nii.gz --model coefficients.json --iron-out fe.nii.gz --myelin-out myelin.nii.gz

The second form solves the linear model of Stueber et al. 2014 (doi:10.1016/j.neuroimage.2014.02.026) in every voxel. Its coefficients depend on
field strength and tissue. They come in a JSON file: chi_iron [ppb per mg/kg], chi_myelin [ppb per unit], chi_rest [ppb],
r2star_iron, r2star_myelin, r2star_rest [1/s]; or, with "regions" in that file, are fitted from regions with known chi_ppb, r2star, iron and myelin.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from chimap.cli import _stage
from chimap.errors import InputError

SUMMARY = "iron by region against what is normal at an age; maps of iron and myelin"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    from chimap.cli.regions import add_region_arguments
    from chimap.quantify.iron import CALIBRATIONS, DEFAULT

    add_region_arguments(parser)
    for action in parser._actions:
        if "--labels" in action.option_strings:
            action.required = False
    parser.add_argument("-o", "--output", metavar="TSV", help="table of the regions with their iron")
    parser.add_argument("--figure-out", metavar="SVG", help="normal iron by age with the regions on it")
    parser.add_argument("--age", type=float, metavar="YEARS", help="age, for the normal values")
    group = parser.add_argument_group("calibration")
    known = "; ".join(
        f"{c.name}: {c.slope:g} ppb per mg/kg, {c.about}, doi:{c.doi}" for c in CALIBRATIONS.values()
    )
    group.add_argument(
        "--calibration",
        default=DEFAULT,
        metavar="NAME",
        help=f"{known} (default: {DEFAULT})".replace("%", "%%"),
    )
    group.add_argument(
        "--slope", type=float, metavar="PPB", help="your own: ppb per mg iron in a kg of wet tissue"
    )
    group.add_argument(
        "--iron-free",
        type=float,
        metavar="PPB",
        help="susceptibility of tissue without iron, relative to the map's reference (default: 0)",
    )
    group.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="iron in mg/kg outside of which values are flagged",
    )
    group = parser.add_argument_group("iron and myelin from susceptibility and R2*")
    group.add_argument("--model", metavar="JSON", help="coefficients, or regions to fit them from")
    group.add_argument("--iron-out", metavar="NII", help="map of iron in mg/kg")
    group.add_argument("--myelin-out", metavar="NII", help="map of myelin in the coefficients' unit")


def run(args: argparse.Namespace) -> int:
    """The table, the maps, or both."""
    maps = args.model or args.iron_out or args.myelin_out
    if not args.output and not maps:
        raise InputError(
            "nothing is asked for", fix="Give -o iron.tsv with --labels, or --model with --iron-out"
        )
    if args.output:
        _table(args)
    elif args.figure_out:
        raise InputError("--figure-out goes with a table", fix="Give --labels and -o")
    if maps:
        _maps(args)
    return 0


def _table(args: argparse.Namespace) -> None:
    from chimap.cli.regions import check_table, rows_of, write_table
    from chimap.pipeline.regions import dictionary
    from chimap.quantify.iron import HALLGREN_DOI, LIMITS, calibration, iron_rows, normal_iron, said_of

    if not args.labels:
        raise InputError("a table takes a label image", fix="Give --labels")
    check_table(Path(args.output))
    line = calibration(
        args.calibration,
        slope=args.slope,
        iron_free_ppb=args.iron_free,
        range_mg_kg=tuple(args.range) if args.range else None,
    )
    if args.age is not None:
        normal_iron("putamen", args.age)
    console = _stage.console_of(args)
    rows, reference = rows_of(args, console)
    rows = [r for r in iron_rows(rows, line, age_years=args.age) if "iron_mg_kg" in r]
    if not rows:
        raise InputError(
            "no label is named like a nucleus of known normal iron",
            file=args.labels,
            fix="Name the labels (--label-table): globus pallidus, putamen, caudate, thalamus, red nucleus, substantia nigra, dentate nucleus",
        )
    facts = {
        "IronCalibration": {"name": line.name, "doi": line.doi, "slope_ppb_per_mg_kg": line.slope, "iron_free_ppb": line.iron_free_ppb,
                            "range_mg_kg": list(line.range_mg_kg)},
        "NormalIron": HALLGREN_DOI,
        "Limits": LIMITS,
        **({"AgeYears": args.age} if args.age is not None else {}),
    }  # fmt: skip
    write_table(Path(args.output), rows, dictionary(rows, reference, **facts))
    if args.figure_out:
        from chimap.io.safe import write_text
        from chimap.report.iron import iron_chart
        from chimap.report.svg import standalone

        chart = iron_chart(rows, args.age)
        if chart:
            write_text(Path(args.figure_out), standalone(chart))
        else:
            console.note("no label is a nucleus with an age curve: no figure was written")
    print(said_of(line, reference))
    for r in rows:
        beyond = f"  {r['iron_flag']} the calibration's range" if r["iron_flag"] else ""
        print(
            f"  {r['name']:<24}{r['iron_mg_kg']:>7.0f} mg/kg   normal {r['normal_mg_kg']:.0f} ± {r['normal_sd_mg_kg']:.0f}{beyond}"
        )
    print(LIMITS)


def _maps(args: argparse.Namespace) -> None:
    from chimap.quantify.myelin import iron_and_myelin, two_source_sd

    for flag, value in (("--model", args.model), ("--r2star", args.r2star)):
        if not value:
            raise InputError(f"maps of iron and myelin take {flag}")
    if not (args.iron_out or args.myelin_out):
        raise InputError("no map is asked for", fix="Give --iron-out, --myelin-out or both")
    _stage.check_output(args.iron_out, args.myelin_out)
    model, fitted = read_model(Path(args.model))
    chi = _stage.read(args.chi)
    like = (args.chi, chi.shape)
    mask = _stage.read_mask(args.mask, like) if args.mask else np.isfinite(chi) & (chi != 0)
    r2star = _stage.finite(_stage.read(args.r2star, like), mask, args.r2star)
    iron, myelin = iron_and_myelin(_stage.finite(chi, mask, args.chi), r2star, mask, model)
    sd = two_source_sd(model, 10.0, 2.0)
    about = {
        "Model": "linear in iron and myelin, doi:10.1016/j.neuroimage.2014.02.026",
        "Coefficients": vars(model),
        "Fit": fitted,
        "StandardDeviationFor10ppbAnd2PerSecond": {"iron": sd[0], "myelin": sd[1]},
        "Limits": "Not valid in veins and calcification; rough in white matter, whose values depend on the fibres' angle to B0.",
    }
    for path, volume, unit in (
        (args.iron_out, iron, "mg/kg wet tissue"),
        (args.myelin_out, myelin, "as the coefficients"),
    ):
        if path:
            _stage.save(path, volume, args.chi, "iron [mg/kg]" if volume is iron else "myelin")
            _stage.note_sidecar(path, {"Units": unit, **about})


def read_model(path: Path) -> tuple[Any, dict[str, float]]:
    """The coefficients of a JSON file, and the residuals where they were fitted.

    Raises
    ------
    InputError
        If the file has neither coefficients nor regions.
    """
    from chimap.io.sidecar import read_json
    from chimap.quantify.myelin import TwoSources, fit_two_sources

    values = read_json(path)
    try:
        if "regions" in values:
            columns = [
                [float(r[k]) for r in values["regions"]] for k in ("chi_ppb", "r2star", "iron", "myelin")
            ]
            return fit_two_sources(*columns)
        return TwoSources(**{k: float(v) for k, v in values.items()}), {}
    except (TypeError, KeyError, ValueError) as e:
        raise InputError(
            f"the model of iron and myelin cannot be read ({e})",
            file=path,
            fix="Give chi_iron, chi_myelin, r2star_iron and r2star_myelin, or regions with chi_ppb, r2star, iron and myelin",
        ) from e
