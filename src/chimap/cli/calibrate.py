"""Calibration with a phantom of known concentrations, its correction, and agreement of repeated scans.

chimap calibrate fit OUT --chi C.nii.gz --magnitude M.nii.gz --concentrations 0.25 0.5 1 2 --agent gadolinium
chimap calibrate fit OUT --chi A.nii.gz B.nii.gz --labels V.nii.gz --vials vials.tsv --b0 1.5 3 --molar 0.338
chimap calibrate apply OUT.nii.gz --chi C.nii.gz --mask M.nii.gz --calibration OUT/correction.json
chimap calibrate retest OUT --chi A.nii.gz B.nii.gz --labels REGIONS.nii.gz
chimap calibrate retest OUT --table values.tsv

fit writes vials.tsv, calibration.json, calibration.svg, the labels it used, and correction.json where the molar susceptibility
is known. With --field (total field) it also inverts the field with one unknown a vial, which loses no contrast.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from chimap.errors import InputError

SUMMARY = "phantom of known concentrations: slope, linearity, correction; repeated scans"

# Flags that belong to some of the actions only, by action.
_ONLY = {
    "fit": {
        "magnitude",
        "vials",
        "concentrations",
        "agent",
        "molar",
        "temperature",
        "angle",
        "field",
        "diameter",
    }
    | {"length", "scale_sd", "erode", "count", "vial_diameter", "method_background"},
    "apply": {"calibration"},
    "retest": {"table"},
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    add = parser.add_argument
    add("action", choices=list(_ONLY), help="what to do")
    add("output", metavar="OUT", help="folder of the results; for apply the corrected map")
    add("--chi", nargs="+", metavar="NII", help="susceptibility in ppm, one file a scan")
    add(
        "--mask",
        nargs="+",
        metavar="NII",
        help="where the maps are valid (default: from the magnitude, else not 0)",
    )
    add(
        "--labels",
        nargs="+",
        metavar="NII",
        help="numbers of the vials or regions: one file for all, or one a scan",
    )
    add("--b0", type=float, nargs="+", metavar="T", help="field strength of each scan")
    add(
        "--b0-dir",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="B0 along the voxel axes, for --field (default: header)",
    )
    group = parser.add_argument_group("fit: the phantom")
    add = group.add_argument
    add("--magnitude", nargs="+", metavar="NII", help="magnitude of each scan, in which the vials are found")
    add("--count", type=int, metavar="N", help="number of vials (default: that of the concentrations)")
    add(
        "--vial-diameter",
        type=float,
        nargs=2,
        default=None,
        metavar=("MIN", "MAX"),
        help="outer diameters to look for in mm (default: 5 45)",
    )
    add("--concentrations", type=float, nargs="+", metavar="C", help="mmol/L of labels 1, 2, ...; of vials that were found in any order: "
        "they are given out by rank of susceptibility")  # fmt: skip
    add(
        "--vials",
        metavar="TSV",
        help="table with concentration_mm and label, or x_mm y_mm z_mm as fit writes them (the nearest vial)",
    )
    add(
        "--agent",
        metavar="NAME",
        help="gadolinium, manganese or ferritin, for the known molar susceptibility",
    )
    add(
        "--molar",
        type=float,
        metavar="PPM",
        help="known susceptibility in ppm per mmol/L (SI), instead of --agent",
    )
    add(
        "--temperature",
        type=float,
        default=None,
        metavar="C",
        help="of the phantom in degrees Celsius (default 20)",
    )
    add(
        "--scale-sd",
        type=float,
        default=None,
        metavar="F",
        help="relative uncertainty shared by all concentrations (default 0.02)",
    )
    add(
        "--erode",
        type=float,
        default=None,
        metavar="MM",
        help="of a vial, left out at its surface (default 2)",
    )
    add(
        "--angle",
        type=float,
        nargs="+",
        metavar="DEG",
        help="angle of the vials to B0 in each scan (default: from the headers)",
    )
    group = parser.add_argument_group("fit: inversion with one unknown a vial")
    add = group.add_argument
    add("--field", nargs="+", metavar="NII", help="total field in ppm of each scan (needs --mask)")
    add("--diameter", type=float, metavar="MM", help="inner diameter of the vials (default: as found)")
    add("--length", type=float, metavar="MM", help="length of the vials' content (default: as found)")
    add(
        "--method-background",
        metavar="NAME",
        help="background field removal of field and model alike (default: lbv)",
    )
    group = parser.add_argument_group("apply and retest")
    group.add_argument("--calibration", metavar="JSON", help="apply: correction.json")
    group.add_argument(
        "--table", metavar="TSV", help="retest: one row a region or subject, one column of numbers a scan"
    )


def run(args: argparse.Namespace) -> int:
    """Do one of the three."""
    from chimap.cli._calibration_apply import apply
    from chimap.cli._calibration_fit import fit
    from chimap.cli._calibration_retest import retest

    for action, names in _ONLY.items():
        given = [n for n in sorted(names) if getattr(args, n) is not None]
        if action != args.action and given:
            flag = "--" + given[0].replace("_", "-")
            raise InputError(
                f"{flag} belongs to chimap calibrate {action}, not {args.action}", fix="Leave it out"
            )
    lines = {"fit": fit, "apply": apply, "retest": retest}[args.action](args, Path(args.output))
    print("\n".join(lines))
    return 0
