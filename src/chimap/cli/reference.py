"""Susceptibility relative to the mean of a region (default: the whole mask).

  chimap reference --chi chimap.nii.gz --region csf --r2star r2star.nii.gz -o chi_csf.nii.gz
  chimap reference --chi chimap.nii.gz --region wm --labels aseg.nii.gz -o chi_wm.nii.gz

Works on any map, whatever its reference: only a constant is subtracted, no inversion is made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from chimap.cli import _stage
from chimap.errors import InputError

SUMMARY = "susceptibility relative to a region"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--chi", required=True, metavar="NII", help="susceptibility in ppm")
    parser.add_argument(
        "--mask", metavar="NII", help="where the map is valid (default: where it is not exactly 0)"
    )
    parser.add_argument(
        "--region",
        default="whole",
        metavar="whole|csf|REGION|NII",
        help="the whole mask (default); csf: the ventricles' fluid, from --r2star or --labels; a region of --labels by name or "
        "number (wm, Left-Putamen, 2+41); or a mask file",
    )
    parser.add_argument("--r2star", metavar="NII", help="R2* in 1/s, to find the ventricles")
    parser.add_argument("--labels", metavar="NII", help="label image, for regions by name")
    parser.add_argument(
        "--label-table", metavar="FILE", help="names of the labels (default: beside the image)"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="NII", help="referenced susceptibility in ppm"
    )
    parser.add_argument("--region-out", metavar="NII", help="mask of the reference region")
    _stage.add_acquisition(parser, te=False)
    _stage.add_choice(parser, "reference")


def method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Flags of the method."""
    _stage.add_method_arguments(parser, known, "reference")


def run(args: argparse.Namespace) -> int:
    """Read, subtract, write; the reference goes into the sidecar."""
    from chimap.pipeline.reference import is_file, reference_region
    from chimap.pipeline.regions import load_labels, scan_grid

    _stage.check_output(args.output, args.region_out)
    choice = _stage.chosen(args, "reference")
    acq = _stage.acquisition(args, args.chi, needs_te=False)
    chi = _stage.read(args.chi)
    like = (args.chi, chi.shape)
    mask = _stage.read_mask(args.mask, like) if args.mask else np.isfinite(chi) & (chi != 0)
    if not mask.any():
        raise InputError("the map is 0 everywhere", file=args.chi)
    console = _stage.console_of(args)
    labels: np.ndarray | None = None
    names: dict[int, str] = {}
    if args.labels:
        table = Path(args.label_table) if args.label_table else None
        labels, names, note = load_labels(Path(args.labels), *scan_grid(args.chi), table=table)
        if note:
            console.note(note)
    if is_file(args.region, labels is not None) and not Path(args.region).is_file():
        raise InputError(
            "there is no such file",
            file=args.region,
            fix="Give whole, csf, a mask file, or a region's name with --labels",
        )
    r2star = _stage.read(args.r2star, like) if args.r2star else None
    region = reference_region(args.region, mask, acq.voxel_size_mm, r2star=r2star, labels=labels, names=names)
    result = _stage.execute(
        args,
        choice,
        lambda c, progress: c.method(
            chi, mask, acq, progress=progress, **c.method.takes(region=region.mask), **c.parameters
        ),
    )
    about = {**result.reference, "name": region.name, "region": region.how}
    console.note(
        f"reference {region.name} ({region.how}): mean {1000 * about['mean_ppm']:.2f} ppb, SD {1000 * about['sd_ppm']:.2f} ppb under "
        f"whole-brain referencing, {about['voxels']} voxels"
    )
    _stage.save(args.output, result.chi_ppm, args.chi, "susceptibility [ppm]")
    if args.region_out:
        voxels = mask if region.mask is None else mask & region.mask
        _stage.save(args.region_out, voxels, args.chi, "reference region")
    # The flat keys are those of earlier versions, which scripts may read.
    shown = args.region if args.region != "whole" else "mask"
    values = {"Units": "ppm", "ReferenceRegion": shown, "Reference": about, **result.reference}
    _stage.note_sidecar(args.output, values)
    return 0
