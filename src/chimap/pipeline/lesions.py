"""Lesions of a scan: found once, as table, data dictionary and label image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chimap import __version__
from chimap.io import tables
from chimap.io.nifti import write_json, write_text
from chimap.pipeline.measure import Measure, append_log, plain, release_memory
from chimap.pipeline.plan import CHI, COMBINED, LESIONS, LOCAL, LOCAL_NOISE, R2STAR
from chimap.pipeline.store import Done, code_sha256, file_sha256, key_of
from chimap.quantify.lesions import Lesion, Lesions, find_lesions

if TYPE_CHECKING:
    from chimap.pipeline.runner import Runner

METHOD = "blobs"
SUMMARY = "Round spots of either sign that are no vessels, each with its magnetic moment."
DOI_BLOBS, DOI_MOMENT, DOI_KIND = (
    "10.1023/A:1008045108935",
    "10.1148/radiol.11110251",
    "10.1371/journal.pone.0057924",
)
SETTINGS: dict[str, Any] = {"diameter_mm": (2.0, 12.0), "contrast_ppb": 200.0}
"""What `chimap run` looks for."""

COLUMNS: dict[str, tuple[str, str]] = {
    "number": ("", "Number in the label image and the figure; by moment, largest first"),
    "kind": ("", "haemorrhage (paramagnetic), calcification (diamagnetic), uncertain (field and map disagree on the sign)"),
    "x": ("mm", "Centre of mass to the right (RAS, as the image's affine has it)"),
    "y": ("mm", "Centre of mass to the front"),
    "z": ("mm", "Centre of mass up"),
    "region": ("", "Nearest labelled region"),
    "region_distance": ("mm", "Distance to it; 0 inside"),
    "contrast": ("ppb", "Peak susceptibility (mean of three voxels) less the median of a ring around the lesion"),
    "mean": ("ppb", "Mean over the region less that median"),
    "background": ("ppb", "That median, relative to the map's reference"),
    "moment": ("ppb mm^3", f"Integral of the susceptibility against the surroundings (total susceptibility, doi:{DOI_MOMENT})"),
    "moment_error": ("ppb mm^3", "Its standard error"),
    "moment_from": ("", "local field: fitted to the field around the lesion; susceptibility: summed over the map"),
    "volume": ("mm^3", "Volume above half of the contrast in susceptibility, which does not bloom as signal loss does"),
    "diameter": ("mm", "Diameter of a ball of that volume"),
    "dark_volume": ("mm^3", "Volume as R2* (or magnitude) shows it, blooming included"),
    "elongation": ("", "Longest axis over the mean of the others"),
    "roundness": ("", "Least curvature over the mean of the others: 1 a ball, 0 a tube"),
    "r2star_contrast": ("1/s", "Peak R2* less the median around"),
    "hint": ("", "Stages of haemorrhage whose published range (doi:10.1002/jmri.25143) holds the contrast. A hint, no diagnosis"),
}  # fmt: skip
"""Name to unit and description; files leave out columns that no lesion has a value for."""


def find_in_run(run: Runner, labels: tuple[np.ndarray, dict[int, str]] | None) -> Done:
    """The lesions of a scan whose map is referenced: from the disk where nothing changed, else found now.

    Parameters
    ----------
    run : Runner
        With the stage ``reference`` done; local field, its noise, R2* and magnitude are used as far as there are any.
    labels : (array, names), optional
        Label image on the scan's grid, for the nearest region.

    Returns
    -------
    Done
        Its record has ``lesions`` (rows of the table), ``left_out`` and ``rejected``.
    """
    artifacts = {
        "chi": run.done["reference"][CHI.suffix],
        "mask": run.valid,
        "local_field": _artifact(run, "background", LOCAL.suffix),
        "noise": _artifact(run, "background", LOCAL_NOISE.suffix),
        "r2star": _artifact(run, "r2star", R2STAR.suffix),
    }
    if artifacts["r2star"] is None:
        artifacts["magnitude"] = _artifact(run, "read", COMBINED.suffix)
    known = {name: a for name, a in artifacts.items() if a is not None}
    needs: dict[str, Any] = {name: a.sha256 for name, a in known.items()}
    if labels is not None:
        needs["labels"] = file_sha256(run.options.labels)  # type: ignore[arg-type]
        needs["names"] = labels[1]
    key = key_of(
        stage="lesions",
        parameters=SETTINGS,
        inputs=needs,
        acquisition=run.done["read"].record["acquisition"],
        version=__version__,
        code=code_sha256("chimap.quantify", "chimap.registry", "chimap.pipeline.lesions"),
    )
    found = run.store.find("lesions", key, LESIONS.suffix)
    if found is not None:
        run.taken_over("lesions", METHOD)
        run.done["lesions"] = found
        return found
    release_memory()
    with run.console.stage("lesions", METHOD) as bar:
        with Measure(bar) as measure:
            result = find_lesions(
                **{name: a.get() for name, a in known.items()},
                acq=run.acq,
                regions=None if labels is None else labels[0],
                names=None if labels is None else labels[1],
                affine=run.affine,
                diameter_mm=SETTINGS["diameter_mm"],
                contrast_ppm=SETTINGS["contrast_ppb"] / 1000,
                progress=measure.progress,
            )
        log = measure.record("lesions", METHOD)
        record = {
            **log,
            "summary": SUMMARY,
            "parameters": SETTINGS,
            "references": [DOI_BLOBS, DOI_MOMENT, DOI_KIND],
            "inputs": needs,
            "lesions": [row(lesion) for lesion in result.found],
            **about(result),
        }
        sidecar = {"Sources": [i["file"] for i in run.inputs]}
        done = run.store.save(
            "lesions", key, (LESIONS,), {LESIONS.suffix: result.labels}, run.affine, record, sidecar
        )
    append_log(run.log_json, {"scan": run.store.name, **log, "parameters": plain(SETTINGS)})
    for artifact in (*known.values(), *done.artifacts.values()):
        artifact.drop()
    run.done["lesions"] = done
    return done


def _artifact(run: Runner, stage: str, suffix: str) -> Any:
    done = run.done.get(stage)
    return None if done is None else done.get(suffix)


def about(result: Lesions) -> dict[str, Any]:
    """What was left out for want of an input, and how many other spots were rejected, by reason."""
    return {
        "left_out": list(result.left_out),
        "rejected": dict(Counter(reason for _, _, reason in result.rejected)),
    }


def row(lesion: Lesion) -> dict[str, Any]:
    """A lesion as a row of the table: ppb, mm; without the keys that nothing is known for."""
    x, y, z = lesion.position_mm if lesion.position_mm else (math.nan,) * 3
    values = {
        "number": lesion.number,
        "kind": lesion.kind,
        "x": round(x, 1),
        "y": round(y, 1),
        "z": round(z, 1),
        "region": lesion.region,
        "region_distance": round(lesion.region_distance_mm, 1),
        "contrast": round(1000 * lesion.contrast_ppm, 1),
        "mean": round(1000 * lesion.mean_ppm, 1),
        "background": round(1000 * lesion.background_ppm, 1),
        "moment": round(1000 * lesion.moment, 0),
        "moment_error": round(1000 * lesion.moment_error, 0),
        "moment_from": lesion.moment_from,
        "volume": round(lesion.volume_mm3, 1),
        "diameter": round(lesion.diameter_mm, 2),
        "dark_volume": round(lesion.dark_volume_mm3, 1),
        "elongation": round(lesion.elongation, 2),
        "roundness": round(lesion.roundness, 2),
        "r2star_contrast": round(lesion.r2star_contrast, 1),
        "hint": lesion.hint,
    }
    return {k: v for k, v in values.items() if not _empty(v)}


def _empty(value: Any) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """The columns that some lesion has a value for; all where there is no lesion."""
    return {c: text for c, text in COLUMNS.items() if not rows or any(c in r for r in rows)}


def write_table(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, tuple[str, str]],
    facts: Mapping[str, Any],
) -> None:
    """A table with tabs, n/a for what is not known, and beside it its data dictionary with these facts."""
    known = [{k: v for k, v in r.items() if not _empty(v)} for r in rows]
    write_text(path, tables.tsv(known, columns))
    write_json(path.with_suffix(".json"), plain({**tables.dictionary(columns), **facts}))


def facts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the data dictionary says besides the columns."""
    return {
        "LeftOut": record["left_out"],
        "RejectedSpots": record["rejected"],
        "Settings": record["parameters"],
    }
