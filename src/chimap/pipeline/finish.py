"""The end of a reconstruction: methods text, tables, and the record that the report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chimap.io.nifti import write_json, write_text
from chimap.pipeline import lesions, presets, regions, text
from chimap.pipeline.measure import plain
from chimap.pipeline.plan import Result, software
from chimap.pipeline.runner import Runner
from chimap.quantify.asymmetry import asymmetry_rows
from chimap.quantify.iron import CALIBRATIONS, DEFAULT, HALLGREN_DOI


def finish(
    run: Runner, reference: dict[str, Any], table: list[dict[str, Any]], warnings: list[str]
) -> Result:
    """Write methods text and tables, release the arrays, and say what there is."""
    findings = list(run.done["read"].record["findings"])
    sign = run.done["field"].record["phase_sign"]
    if sign:
        findings.append(
            {
                "level": "warning" if sign["warning"] else "ok",
                "topic": "phase sign",
                "what": sign["what"],
                "fix": "Give --phase-sign + or - if that is wrong" if sign["warning"] else "",
            }
        )
    warnings = warnings + [
        f"{f['topic']}: {f['what']}" for f in run.done["read"].record["findings"] if f["level"] == "warning"
    ]
    said = [
        text.StageText(
            stage,
            done.record["method"],
            run.choices[stage].method.summary if stage in run.choices else done.record.get("summary", ""),
            dict(done.record["parameters"]),
            tuple(done.record["references"]),
            " ".join(filter(None, (_refined(done.record), _tuned(done.record)))),
            (run.choices[stage].method.of or "") if stage in run.choices else "",
        )
        for stage, done in run.done.items()
        if stage != "read"
    ]
    extra = [
        f"The reference region of the susceptibility map is: {reference['name']} (mean {1000 * reference['mean_ppm']:.1f} ppb and "
        f"standard deviation {1000 * reference['sd_ppm']:.1f} ppb under whole-brain referencing)."
    ]
    dois: list[str] = []
    if "low R2*" in reference.get("region", ""):
        dois.append("10.1002/mrm.26946")
    if any("iron_mg_kg" in row for row in table):
        line = CALIBRATIONS[DEFAULT]
        extra.append(
            f"Iron of deep grey matter was computed from susceptibility with {line.slope:g} ppb per mg/kg (calibration {line.name}), from "
            "regions without their outer layer of voxels where enough were left, and set against published normal values."
        )
        dois += [line.doi, HALLGREN_DOI]
    paper = presets.load(run.options.preset).get("paper")
    paragraph, citations = text.methods_text(said, run.acq, preset=paper, extra=extra)
    known = {c["doi"] for c in citations}
    citations += [{"doi": d, "text": text.citation(d)} for d in dois if d not in known]
    write_text(run.store.path("_methods", ".md"), text.as_markdown(paragraph, citations))
    if table:
        _write_tables(run, table, reference)
    if "lesions" in run.done:
        record = run.done["lesions"].record
        facts = {**lesions.facts_of(record), "ReferenceRecord": reference}
        found = record["lesions"]
        path = run.store.path("_desc-lesions_Chimap", ".tsv")
        lesions.write_table(path, found, lesions.columns_of(found), facts)
    for done in run.done.values():
        for artifact in done.artifacts.values():
            artifact.drop()
    return Result(
        scan=run.scan,
        store=run.store,
        acq=run.acq,
        affine=run.affine,
        findings=findings,
        done=run.done,
        choices=run.choices,
        inputs=run.inputs,
        reference=reference,
        warnings=warnings,
        regions=table,
        methods_text=paragraph,
        citations=citations,
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        software=software(),
        age_years=run.options.age,
        quality=run.quality,
    )


def _write_tables(run: Runner, table: list[dict[str, Any]], reference: dict[str, Any]) -> None:
    """Regions, and left against right where there are sides, each with its data dictionary."""
    facts: dict[str, Any] = {"ReferenceRecord": reference}
    if any("iron_mg_kg" in row for row in table):
        line = CALIBRATIONS[DEFAULT]
        facts["IronCalibration"] = {"name": line.name, "doi": line.doi, "slope_ppb_per_mg_kg": line.slope}
        facts["NormalIron"] = HALLGREN_DOI
        if run.options.age is not None:
            facts["AgeYears"] = run.options.age
    for name, rows in (("regions", table), ("asymmetry", asymmetry_rows(table))):
        if rows:
            path = run.store.path(f"_desc-{name}_Chimap", ".tsv")
            write_text(path, regions.as_tsv(rows))
            write_json(path.with_suffix(".json"), plain(regions.dictionary(rows, reference["name"], **facts)))


def _tuned(record: Mapping[str, Any]) -> str:
    found = record.get("tuning")
    if not found:
        return ""
    return f"Its {found['parameter']} was chosen by rule {found['rule']} of chimap from {found['runs']} reconstructions."


def _refined(record: Mapping[str, Any]) -> str:
    settings = record.get("refined_by_phase_quality")
    if not settings:
        return ""
    return (
        f"Voxels within {settings['rim_mm']:g} mm of its edge whose phase quality was below "
        f"{settings['threshold']:g} were taken out of it, and holes were filled."
    )
