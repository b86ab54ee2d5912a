"""The tables over all scans, with their data dictionaries; as Parquet too where pyarrow is there."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chimap.cohort.collect import MEASURES, Subject, names_of
from chimap.cohort.outliers import LIMIT, robust_z
from chimap.cohort.regression import design, false_discovery, regress
from chimap.io import tables
from chimap.io.nifti import whole_file, write_json, write_text
from chimap.pipeline.regions import COLUMNS

ENTITIES = ("sub", "ses", "acq", "run")
COVARIATES = ("age", "sex", "group")

Rows = list[dict[str, Any]]
HARMONISED = "mean_ppb_harmonised"

_SHARED: dict[str, tuple[str, str]] = {
    "scan": ("", "Name of the scan"),
    "sub": ("", "Subject"),
    "ses": ("", "Session"),
    "acq": ("", "Acquisition"),
    "run": ("", "Run"),
}


def scan_rows(subjects: Sequence[Subject]) -> Rows:
    """One row a scan: entities, the participant's facts, measures of quality, how many values are outliers."""
    flagged = {(r["scan"], r["region"], r["measure"]) for r in outlier_rows(subjects)}
    people = names_of(s.participant for s in subjects)
    out = []
    for s in subjects:
        row: dict[str, Any] = {"scan": s.name, **{k: s.entities.get(k) for k in ENTITIES}}
        row |= {k: s.participant.get(k) for k in people if k not in row}
        row |= {"reference": s.reference, "regions": len(s.regions)}
        row |= {k: v for k, v in s.measures.items() if k not in row}
        row["outliers"] = sum(name == s.name for name, _, _ in flagged)
        out.append(row)
    return out


def region_rows(subjects: Sequence[Subject]) -> Rows:
    """One row a scan and region, with the robust z-score of its mean among the scans."""
    out: Rows = []
    for name in region_names(subjects):
        rows = [(s, r) for s in subjects for r in s.regions if r["name"] == name]
        scores = robust_z([r["mean_ppb"] for _, r in rows])
        for (s, r), z in zip(rows, scores, strict=True):
            out.append(
                {
                    "scan": s.name,
                    **{k: s.entities.get(k) for k in ENTITIES},
                    **r,
                    "robust_z": None if math.isnan(z) else round(float(z), 2),
                    "outlier": None if math.isnan(z) else int(abs(z) > LIMIT),
                }
            )
    return sorted(out, key=lambda r: (r["scan"], r["label"]))


def wide_rows(subjects: Sequence[Subject]) -> Rows:
    """One row a scan, one column a region with its mean in ppb: what other programs take, such as those for harmonisation."""
    return [
        {
            "scan": s.name,
            **{k: s.entities.get(k) for k in ENTITIES},
            **{r["name"]: r["mean_ppb"] for r in s.regions},
            **{f"{r['name']}_harmonised": r[HARMONISED] for r in s.regions if HARMONISED in r},
        }
        for s in subjects
    ]


def region_names(subjects: Sequence[Subject]) -> list[str]:
    """Names of all regions, in the order of their labels."""
    label = {r["name"]: r["label"] for s in subjects for r in s.regions}
    return sorted(label, key=lambda n: (label[n], n))


def outlier_rows(subjects: Sequence[Subject]) -> Rows:
    """The values far from those of the other scans: regional means and measures of quality."""
    values: list[tuple[str, str, list[float | None]]] = []
    for region in region_names(subjects):
        means = [next((r["mean_ppb"] for r in s.regions if r["name"] == region), None) for s in subjects]
        values.append((region, "mean_ppb", means))
    for measure in names_of(s.measures for s in subjects):
        values.append(("", measure, [s.measures.get(measure) for s in subjects]))
    out = []
    for region, measure, column in values:
        z = robust_z(column)
        known = [v for v in column if v is not None]
        for s, value, score in zip(subjects, column, z, strict=True):
            if abs(score) > LIMIT:
                row = {"scan": s.name, "region": region, "measure": measure, "value": value}
                out.append({**row, "median": float(np.median(known)), "robust_z": round(float(score), 2)})
    return sorted(out, key=lambda r: (r["scan"], -abs(r["robust_z"])))


def regression_rows(
    subjects: Sequence[Subject], covariates: Sequence[str], value: str = "mean_ppb"
) -> tuple[Rows, list[str]]:
    """Regression of each region's mean on the covariates, one value a participant (the mean over the scans); and notes."""
    people = names_of([s.entities.get("sub", "")] for s in subjects)
    facts = [next(s.participant for s in subjects if s.entities.get("sub", "") == p) for p in people]
    columns = design(facts, covariates)
    notes = list(columns.notes)
    out: Rows = []
    for region in region_names(subjects):
        y = []
        for person in people:
            means = [
                r[value] for s in subjects if s.entities.get("sub", "") == person
                for r in s.regions if r["name"] == region and r.get(value) is not None
            ]  # fmt: skip
            y.append(float(np.mean(means)) if means else math.nan)
        for e in regress(np.array(y), columns):
            out.append(
                {
                    "region": region, "term": e.term, "units": e.unit, "participants": e.n, "degrees_of_freedom": e.free,
                    "estimate": e.estimate, "se": e.se, "ci_low": e.low, "ci_high": e.high, "t": e.t, "p": e.p,
                }
            )  # fmt: skip
    for term in names_of([r["term"]] for r in out):
        mine = [r for r in out if r["term"] == term]
        for row, q in zip(mine, false_discovery([r["p"] for r in mine]), strict=True):
            row["p_fdr"] = q
    if columns.names and not out and region_names(subjects):
        notes.append(
            f"no regression: {len(people)} participants are too few for {len(columns.names)} columns, or these depend on one another"
        )
    return out, notes


def write_tables(
    out_dir: Path,
    made: Mapping[str, Rows],
    descriptions: Mapping[str, tuple[str, str]],
    facts: Mapping[str, Any],
) -> list[Path]:
    """``group_<name>.tsv`` with its ``.json`` for each table with rows, and ``.parquet`` where pyarrow is installed."""
    paths = []
    for name, rows in made.items():
        path = out_dir / f"group_{name}.tsv"
        if not rows:
            # A table of an earlier run would be taken for one of this.
            for old in (path, path.with_suffix(".json"), path.with_suffix(".parquet")):
                old.unlink(missing_ok=True)
            continue
        columns = [c for c in names_of(rows) if any(r.get(c) is not None for r in rows)]
        write_text(path, tables.tsv(rows, columns, digits=6))
        about = {c: _about(c, descriptions) for c in columns}
        write_json(path.with_suffix(".json"), {**about, **facts})
        paths.append(path)
        if importlib.util.find_spec("pyarrow") is not None:
            _parquet(path.with_suffix(".parquet"), rows, columns)
    return paths


def _about(column: str, descriptions: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    known = {**_SHARED, **MEASURES, **descriptions}
    if column in known:
        return tables.dictionary({column: known[column]})[column]
    if column in COLUMNS:
        return COLUMNS[column]
    return {"Description": f"{column}, as the scan's own table, its quality file or participants.tsv says"}


def _parquet(path: Path, rows: Rows, columns: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(name: str) -> list[Any]:
        values = [r.get(name) for r in rows]
        if any(isinstance(v, str) for v in values):
            return [None if v is None else str(v) for v in values]
        if any(isinstance(v, float) for v in values):
            return [None if v is None else float(v) for v in values]
        return values

    with whole_file(path) as f:
        pq.write_table(pa.table({c: column(c) for c in columns}), f)
