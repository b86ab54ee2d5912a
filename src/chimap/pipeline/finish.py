"""The end of a reconstruction: methods text, region table, and the record that the report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chimap.io.nifti import write_text
from chimap.pipeline import presets, regions, text
from chimap.pipeline.plan import Result, software
from chimap.pipeline.runner import Runner


def finish(
    run: Runner, reference: dict[str, Any], table: list[dict[str, Any]], warnings: list[str]
) -> Result:
    """Write methods text and region table, release the arrays, and say what there is."""
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
            run.choices[stage].method.summary if stage in run.choices else "",
            dict(done.record["parameters"]),
            tuple(done.record["references"]),
            " ".join(filter(None, (_refined(done.record), _tuned(done.record)))),
            (run.choices[stage].method.of or "") if stage in run.choices else "",
        )
        for stage, done in run.done.items()
        if stage != "read"
    ]
    extra = [f"The reference region of the susceptibility map is: {reference['name']}."]
    paper = presets.load(run.options.preset).get("paper")
    paragraph, citations = text.methods_text(said, run.acq, preset=paper, extra=extra)
    write_text(run.store.path("_methods", ".md"), text.as_markdown(paragraph, citations))
    if table:
        write_text(run.store.path("_desc-regions_Chimap", ".tsv"), regions.as_tsv(table))
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
    )


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
