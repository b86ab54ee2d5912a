"""`chimap calibrate retest`: the agreement of repeated scans."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from chimap.cli import _stage
from chimap.cli._calibration_scan import one, read_table
from chimap.errors import InputError, OutputError
from chimap.io import tables
from chimap.io.nifti import make_folder, write_json, write_text
from chimap.io.whole import whole_numbers
from chimap.quantify.repeatability import Repeatability, repeatability
from chimap.report.calibration import agreement_figure


def retest(args: argparse.Namespace, out: Path) -> list[str]:
    """Agreement of repeated scans, of maps with regions or of a table."""
    names, values = _retest_table(args) if args.table else _retest_maps(args)
    found = repeatability(values)
    if out.is_file():
        raise OutputError("this is a file; a folder is expected", file=out)
    make_folder(out)
    scans = [f"scan_{n + 1}" for n in range(values.shape[1])]
    rows = [{"name": n, **dict(zip(scans, map(float, v))), **_spread(v)} for n, v in zip(names, values)]
    text = tables.tsv(rows, ["name", *scans, *_SPREAD], digits=6)
    write_text(out / "repeatability.tsv", text)
    columns = {
        f"scan_{n + 1}": {"Description": f"value in scan {n + 1}", "Units": "ppb"}
        for n in range(values.shape[1])
    }
    write_json(
        out / "repeatability_columns.json",
        {"name": {"Description": "region, vial or subject"}, **columns, **_SPREAD},
    )
    write_json(out / "repeatability.json", {"Units": "ppb (CV in percent)", **found.to_dict()})
    write_text(out / "repeatability.svg", agreement_figure(found))
    return [agreement(found), str(out)]


_SPREAD = {
    "mean": {"Description": "mean of the scans", "Units": "ppb"},
    "within_sd": {"Description": "standard deviation between the scans of this row", "Units": "ppb"},
    "repeatability": {
        "Description": "2.77 within_sd: two scans of this row differ by less in 95 % of cases; from few scans a rough guess",
        "Units": "ppb",
    },
}


def _spread(values: np.ndarray) -> dict[str, float]:
    """What the scans of one row say of it by themselves."""
    sd = float(values.std(ddof=1))
    return {"mean": float(values.mean()), "within_sd": sd, "repeatability": 1.959964 * 2**0.5 * sd}


def _retest_table(args: argparse.Namespace) -> tuple[list[str], np.ndarray]:
    table = read_table(args.table)
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
        labels = whole_numbers(_stage.read(one(args.labels, n), (path, chi.shape)), one(args.labels, n))
        if args.mask:
            mask = _stage.read_mask(one(args.mask, n), (path, chi.shape))
        else:
            mask = np.isfinite(chi) & (chi != 0)
        chi = _stage.finite(chi, mask & (labels > 0), path)
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


def agreement(r: Repeatability) -> str:
    cv = "not given (values near 0)" if r.within_cv is None else f"{r.within_cv:.2f} %"
    return (
        f"repeated scans: bias {r.bias:+.2f} ppb, limits of agreement {r.limits[0]:.2f} to {r.limits[1]:.2f} ppb, "
        f"ICC(2,1) {r.icc21:.4f} ({r.icc21_ci[0]:.4f} to {r.icc21_ci[1]:.4f}), ICC(3,1) {r.icc31:.4f}, "
        f"within-subject SD {r.within_sd:.2f} ppb, repeatability coefficient {r.repeatability:.2f} ppb, CV {cv}"
    )
