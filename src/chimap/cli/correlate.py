"""Correlation and regression between co-registered maps of any kind: by voxel, region and moving window.

chimap correlate OUT --maps chi=Chimap.nii.gz r2star=R2starmap.nii.gz r1=R1map.nii.gz --mask brain.nii.gz --labels dseg.nii.gz
chimap correlate OUT --maps chi=C.nii.gz mt:pu=MT.nii.gz --mask M.nii.gz --window 9

A map is NAME=FILE, or NAME:UNIT=FILE; chi is in ppm in its file and in ppb in the results. OUT gets correlations.tsv and
regions.tsv with dictionaries, a figure for every pair, and with --window maps of r, slope and z of the first map with each other one.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chimap.cli import _stage
from chimap.errors import InputError
from chimap.io.whole import whole_numbers

SUMMARY = "correlation and regression between maps, by region, voxel and window"

_COLUMNS = {
    "x": "map on the horizontal axis",
    "y": "map on the vertical axis",
    "kind": "voxels; regions (their means); partial (voxels, all other maps regressed out)",
    "n": "number of values",
    "n_effective": "number of independent values they are worth, from both maps' spatial autocorrelation (doi:10.2307/2532625)",
    "r": "Pearson correlation",
    "r_low": "lower end of its 95 % interval, made with n_effective",
    "r_high": "upper end",
    "p": "p-value of r = 0, made with n_effective; not corrected for the number of pairs",
    "spearman": "correlation of ranks",
    "slope": "of y over x, in units of y per unit of x",
    "slope_low": "lower end of its 95 % interval",
    "slope_high": "upper end",
    "intercept": "of the line, in units of y",
    "residual_sd": "standard deviation about the line, in units of y",
}
_UNITS = {"chi": "ppb", "r2star": "1/s", "r2": "1/s", "r2prime": "1/s", "r1": "1/s", "t1": "s", "t2star": "s"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    add = parser.add_argument
    add("output", metavar="OUT", type=Path, help="folder of the results")
    add("--maps", nargs="+", required=True, metavar="NAME=FILE", help="two maps or more, all on one grid")
    add("--mask", required=True, metavar="NII", help="where all maps are valid")
    add(
        "--labels",
        metavar="NII",
        help="numbers of regions (names in the table beside it: columns index and name)",
    )
    add("--window", type=float, metavar="MM", help="side of the moving window (default: no window)")
    add(
        "--bins",
        type=int,
        default=64,
        metavar="N",
        help="cells of the joint histogram on each axis (default 64)",
    )
    add(
        "--erode", type=float, default=0.0, metavar="MM", help="of the mask, left out at its edge (default 0)"
    )


def run(args: argparse.Namespace) -> int:
    """Read, correlate, write."""
    from chimap.io import tables
    from chimap.io.geometry import same_grid, voxel_size
    from chimap.io.nifti import make_folder, read_header, save_volume, write_json, write_text
    from chimap.pipeline.regions import label_names
    from chimap.quantify import correlation
    from chimap.report.correlation import pair_figure

    files = [_named(text) for text in args.maps]
    names = [f[0] for f in files]
    if len(files) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"maps {', '.join(names)} given; two or more of different names are needed", fix="NAME=FILE"
        )
    if not 8 <= args.bins <= 512:
        raise InputError(f"{args.bins} bins asked for", fix="Give 8 to 512")
    header = read_header(files[0][2])
    voxel = voxel_size(header.affine)
    maps: dict[str, np.ndarray] = {}
    for name, _, path in files:
        same_grid(read_header(path), header, name, "maps")
        maps[name] = _stage.read(path) * np.float32(1000 if name == "chi" else 1)
    like = (files[0][2], header.shape)
    mask = _stage.read_mask(args.mask, like)
    if args.erode > 0:
        from scipy import ndimage

        mask &= ndimage.distance_transform_edt(np.pad(mask, 1), sampling=voxel)[1:-1, 1:-1, 1:-1] > args.erode
    finite = np.all([np.isfinite(v) for v in maps.values()], axis=0)
    notes = []
    if not finite[mask].all():
        notes.append(f"{int((~finite & mask).sum())} voxels where a map is NaN or infinite were left out")
        mask &= finite
    if not mask.any():
        raise InputError(
            "nothing is left of the mask", file=args.mask, fix="Erode it less, or look at the maps"
        )
    units = {name: unit for name, unit, _ in files}
    rows: list[dict[str, Any]] = []
    table: list[dict[str, Any]] = []
    text: Mapping[int, str] = {}
    if args.labels:
        labels = whole_numbers(_stage.read(args.labels, like), args.labels)
        table = correlation.region_means(maps, labels, mask)
        text = label_names(Path(args.labels))
        for row in table:
            row["name"] = text.get(row["label"], f"label {row['label']}")
    few = bool(args.labels) and len(table) < 4
    if not args.labels:
        notes.append("left out: regions, since no --labels were given")
    elif few:
        notes.append(
            f"left out: correlation over regions, since only {len(table)} regions have voxels enough (4 needed)"
        )
    if len(names) < 3:
        notes.append("left out: partial correlations, which need a third map")
    if args.window is None:
        notes.append("left out: windowed correlation, since no --window was given")
    make_folder(args.output)
    for x, y in itertools.combinations(names, 2):
        whole = correlation.correlate_voxels(maps[x], maps[y], mask, voxel)
        rows.append(_row(x, y, "voxels", whole))
        over = None
        if args.labels and not few:
            over = correlation.correlate_regions(
                [r[f"{x}_mean"] for r in table], [r[f"{y}_mean"] for r in table]
            )
            rows.append(_row(x, y, "regions", over))
        if len(names) > 2:
            rows.append(_row(x, y, "partial", correlation.partial(maps, x, y, mask, voxel)))
        figure = pair_figure(
            (x, y),
            (units[x], units[y]),
            whole,
            correlation.joint_histogram(maps[x], maps[y], mask, args.bins),
            over,
            [(r[f"{x}_mean"], r[f"{y}_mean"], r["name"]) for r in table],
        )
        write_text(args.output / f"{x}_{y}.svg", figure)
    if args.window is not None:
        for y in names[1:]:
            found = correlation.windowed(maps[names[0]], maps[y], mask, voxel, window_mm=args.window)
            for kind, volume in zip(("r", "slope", "z"), found):
                path = args.output / f"{names[0]}_{y}_window-{kind}.nii.gz"
                save_volume(path, volume, header.affine, description=f"chimap windowed {kind}")
            _stage.note_sidecar(
                str(path),
                {"WindowMm": args.window, "X": names[0], "Y": y, "Units": "Fisher z times sqrt(voxels - 3)"},
            )
    write_text(args.output / "correlations.tsv", tables.tsv(rows, _COLUMNS, digits=6))
    about = {k: {"Description": v} for k, v in _COLUMNS.items()}
    write_json(
        args.output / "correlations.json",
        {**about, "Maps": {n: {"File": p, "Units": u} for n, u, p in files}, "Notes": notes},
    )
    if table:
        columns = ["label", "name", "voxels", *(f"{n}_{k}" for n in names for k in ("mean", "sd"))]
        write_text(args.output / "regions.tsv", tables.tsv(table, columns, digits=6))
        write_json(args.output / "regions.json", _region_columns(names, units))
    for row in rows:
        print(
            f"{row['x']} and {row['y']}, {row['kind']}: r = {row['r']:.3f} ({row['r_low']:.3f} to {row['r_high']:.3f}), "
            f"slope {row['slope']:.4g} ({row['slope_low']:.4g} to {row['slope_high']:.4g}), n = {row['n']}, effective {row['n_effective']:.0f}"
        )
    for note in notes:
        print(note)
    print(args.output)
    return 0


def _named(text: str) -> tuple[str, str, str]:
    """Name, unit and file of NAME=FILE or NAME:UNIT=FILE."""
    found = re.fullmatch(r"([A-Za-z][A-Za-z0-9]*)(?::([^=]*))?=(.+)", text)
    if not found:
        raise InputError(
            f"{text!r} is not NAME=FILE or NAME:UNIT=FILE", fix="For example chi=sub-01_Chimap.nii.gz"
        )
    name = found[1] if found[1].lower() not in _UNITS else found[1].lower()
    return name, found[2] if found[2] is not None else _UNITS.get(name, ""), found[3]


def _row(x: str, y: str, kind: str, c: Any) -> dict[str, Any]:
    return {
        "x": x, "y": y, "kind": kind, "n": c.n, "n_effective": c.n_effective, "r": c.r, "r_low": c.r_ci[0], "r_high": c.r_ci[1],
        "p": c.p, "spearman": c.spearman, "slope": c.slope, "slope_low": c.slope_ci[0], "slope_high": c.slope_ci[1],
        "intercept": c.intercept, "residual_sd": c.residual_sd,
    }  # fmt: skip


def _region_columns(names: Sequence[str], units: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "label": {"Description": "number in the label image"},
        "name": {"Description": "name from the table beside it"},
        "voxels": {"Description": "voxels inside the mask; regions of fewer than 5 are left out"},
    }
    for n in names:
        unit = {"Units": units[n]} if units[n] else {}
        out[f"{n}_mean"] = {"Description": f"mean of {n}", **unit}
        out[f"{n}_sd"] = {"Description": f"standard deviation of {n}", **unit}
    return out
