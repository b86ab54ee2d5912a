"""`chimap calibrate fit`: the line of a phantom, its tables, figures and correction."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chimap.cli._calibration_apply import settings
from chimap.cli._calibration_retest import agreement
from chimap.cli._calibration_scan import scan_rows
from chimap.errors import InputError
from chimap.io import tables
from chimap.io.nifti import make_folder, write_json, write_text
from chimap.quantify import calibration
from chimap.quantify.agents import AGENTS, molar_susceptibility
from chimap.quantify.repeatability import Repeatability, repeatability
from chimap.report.calibration import agreement_figure, calibration_figure

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
_RESULT = {"mean_ppb": "Map", "field_ppb": "Susceptometry"}
_WORDS = {"mean_ppb": "map", "field_ppb": "field, one unknown a vial"}


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
        rows += scan_rows(args, n, out, notes)
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
        lines.append(agreement(again))
    lines += [f"left out: {what}" for what in results[main].left_out]
    write_text(out / "vials.tsv", tables.tsv(rows, _present(rows), digits=6))
    write_json(out / "vials.json", tables.dictionary(_present(rows)))
    write_json(out / "calibration.json", record)
    for k in kinds:
        name = "calibration.svg" if k == main else "calibration_field.svg"
        write_text(out / name, calibration_figure(results[k], rows, k))
    if expected is not None:
        side = settings(args.chi[0]) if args.chi else {}
        facts = {
            "Agent": args.agent,
            "Map": main,
            "FieldStrengths": sorted(set(args.b0 or [])),
            "Pipeline": side,
        }
        write_json(out / "correction.json", calibration.correction(results[main], **facts))
    return [*lines, str(out)]


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


def _present(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """The columns that some row has."""
    return {c: about for c, about in _COLUMNS.items() if any(c in r for r in rows)}
