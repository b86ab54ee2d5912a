"""The report over all scans: one HTML file that loads nothing from anywhere and leads to the scans' reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from chimap import __version__
from chimap.cohort.charts import Dot, strip_chart
from chimap.cohort.collect import MEASURES, Subject, names_of
from chimap.cohort.outliers import LEAST, LIMIT, robust_z
from chimap.cohort.tables import Rows, region_names
from chimap.io.nifti import write_text
from chimap.report.html import number, show

_MOST_MEASURES = 40
_SQUEEZE = 4.0


def write_group_report(
    path: Path,
    subjects: Sequence[Subject],
    tables: Mapping[str, Rows],
    *,
    notes: Sequence[str] = (),
    files_written: Sequence[Path] = (),
) -> Path:
    """Write the report. The same scans give the same bytes."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chimap.cohort"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(show=show, number=number, link=quote)
    style = files("chimap.report").joinpath("templates", "report.css").read_text("utf-8")
    return write_text(
        path,
        environment.get_template("group.html").render(
            version=__version__,
            style=Markup(style),
            subjects=subjects,
            people=len({s.entities.get("sub") for s in subjects}),
            references=sorted({s.reference for s in subjects}),
            recipes=len({s.recipe for s in subjects}),
            without_regions=[s.name for s in subjects if not s.regions],
            notes=list(notes),
            regions=[Markup(svg) for svg in _regions(subjects)],
            measures=[(name, unit, about, Markup(svg)) for name, unit, about, svg in _measures(subjects)],
            outliers=tables["outliers"],
            count={r["scan"]: r["outliers"] for r in tables["scans"]},
            regression=tables["regression"],
            terms=names_of([r["term"]] for r in tables["regression"]),
            files=[p.name for p in files_written],
            limit=LIMIT,
            least=LEAST,
        ),
    )


def _regions(subjects: Sequence[Subject]) -> list[str]:
    """One chart of all regions on one axis; regions that would squeeze the others (calcifications, bone) in a second one."""
    rows: list[tuple[str, list[Dot]]] = []
    for region in region_names(subjects):
        pairs = [(s, next((r["mean_ppb"] for r in s.regions if r["name"] == region), None)) for s in subjects]
        dots = _dots([(s, v) for s, v in pairs if v is not None])
        if dots:
            rows.append((region, dots))
    reach = [max(abs(d.value) for d in dots) for _, dots in rows]
    limit = _SQUEEZE * float(np.median(reach)) if reach else 0.0
    usual = [row for row, r in zip(rows, reach, strict=True) if r <= limit]
    others = [row for row, r in zip(rows, reach, strict=True) if r > limit]
    title = "Mean susceptibility of each region in ppb, one dot a scan"
    return [strip_chart(part, "ppb", title) for part in (usual, others) if part]


def _measures(subjects: Sequence[Subject]) -> list[tuple[str, str, str, str]]:
    out = []
    for name in names_of(s.measures for s in subjects)[:_MOST_MEASURES]:
        known = [(s, s.measures[name]) for s in subjects if name in s.measures]
        unit, about = MEASURES.get(name, ("", ""))
        out.append((name, unit, about, strip_chart([(name, _dots(known))], unit, f"{name}, one dot a scan")))
    return out


def _dots(pairs: Sequence[tuple[Subject, float]]) -> list[Dot]:
    scores = robust_z([v for _, v in pairs])
    return [
        Dot(s.name, float(v), quote(s.report), bool(abs(z) > LIMIT))
        for (s, v), z in zip(pairs, scores, strict=True)
    ]
