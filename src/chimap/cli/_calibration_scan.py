"""One scan of a calibration phantom: its vials, their concentrations and their values."""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chimap import textfile, verbs
from chimap.acquisition import Acquisition
from chimap.cli import _stage
from chimap.errors import InputError
from chimap.io.geometry import b0_direction, voxel_size
from chimap.io.nifti import read_header, save_volume
from chimap.io.whole import whole_numbers
from chimap.numerics.echoes import root_sum_of_squares
from chimap.quantify import calibration
from chimap.quantify.susceptometry import susceptometry
from chimap.quantify.vials import Vials, find_vials, measure, vials_from_labels
from chimap.types import Mask, Volume


def scan_rows(args: argparse.Namespace, n: int, out: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Rows of one scan; its labels are written."""
    path = one(args.chi, n) or args.field[n]
    header = read_header(path)
    voxel = voxel_size(header.affine)
    data = _stage.read(path)
    like = (path, data.shape)
    magnitude = _combined(one(args.magnitude, n), like)
    mask = _mask(args, n, like, magnitude, data, voxel)
    name = Path(path).name.removesuffix(".gz").removesuffix(".nii") if (args.chi or args.field) else ""
    name = (
        name
        if len({Path(p).name for p in (args.chi or args.field)}) > 1 or len(args.chi or args.field) == 1
        else f"scan {n + 1}"
    )
    labels = one(args.labels, n)
    wanted = args.count or (len(args.concentrations) if args.concentrations and not labels else None)
    if labels:
        vials = vials_from_labels(whole_numbers(_stage.read(labels, like), labels), voxel)
    else:
        assert magnitude is not None
        size = tuple(args.vial_diameter) if args.vial_diameter else (5.0, 45.0)
        vials = find_vials(magnitude, mask, voxel, count=wanted, diameter_mm=size)
    save_volume(out / f"vials_{n + 1}.nii.gz", vials.labels, header.affine, description="chimap vials")
    data = _stage.finite(data, mask & (vials.labels > 0), path)
    erode = 2.0 if args.erode is None else args.erode
    values = measure(data, vials, mask, voxel, erode_mm=erode)
    direction = tuple(args.b0_dir) if args.b0_dir else b0_direction(header.affine)
    if args.field:
        _by_field(args, n, vials, mask, values, direction, voxel, like)
    if not args.chi:
        for row in values:  # the file was a field, no map
            row["mean_ppb"] = row["median_ppb"] = row["sd_ppb"] = None
    known = _concentrations(args, vials, values, bool(labels), notes)
    tilt = abs(direction[vials.axis]) / math.sqrt(sum(v * v for v in direction))
    angle = one(args.angle, n) if args.angle else math.degrees(math.acos(min(1.0, tilt)))
    return [
        {"scan": name, "concentration_mm": c, "b0_t": one(args.b0, n), "angle_deg": round(angle, 2), **row}
        for row, c in zip(values, known)
        if c is not None
    ]


def _combined(path: str | None, like: tuple[str, tuple[int, ...]]) -> Volume | None:
    if path is None:
        return None
    return root_sum_of_squares(_stage.read(path, like, ndim=4))


def _mask(
    args: argparse.Namespace,
    n: int,
    like: tuple[str, tuple[int, ...]],
    magnitude: Volume | None,
    data: Volume,
    voxel: tuple[float, float, float],
) -> Mask:
    path = one(args.mask, n)
    if path:
        return _stage.read_mask(path, like)
    if args.field:
        raise InputError("--field needs --mask, where the field is good", fix="Give the mask of the field")
    if magnitude is not None:
        return verbs.brain_mask(magnitude, Acquisition((0.01,), 3.0, voxel_size_mm=voxel), method="threshold")
    return np.isfinite(data) & (data != 0)


def _by_field(
    args: argparse.Namespace,
    n: int,
    vials: Vials,
    mask: Mask,
    rows: list[dict[str, Any]],
    direction: tuple[float, ...],
    voxel: tuple[float, float, float],
    like: tuple[str, tuple[int, ...]],
) -> None:
    """Add the susceptibility from the field to the rows."""
    acq = Acquisition((0.01,), one(args.b0, n) or 3.0, (direction[0], direction[1], direction[2]), voxel)
    name = args.method_background or "lbv"
    found = susceptometry(
        _stage.read(one(args.field, n), like),
        vials,
        mask,
        acq,
        remove=lambda f, m: verbs.remove_background(f, m, acq, method=name),
        radius_mm=args.diameter / 2 if args.diameter else None,
        length_mm=args.length,
    )
    for row, chi, se in zip(rows, found.chi_ppm, found.se_ppm):
        row["field_ppb"], row["field_se_ppb"] = 1000 * float(chi), 1000 * float(se)


def _concentrations(
    args: argparse.Namespace, vials: Vials, rows: list[dict[str, Any]], labelled: bool, notes: list[str]
) -> list[float | None]:
    """Concentration of each vial; None for one that the table does not name."""
    if args.vials:
        return _from_table(args.vials, vials)
    if labelled:
        if len(args.concentrations) != vials.count:
            raise InputError(
                f"{len(args.concentrations)} concentrations for {vials.count} labels",
                fix="Give one for each label, in order",
            )
        return list(args.concentrations)
    said = "concentrations were given out by rank of susceptibility; give --labels or --vials to have the vials told apart"
    if said not in notes:
        notes.append(said)
    values = [r["mean_ppb"] if r["mean_ppb"] is not None else r["field_ppb"] for r in rows]
    sign = -1 if args.molar is not None and args.molar < 0 else 1
    return list(calibration.match_by_rank(args.concentrations, [sign * v for v in values]))


def _from_table(path: str, vials: Vials) -> list[float | None]:
    table = read_table(path)
    try:
        known = [float(r["concentration_mm"]) for r in table]
        out: list[float | None] = [None] * vials.count
        number = next((c for c in ("label", "vial") if table and c in table[0]), None)
        for row, c in zip(table, known):
            if "x_mm" in row:
                place = np.array([float(row[f"{a}_mm"]) for a in "xyz"])
                far = np.linalg.norm(vials.centre_mm - place, axis=1)
                nearest = int(far.argmin())
                if far[nearest] > 2 * vials.radius_mm[nearest]:
                    raise InputError(
                        f"no vial lies near ({place[0]:g}, {place[1]:g}, {place[2]:g}) mm", file=path
                    )
                out[nearest] = c
            elif number and 1 <= int(row[number]) <= vials.count:
                out[int(row[number]) - 1] = c
            else:
                raise InputError(f"{vials.count} vials, none for this row: {dict(row)}", file=path)
    except (KeyError, ValueError, TypeError) as e:
        raise InputError(
            f"the table of vials is not understood ({e})",
            file=path,
            fix="Give the columns concentration_mm and label, or concentration_mm, x_mm, y_mm and z_mm",
        ) from e
    return out


def one(values: Sequence[Any] | None, n: int) -> Any:
    return None if not values else values[n if len(values) > 1 else 0]


def read_table(path: str) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(io.StringIO(textfile.read_text(path), newline=""), delimiter="\t"))
    except csv.Error as e:
        raise InputError(f"not a readable table ({e})", file=path) from e
