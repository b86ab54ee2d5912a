"""Oxygen in veins: saturation (SvO2), oxygen extraction fraction (OEF) by vein and region, and consumption (CMRO2).

  chimap oxygen --chi chimap.nii.gz --mask mask.nii.gz --field local.nii.gz --noise noise.nii.gz -o out
  chimap oxygen ... --haematocrit 0.45 --labels territories.nii.gz --cbf cbf.nii.gz -o out

Veins are traced in the map, and susceptibility and diameter of each segment fitted to the local field in and around it. Written
into the output folder: oxygen.tsv (one row a segment) with its data dictionary oxygen.json, veins_dseg.nii.gz (numbers as in the table),
oxygen.png, and regions.tsv with regions.json. What needs an input that is not given is left out, and said. No diagnosis: see the page on oxygen.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from chimap.cli import _finds, _stage
from chimap.errors import InputError
from chimap.io.nifti import make_folder, read_header, save_volume, whole_file
from chimap.numerics.blood import ARTERIAL, DO_CGS_PPM, HAEMATOCRIT
from chimap.pipeline.measure import Measure, append_log

SUMMARY = "veins: diameter, oxygen saturation and extraction; consumption by region"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    _finds.add_map(parser)
    add = parser.add_argument
    add(
        "--field",
        metavar="NII",
        help="local field in ppm that it was made from: without it saturation is too high",
    )
    add(
        "--noise",
        metavar="NII|PPB",
        help="standard deviation of the local field: an image in ppm, or one number in ppb",
    )
    add("--r2star", metavar="NII", help="R2* in 1/s: fainter veins, and a check")
    add("--cbf", metavar="NII", help="blood flow in mL/100 g/min on the same grid, for oxygen consumption")
    _finds.add_labels_and_output(parser, "label image of territories on the same grid, for regional values")
    group = parser.add_argument_group("blood")
    add = group.add_argument
    add("--haematocrit", type=float, default=HAEMATOCRIT, metavar="H",
        help=f"red cells as a part of 1 (default: {HAEMATOCRIT:g})")  # fmt: skip
    add("--haematocrit-sd", type=float, default=0.03, metavar="SD",
        help="its standard deviation (default: 0.03; measured: about 0.01)")  # fmt: skip
    add("--sao2", type=float, default=ARTERIAL, metavar="S",
        help=f"saturation of arterial blood, a part of 1 (default: {ARTERIAL:g})")  # fmt: skip
    add("--deoxygenation", type=float, default=DO_CGS_PPM, metavar="PPM",
        help=f"susceptibility of deoxygenated against oxygenated red cells, cgs (default: {DO_CGS_PPM:g}, "
             f"in SI {4 * np.pi * DO_CGS_PPM:.2f} ppm)")  # fmt: skip
    add("--oxygenated", type=float, default=0.0, metavar="PPB",
        help="susceptibility of fully oxygenated red cells against the tissue around, SI (default: 0)")  # fmt: skip
    group = parser.add_argument_group("limits")
    add = group.add_argument
    add("--diameter", type=float, nargs=2, default=(1.0, 5.0), metavar=("MIN", "MAX"),
        help="of veins that are looked for, in mm (default: 1 5)")  # fmt: skip
    add("--contrast", type=float, default=150.0, metavar="PPB",
        help="least contrast of a vein in the map (default: 150)")  # fmt: skip
    add("--depth", type=float, default=3.0, metavar="MM",
        help="least distance of a vein from the mask's edge (default: 3)")  # fmt: skip
    _stage.add_acquisition(parser, te=False)


def run(args: argparse.Namespace) -> int:
    """Read, find, convert, write."""
    from chimap.pipeline import oxygen as tables
    from chimap.pipeline.lesions import write_table
    from chimap.quantify.oxygen import Blood, reliable, territories
    from chimap.quantify.veins import find_veins

    folder = _finds.output_folder(args)
    console = _stage.console_of(args)
    blood = Blood(
        args.haematocrit, args.haematocrit_sd, args.sao2, args.deoxygenation, args.oxygenated / 1000
    )
    chi, mask = _finds.map_and_mask(args)
    like = (args.chi, chi.shape)
    acq = _stage.acquisition(args, args.chi, needs_te=False)
    affine = read_header(args.chi).affine
    maps: dict[str, Any] = {}
    for name, path in (("local_field", args.field), ("r2star", args.r2star)):
        if path:
            maps[name] = _stage.finite(_stage.read(path, like), mask, path)
    if args.noise:
        maps["noise"] = _stage.finite(_noise(args.noise, like), mask, args.noise)
    cbf = _stage.finite(_stage.read(args.cbf, like), mask, args.cbf) if args.cbf else None
    labels, names = _finds.labels_and_names(args, like)
    make_folder(folder)
    settings = {"diameter_mm": list(args.diameter), "contrast_ppb": args.contrast, "depth_mm": args.depth}
    with console.stage("oxygen", tables.METHOD) as bar:
        with Measure(bar) as measure:
            veins = find_veins(
                chi, mask, acq, **maps, affine=affine, diameter_mm=(args.diameter[0], args.diameter[1]),
                contrast_ppm=args.contrast / 1000, depth_mm=args.depth, progress=measure.progress,
            )  # fmt: skip
            regions = territories(
                veins.segments, blood, acq.voxel_size_mm, labels=labels, names=names, cbf=cbf, mask=mask
            )
        record = measure.record("oxygen", tables.METHOD)
    record["parameters"] = settings
    append_log(args.log_json, record)
    left_out = [*veins.left_out]
    if labels is None:
        left_out.append("no label image: no territories, only all veins together")
    if cbf is None:
        left_out.append("no blood flow: no oxygen consumption")
    for text in left_out:
        console.note(text)
    facts = {
        "MeasuredFrom": veins.measured_from,
        "Blood": tables.assumptions(blood),
        "Settings": settings,
        "LeftOut": left_out,
    }
    rows = tables.vein_rows(veins.segments, blood, regions)
    write_table(folder / "oxygen.tsv", rows, tables.columns_of(rows, tables.VEINS), facts)
    rows = tables.region_rows(regions)
    write_table(folder / "regions.tsv", rows, tables.columns_of(rows, tables.REGIONS), facts)
    save_volume(folder / "veins_dseg.nii.gz", veins.labels, affine, description="chimap oxygen")
    if args.figure != "none":
        from chimap.report.oxygen import vein_figure

        with whole_file(folder / f"oxygen.{args.figure}") as f:
            f.write(vein_figure(chi, veins.segments, blood, affine, mask=mask, kind=args.figure))
    good = sum(not reliable(s, blood) for s in veins.segments)
    whole = regions[0].oxygen
    said = (
        f", SvO2 {100 * whole.svo2:.1f} %, OEF {100 * whole.oef:.1f} +- {100 * whole.oef_se_all:.1f} %"
        if whole else ""
    )  # fmt: skip
    print(f"oxygen: {len(veins.segments)} segments, {good} reliable{said}: {folder / 'oxygen.tsv'}")
    print(
        f"with haematocrit {blood.haematocrit:g} +- {blood.haematocrit_sd:g}, SaO2 {blood.sao2:g}, deoxygenation "
        f"{blood.do_cgs_ppm:g} ppm cgs = {blood.do_ppm:.2f} ppm SI"
    )
    return 0


def _noise(given: str, like: tuple[str, tuple[int, ...]]) -> np.ndarray:
    try:
        ppb = float(given)
    except ValueError:
        return _stage.read(given, like)
    if not ppb > 0:
        raise InputError(f"a noise of {ppb:g} ppb is not positive", fix="Give a positive number, or an image")
    return np.full(like[1], ppb / 1000, np.float32)
