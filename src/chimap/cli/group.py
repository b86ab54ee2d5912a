"""Tables and a report over all scans that `chimap run` has finished in an output folder.

  chimap run BIDS_DIR OUT_DIR group
  chimap group OUT_DIR --participants participants.tsv --covariates age sex

Writes group_scans, group_regions, group_wide, group_outliers, group_regression and, with --harmonise, group_harmonisation (TSV with a JSON data dictionary; Parquet too where
pyarrow is installed) and group_report.html into OUT_DIR. Scans that are not finished are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from chimap.errors import InputError

SUMMARY = "tables, outliers, regressions and a report over all scans of a run"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("output", metavar="OUT", type=Path, help="the folder that chimap run has written")
    parser.add_argument(
        "--participants",
        type=Path,
        metavar="TSV",
        help="participants.tsv with age, sex, group ... (default: none; chimap run BIDS OUT group takes that of BIDS)",
    )
    parser.add_argument(
        "--covariates",
        nargs="+",
        metavar="NAME",
        help="columns of it for the regression (default: age, sex and group, those that are there)",
    )
    parser.add_argument(
        "--harmonise",
        metavar="COLUMN",
        help="column of it, such as site: differences between its values are taken out of regional means by ComBat, effects of the covariates "
        "kept (Johnson 2007, doi:10.1093/biostatistics/kxj037)",
    )


def run(args: argparse.Namespace) -> int:
    """Collect, count, write."""
    return make_group(
        args.output, participants=args.participants, covariates=args.covariates, harmonise=args.harmonise
    )


def make_group(
    out_dir: Path,
    *,
    bids: Path | None = None,
    participants: Path | None = None,
    covariates: Sequence[str] | None = None,
    harmonise: str | None = None,
) -> int:
    """Write tables and report over all scans in `out_dir`. Returns the exit status."""
    from chimap.cli._scans import write_index
    from chimap.cohort import tables
    from chimap.cohort.collect import collect
    from chimap.cohort.harmonise import harmonise as combat
    from chimap.cohort.outliers import LIMIT
    from chimap.cohort.report import write_group_report
    from chimap.io import bids_select
    from chimap.io.bids import root_of

    if not out_dir.is_dir():
        raise InputError(
            "there is no such folder", file=out_dir, fix="Run chimap run BIDS OUT participant before"
        )
    if participants is None and bids is not None:
        if not bids.is_dir():
            raise InputError("there is no such folder", file=bids, fix="Check the path")
        beside = root_of(bids.resolve()) / "participants.tsv"
        participants = beside if beside.is_file() else None
    subjects = collect(out_dir)
    notes = []
    if participants is not None:
        people = bids_select.participants(participants)
        for s in subjects:
            s.participant = people.get(s.entities.get("sub", ""), {})
        absent = sorted({s.entities.get("sub", s.name) for s in subjects if not s.participant})
        if absent:
            notes.append(f"not in {participants.name}, or without values there: {', '.join(absent)}")
    have = {k for s in subjects for k in s.participant}
    for flag, names in (
        ("--covariates", covariates or ()),
        ("--harmonise", (harmonise,) if harmonise else ()),
    ):
        missing = [c for c in names if c not in have]
        if missing:
            known = ", ".join(sorted(have)) or "none"
            raise InputError(
                f"{flag}: no participant has {', '.join(missing)}",
                file=participants,
                fix=f"There is: {known}",
            )
    wanted = list(covariates or [c for c in tables.COVARIATES if c in have])
    taken_off: tables.Rows = []
    if harmonise:
        taken_off, said = combat(subjects, harmonise, wanted)
        notes += said
    measured = not any(tables.HARMONISED in r for s in subjects for r in s.regions)
    regression, told = tables.regression_rows(subjects, wanted, "mean_ppb" if measured else tables.HARMONISED)
    made = {
        "scans": tables.scan_rows(subjects),
        "regions": tables.region_rows(subjects),
        "wide": tables.wide_rows(subjects) if any(s.regions for s in subjects) else [],
        "outliers": tables.outlier_rows(subjects),
        "regression": regression,
        "harmonisation": taken_off,
    }
    facts = {
        "Reference": ", ".join(sorted({s.reference for s in subjects})),
        "OutlierRule": f"robust z = (value - median) / (1.4826 MAD) beyond {LIMIT:g}",
    }
    written = tables.write_tables(out_dir, made, _DESCRIPTIONS, facts)
    report = write_group_report(
        out_dir / "group_report.html", subjects, made, notes=[*notes, *told], files_written=written
    )
    write_index(out_dir)
    print(f"{len(subjects)} scans, {len(made['outliers'])} outliers: {report}")
    return 0


_DESCRIPTIONS: dict[str, tuple[str, str]] = {
    "mean_ppb_harmonised": (
        "ppb",
        "mean_ppb without the differences between sites (ComBat), covariates kept",
    ),
    "site": ("", "Value of the column that --harmonise names"),
    "scans": ("", "Scans of the site with a value of the region"),
    "shift_ppb": ("ppb", "What was taken off the region's mean at the site"),
    "scale": (
        "",
        "By what deviations from the model were divided: above 1 where the site's values spread more",
    ),
    "reference": ("", "Reference region of the susceptibility map"),
    "regions": ("", "Regions in the scan's table"),
    "outliers": ("", "Values of this scan that are outliers"),
    "robust_z": ("", "Distance from the median of all scans in robust standard deviations (1.4826 MAD)"),
    "outlier": ("", "1: an outlier among the scans, 0: not; n/a where that cannot be judged"),
    "region": ("", "Region; n/a for a measure of the whole scan"),
    "measure": ("", "What the value is"),
    "value": ("", "The value that lies far from the others, in the units of its own table"),
    "median": ("", "Median over all scans, in the same units"),
    "term": ("", "Covariate; of two levels, the first minus the second"),
    "units": ("", "Units of estimate, se and interval"),
    "participants": ("", "Participants in the regression"),
    "degrees_of_freedom": ("", "Participants less the columns and the intercept"),
    "estimate": ("", "Effect on the mean susceptibility of the region, by ordinary least squares"),
    "se": ("", "Its standard error"),
    "ci_low": ("", "Lower end of its 95 % confidence interval"),
    "ci_high": ("", "Upper end of its 95 % confidence interval"),
    "t": ("", "Estimate over standard error"),
    "p": ("", "Two-sided p-value"),
    "p_fdr": ("", "p adjusted over the regions for the false discovery rate (Benjamini and Hochberg)"),
}
