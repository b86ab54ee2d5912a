"""The three actions of `chimap calibrate`: reading, computing, writing."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chimap import verbs
from chimap.acquisition import Acquisition
from chimap.cli import _stage
from chimap.errors import InputError, OutputError
from chimap.io import tables
from chimap.io.geometry import b0_direction, voxel_size
from chimap.io.nifti import make_folder, read_header, save_volume, write_json, write_text
from chimap.io.sidecar import read_json
from chimap.numerics.echoes import root_sum_of_squares
from chimap.quantify import calibration
from chimap.quantify.agents import AGENTS, molar_susceptibility
from chimap.quantify.repeatability import Repeatability, repeatability
from chimap.quantify.susceptometry import susceptometry
from chimap.quantify.vials import Vials, find_vials, measure, vials_from_labels
from chimap.report.calibration import agreement_figure, calibration_figure
from chimap.types import Mask, Volume

_COLUMNS = {
    "scan": ("", "file of the susceptibility map, or scan n"),
    "vial": ("", "number of the vial in the label image"),
    "concentration_mm": ("mmol/L", "known concentration"),
    "b0_t": ("T", "field strength; n/a where not given"),
    "angle_deg": ("degrees", "angle of the vials to B0"),
    "mean_ppb": ("ppb", "mean susceptibility of the vial's core against the water around the vials"),
    "median_ppb": ("ppb", "median, likewise"),
    "sd_ppb": ("ppb", "standard deviation over the core's voxels"),
    "voxels": ("", "voxels of the core"),
    "field_ppb": ("ppb", "susceptibility by inversion of the field with one unknown a vial"),
    "field_se_ppb": ("ppb", "its standard error (jackknife)"),
    "radius_mm": ("mm", "radius of the vial as found"),
    "x_mm": ("mm", "middle of the vial along the first voxel axis, from voxel 0"),
    "y_mm": ("mm", "likewise, second axis"),
    "z_mm": ("mm", "likewise, third axis"),
    "water_ppb": ("ppb", "the water's own mean in the map, which was subtracted"),
    "water_voxels": ("", "voxels of the water that were used; 0: none, values are the map's own"),
}


def fit(args: argparse.Namespace, out: Path) -> list[str]:
    """Vials, line, correction."""
    if not args.chi and not args.field:
        raise InputError("there is nothing to calibrate", fix="Give --chi, one map a scan (and --field)")
    scans = len(args.chi or args.field)
    for name in ("field", "magnitude", "labels", "mask", "b0", "angle"):
        given = getattr(args, name)
        if given and len(given) not in (1, scans):
            raise InputError(
                f"--{name} has {len(given)} values for {scans} scans", fix="Give one for all, or one a scan"
            )
    if not args.labels and not args.magnitude:
        raise InputError(
            "the vials cannot be found", fix="Give --magnitude, or --labels with a number in each vial"
        )
    if not args.concentrations and not args.vials:
        raise InputError("the concentrations are not given", fix="Give --concentrations or --vials")
    if args.agent and args.molar is not None:
        raise InputError("both --agent and --molar were given", fix="Give one of them")
    expected = args.molar
    if args.agent:
        expected = molar_susceptibility(args.agent, 20.0 if args.temperature is None else args.temperature)
    make_folder(out)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for n in range(scans):
        rows += _scan(args, n, out, notes)
    kinds = [k for k, there in (("mean_ppb", args.chi), ("field_ppb", args.field)) if there]
    results = {k: _line(rows, k, expected, args) for k in kinds}
    record: dict[str, Any] = {
        "Agent": args.agent,
        "MolarSusceptibilityPpmPerMillimolar": expected,
        "Source": f"doi:{AGENTS[args.agent].doi}; {AGENTS[args.agent].note}" if args.agent else None,
        "Units": "ppb and mmol/L",
        **{_RESULT[k]: found.to_dict() for k, found in results.items()},
        "Notes": notes,
    }
    main = kinds[0]
    lines = [_sentence(k, results[k]) for k in kinds] + notes
    again = _repeats(rows, main)
    if again is None:
        missing = "agreement of repeated scans: it needs three vials in two scans or more"
        record["LeftOut"] = [missing]
        lines.append(f"left out: {missing}")
    else:
        record["Repeatability"] = again.to_dict()
        write_text(out / "repeatability.svg", agreement_figure(again))
        lines.append(_agreement(again))
    lines += [f"left out: {what}" for what in results[main].left_out]
    write_text(out / "vials.tsv", tables.tsv(rows, _present(rows), digits=6))
    write_json(out / "vials.json", tables.dictionary(_present(rows)))
    write_json(out / "calibration.json", record)
    for k in kinds:
        name = "calibration.svg" if k == main else "calibration_field.svg"
        write_text(out / name, calibration_figure(results[k], rows, k))
    if expected is not None:
        side = _settings(args.chi[0]) if args.chi else {}
        facts = {
            "Agent": args.agent,
            "Map": main,
            "FieldStrengths": sorted(set(args.b0 or [])),
            "Pipeline": side,
        }
        write_json(out / "correction.json", calibration.correction(results[main], **facts))
    return [*lines, str(out)]


_RESULT = {"mean_ppb": "Map", "field_ppb": "Susceptometry"}
_WORDS = {"mean_ppb": "map", "field_ppb": "field, one unknown a vial"}


def _one(values: Sequence[Any] | None, n: int) -> Any:
    return None if not values else values[n if len(values) > 1 else 0]


def _scan(args: argparse.Namespace, n: int, out: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Rows of one scan; its labels are written."""
    path = _one(args.chi, n) or args.field[n]
    header = read_header(path)
    voxel = voxel_size(header.affine)
    data = _stage.read(path)
    like = (path, data.shape)
    magnitude = _combined(_one(args.magnitude, n), like)
    mask = _mask(args, n, like, magnitude, data, voxel)
    name = Path(path).name.removesuffix(".gz").removesuffix(".nii") if (args.chi or args.field) else ""
    name = (
        name
        if len({Path(p).name for p in (args.chi or args.field)}) > 1 or len(args.chi or args.field) == 1
        else f"scan {n + 1}"
    )
    labels = _one(args.labels, n)
    wanted = args.count or (len(args.concentrations) if args.concentrations and not labels else None)
    if labels:
        vials = vials_from_labels(np.rint(_stage.read(labels, like)).astype(np.int32), voxel)
    else:
        assert magnitude is not None
        size = tuple(args.vial_diameter) if args.vial_diameter else (5.0, 45.0)
        vials = find_vials(magnitude, mask, voxel, count=wanted, diameter_mm=size)
    save_volume(out / f"vials_{n + 1}.nii.gz", vials.labels, header.affine, description="chimap vials")
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
    angle = _one(args.angle, n) if args.angle else math.degrees(math.acos(min(1.0, tilt)))
    return [
        {"scan": name, "concentration_mm": c, "b0_t": _one(args.b0, n), "angle_deg": round(angle, 2), **row}
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
    path = _one(args.mask, n)
    if path:
        return _stage.read_mask(path, like)
    if args.field:
        raise InputError("--field needs --mask, where the field is good", fix="Give the mask of the field")
    if magnitude is not None:
        return verbs.brain_mask(magnitude, Acquisition((0.01,), 3.0, voxel_size_mm=voxel), method="threshold")
    return data != 0


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
    acq = Acquisition((0.01,), _one(args.b0, n) or 3.0, (direction[0], direction[1], direction[2]), voxel)
    name = args.method_background or "lbv"
    found = susceptometry(
        _stage.read(_one(args.field, n), like),
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
    table = _read_table(path)
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


def _read_table(path: str) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            return list(csv.DictReader(f, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"not a readable table ({e})", file=path) from e


def _line(
    rows: list[dict[str, Any]], kind: str, expected: float | None, args: argparse.Namespace
) -> calibration.Calibration:
    several = len({r["scan"] for r in rows}) > 1
    fields = [r["b0_t"] for r in rows]
    return calibration.calibrate(
        [r["concentration_mm"] for r in rows],
        [r[kind] for r in rows],
        scan=[r["scan"] for r in rows] if several else None,
        b0_t=None if None in fields else fields,
        # Whole degrees: the same phantom put in twice stands nowhere exactly alike.
        angle_deg=[round(r["angle_deg"]) for r in rows],
        expected_ppb_per_mm=None if expected is None else 1000 * expected,
        scale_sd=0.02 if args.scale_sd is None else args.scale_sd,
    )


def _repeats(rows: list[dict[str, Any]], kind: str) -> Repeatability | None:
    scans = list(dict.fromkeys(r["scan"] for r in rows))
    place = {(r["scan"], r["concentration_mm"]): r[kind] for r in rows}
    common = [c for c in sorted({r["concentration_mm"] for r in rows}) if all((s, c) in place for s in scans)]
    if len(scans) < 2 or len(common) < 3:
        return None
    return repeatability([[place[s, c] for s in scans] for c in common])


def _settings(path: str) -> dict[str, Any]:
    """Method and parameters of each stage, from the sidecars of the reconstruction that a map belongs to."""
    name = Path(path).name.removesuffix(".gz").removesuffix(".nii")
    scan = name.split("_desc-")[0].rpartition("_")[0] if "_" in name else name
    out: dict[str, Any] = {}
    for side in sorted(Path(path).parent.glob(f"{scan}*.json")):
        record = read_json(side).get("Chimap")
        if isinstance(record, dict) and record.get("stage") in ("field", "background", "inversion"):
            out[record["stage"]] = {k: record.get(k) for k in ("method", "parameters", "version")}
    return out


def _sidecar(path: str) -> dict[str, Any]:
    side = Path(path.removesuffix(".gz").removesuffix(".nii") + ".json")
    return read_json(side) if side.is_file() else {}


def _sentence(kind: str, c: calibration.Calibration) -> str:
    low, high = c.slope_ci_scale
    text = f"{_WORDS[kind]}: slope {c.slope:.1f} ppb per mmol/L (95 % {low:.1f} to {high:.1f}), R2 {c.r2:.5f}, residual SD {c.residual_sd:.1f} ppb"
    if c.linear is not None:
        text += f", {'linear' if c.linear else 'NOT linear'} (p = {c.curvature_p:.2g})"
    if c.ratio is not None and c.ratio_ci is not None:
        text += f"; {100 * c.ratio:.1f} % of the known {c.expected:.1f} ({100 * c.ratio_ci[0]:.1f} to {100 * c.ratio_ci[1]:.1f} %)"
    for row in c.consistency:
        what = "alike" if row["same"] else "unlike"
        text += f"; slopes {what} over {row['factor']} (p = {row['p']:.2g}, at most {row['largest_difference_percent']:.1f} % apart)"
    return text


def _agreement(r: Repeatability) -> str:
    cv = "not given (values near 0)" if r.within_cv is None else f"{r.within_cv:.2f} %"
    return (
        f"repeated scans: bias {r.bias:+.2f} ppb, limits of agreement {r.limits[0]:.2f} to {r.limits[1]:.2f} ppb, "
        f"ICC(2,1) {r.icc21:.4f} ({r.icc21_ci[0]:.4f} to {r.icc21_ci[1]:.4f}), ICC(3,1) {r.icc31:.4f}, "
        f"within-subject SD {r.within_sd:.2f} ppb, CV {cv}"
    )


def _present(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """The columns that some row has."""
    return {c: about for c, about in _COLUMNS.items() if any(c in r for r in rows)}


def apply(args: argparse.Namespace, out: Path) -> list[str]:
    """A map times the calibration's factor, with both in the sidecar."""
    _stage.check_output(str(out))
    if not args.chi or len(args.chi) != 1 or not args.calibration:
        raise InputError("apply takes one map and a calibration", fix="Give --chi and --calibration")
    path = args.chi[0]
    record = read_json(Path(args.calibration))
    chi = _stage.read(path)
    mask = _stage.read_mask(args.mask[0], (path, chi.shape)) if args.mask else np.isfinite(chi) & (chi != 0)
    side = _sidecar(path)
    if "CalibrationFactor" in side:
        raise InputError(
            f"this map has been calibrated already (factor {side['CalibrationFactor']:g})",
            file=path,
            fix="Give the original map",
        )
    result, facts = calibration.apply_correction(chi, mask, record)
    lines = [f"factor {facts['CalibrationFactor']:.4f}"]
    made, own = record.get("Pipeline") or {}, _settings(path)
    same = made == own if made and own else None
    if not same:
        how = "are not" if same is False else "are not known to be"
        lines.append(
            f"note: the map's methods and settings {how} those of the calibration; a factor holds for those it was found with"
        )
    facts["CalibrationPipelineMatches"] = same
    _stage.save(str(out), result, path, "calibrated susceptibility [ppm]")
    _stage.note_sidecar(
        str(out),
        {**side, "Units": "ppm", "Calibration": str(args.calibration), "Uncalibrated": path, **facts},
    )
    return [*lines, str(out)]


def retest(args: argparse.Namespace, out: Path) -> list[str]:
    """Agreement of repeated scans, of maps with regions or of a table."""
    names, values = _retest_table(args) if args.table else _retest_maps(args)
    found = repeatability(values)
    if out.is_file():
        raise OutputError("this is a file; a folder is expected", file=out)
    make_folder(out)
    scans = [f"scan_{n + 1}" for n in range(values.shape[1])]
    rows = [{"name": n, **dict(zip(scans, map(float, v)))} for n, v in zip(names, values)]
    text = tables.tsv(rows, ["name", *scans], digits=6)
    write_text(out / "repeatability.tsv", text)
    columns = {
        f"scan_{n + 1}": {"Description": f"value in scan {n + 1}", "Units": "ppb"}
        for n in range(values.shape[1])
    }
    write_json(
        out / "repeatability_columns.json", {"name": {"Description": "region, vial or subject"}, **columns}
    )
    write_json(out / "repeatability.json", {"Units": "ppb (CV in percent)", **found.to_dict()})
    write_text(out / "repeatability.svg", agreement_figure(found))
    return [_agreement(found), str(out)]


def _retest_table(args: argparse.Namespace) -> tuple[list[str], np.ndarray]:
    table = _read_table(args.table)
    columns = list(table[0]) if table else []

    def numbers(column: str) -> list[float] | None:
        try:
            return [float(r[column]) for r in table]
        except (TypeError, ValueError):
            return None

    # The first column names the rows.
    found = [v for c in columns[1:] if (v := numbers(c)) is not None]
    if len(found) < 2:
        raise InputError(
            "the table has fewer than two columns of numbers after the first",
            file=args.table,
            fix="One row a region, one column a scan",
        )
    return [r[columns[0]] for r in table], np.array(found).T


def _retest_maps(args: argparse.Namespace) -> tuple[list[str], np.ndarray]:
    if not args.chi or len(args.chi) < 2 or not args.labels:
        raise InputError(
            "retest needs two maps or more with --labels, or --table", fix="Give --chi A B --labels L"
        )
    columns: list[dict[int, float]] = []
    for n, path in enumerate(args.chi):
        chi = _stage.read(path)
        labels = np.rint(_stage.read(_one(args.labels, n), (path, chi.shape))).astype(np.int32)
        mask = _stage.read_mask(_one(args.mask, n), (path, chi.shape)) if args.mask else chi != 0
        columns.append(
            {
                int(k): 1000 * float(chi[(labels == k) & mask].mean(dtype=np.float64))
                for k in np.unique(labels[mask])
                if k
            }
        )
    common = sorted(set.intersection(*(set(c) for c in columns)))
    return [f"label {k}" for k in common], np.array([[c[k] for c in columns] for k in common]).reshape(
        len(common), -1
    )
