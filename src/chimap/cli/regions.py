"""A table of susceptibility by region from a map and a label image.

  chimap regions --chi chimap.nii.gz --labels aseg.nii.gz --r2star r2star.nii.gz -o regions.tsv

The labels may lie on another grid: they are brought to the map by the positions in both headers, by --transform, or with
--template by registration (needs the extra "registration"). Beside the table goes a data dictionary (.json). What is
not given (R2*, noise) is left out of the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from chimap.cli import _stage
from chimap.errors import InputError, OutputError

SUMMARY = "table of susceptibility by region, left against right"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    add_region_arguments(parser)
    parser.add_argument("-o", "--output", required=True, metavar="TSV", help="table of the regions")
    parser.add_argument(
        "--asymmetry-out", metavar="TSV", help="left against right (default: NAME_asymmetry.tsv)"
    )
    parser.add_argument("--figure-out", metavar="SVG", help="violins of the regions")


def add_region_arguments(parser: argparse.ArgumentParser) -> None:
    """Map, labels, how to bring them together, and the optional maps."""
    parser.add_argument("--chi", required=True, metavar="NII", help="susceptibility in ppm")
    parser.add_argument("--labels", required=True, metavar="NII", help="label image")
    parser.add_argument(
        "--label-table",
        metavar="FILE",
        help="names: .tsv with the columns index and name, or FreeSurfer's colour table (default: beside the image; FreeSurfer's numbers are known)",
    )
    parser.add_argument(
        "--mask", metavar="NII", help="where the map is valid (default: where it is not exactly 0)"
    )
    parser.add_argument("--r2star", metavar="NII", help="R2* in 1/s, for its mean by region")
    parser.add_argument(
        "--noise", metavar="NII", help="standard deviation of the susceptibility in ppm, for standard errors"
    )
    parser.add_argument(
        "--reference-name", metavar="NAME", help="reference of the map (default: from its sidecar)"
    )
    group = parser.add_argument_group("labels on another grid")
    group.add_argument(
        "--transform",
        metavar="FILE",
        help="affine that brings the labels to the map: ITK (ANTs), FSL or 4 x 4 RAS",
    )
    group.add_argument(
        "--transform-kind",
        choices=["auto", "itk", "fsl", "ras"],
        default="auto",
        help="its form (default: by its content; 4 x 4 numbers are FSL's in a .mat, else RAS mm of the labels to mm of the map)",
    )
    group.add_argument("--invert-transform", action="store_true", help="it goes the other way round")
    group.add_argument(
        "--template",
        metavar="NII",
        help="image that the labels belong to; it is registered to --image with antspyx",
    )
    group.add_argument(
        "--image", metavar="NII", help="image on the map's grid to register to, such as the magnitude"
    )


def run(args: argparse.Namespace) -> int:
    """Read, count, write."""
    from chimap.pipeline.regions import dictionary
    from chimap.quantify.asymmetry import asymmetry_rows

    output = Path(args.output)
    sides = (
        Path(args.asymmetry_out) if args.asymmetry_out else output.with_name(f"{output.stem}_asymmetry.tsv")
    )
    check_table(output, sides)
    console = _stage.console_of(args)
    rows, reference = rows_of(args, console)
    write_table(output, rows, dictionary(rows, reference))
    pairs = asymmetry_rows(rows)
    if pairs:
        write_table(sides, pairs, dictionary(pairs, reference))
    else:
        console.note("no label names tell left from right: no table of asymmetry was written")
    if args.figure_out:
        from chimap.io.safe import write_text
        from chimap.report.figures import region_chart
        from chimap.report.svg import standalone

        write_text(Path(args.figure_out), standalone(region_chart(rows)))
    print(f"{len(rows)} regions, reference {reference}: {output}")
    return 0


def rows_of(args: argparse.Namespace, console: Any) -> tuple[list[dict[str, Any]], str]:
    """The rows of all regions and the name of the reference, from the arguments of `add_region_arguments`."""
    from chimap.pipeline.regions import load_labels, scan_grid
    from chimap.quantify.regions import region_rows

    chi = _stage.read(args.chi)
    like = (args.chi, chi.shape)
    mask = _stage.read_mask(args.mask, like) if args.mask else np.isfinite(chi) & (chi != 0)
    chi = _stage.finite(chi, mask, args.chi)
    r2star = _stage.read(args.r2star, like) if args.r2star else None
    noise = _stage.read(args.noise, like) if args.noise else None
    shape, affine = scan_grid(args.chi)
    labels_file, transform, invert, kind = (
        Path(args.labels),
        args.transform,
        args.invert_transform,
        args.transform_kind,
    )
    table = Path(args.label_table) if args.label_table else None
    if args.template:
        from chimap.pipeline.regions import label_names
        from chimap.pipeline.registration import labels_by_registration

        if not args.image:
            raise InputError("--template needs --image, the image on the map's grid that it is registered to")
        if transform:
            raise InputError("both --transform and --template are given", fix="Give one of them")
        _stage.read(args.image, like)
        labels = labels_by_registration(Path(args.image), Path(args.template), labels_file)
        names, note = (
            label_names(labels_file, table),
            "labels were brought to the map by registration of the template with antspyx",
        )
    else:
        labels, names, note = load_labels(
            labels_file, shape, affine, table=table, transform=Path(transform) if transform else None, kind=kind, invert=invert
        )  # fmt: skip
    if note:
        console.note(note)
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    rows = region_rows(
        chi, labels, mask, (float(voxel[0]), float(voxel[1]), float(voxel[2])), names, r2star=r2star, noise_ppm=noise,
        affine=affine,
    )  # fmt: skip
    if not rows:
        raise InputError("no label lies where the map is valid", file=args.labels)
    missing = [n for n, v in (("R2* (--r2star)", r2star), ("standard errors (--noise)", noise)) if v is None]
    if missing:
        console.note(f"left out, because their maps are not given: {', '.join(missing)}")
    return rows, reference_of(args, console)


def reference_of(args: argparse.Namespace, console: Any) -> str:
    """The name of the map's reference: as given, or from its sidecar."""
    from chimap.io.sidecar import beside

    if args.reference_name:
        return str(args.reference_name)
    side = beside(Path(args.chi))
    named = side.get("Reference")
    if isinstance(named, dict) and named.get("name"):
        return str(named["name"])
    if side.get("ReferenceRegion"):
        return str(side["ReferenceRegion"])
    console.note("the sidecar of the map names no reference; give --reference-name")
    return "not stated"


def check_table(*paths: Path) -> None:
    """Fail before the work where a table could not be written."""
    for path in paths:
        if path.suffix != ".tsv":
            raise OutputError("tables are .tsv files", file=path, fix="Give a name that ends in .tsv")
        if path.is_dir():
            raise OutputError("this is a folder; a file name is expected", file=path)


def write_table(path: Path, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """A table and its data dictionary."""
    from chimap.io.safe import write_json, write_text
    from chimap.pipeline.measure import plain
    from chimap.pipeline.regions import as_tsv

    write_text(path, as_tsv(rows))
    write_json(path.with_suffix(".json"), plain(about))
