"""The report's records from a finished reconstruction."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from chimap import __version__
from chimap.cli._report_extra import raw_of, with_extra
from chimap.cli._scans import facts
from chimap.pipeline import plan as r
from chimap.pipeline.plan import Result
from chimap.quantify.asymmetry import asymmetry_rows
from chimap.quantify.iron import CALIBRATIONS, DEFAULT, LIMITS, said_of
from chimap.report import MapItem, ReportData, StageItem
from chimap.report.lesions import lesion_figure
from chimap.report.quality import quality_rows


def report_data(result: Result, command: str = "") -> ReportData:
    """Everything that the report says; reads the scan and the maps from the disk."""
    raw = raw_of(result)
    masks = {
        "brain": _array(result, "mask", r.BRAIN),
        "valid": _valid(result),
        "lesions": _lesion_mask(result),
    }
    data = ReportData(
        title="Quantitative susceptibility mapping",
        subject=result.store.name,
        command=shareable(command, result.store.folder),
        version=__version__,
        affine=result.affine,
        voxel_size_mm=result.acq.voxel_size_mm,
        created=result.created,
        software=result.software,
        acquisition=acquisition(result),
        inputs=result.inputs,
        findings=result.findings,
        warnings=result.warnings,
        maps=list(maps(result)),
        masks={k: v for k, v in masks.items() if v is not None},
        stages=[stage_item(result, s) for s in result.done if s != "read"],
        regions=result.regions,
        asymmetry=asymmetry_rows(result.regions),
        iron=iron_facts(result),
        lesions=lesion_facts(result),
        reference=reference(result),
        quality=quality_rows(result.quality),
        methods_text=result.methods_text,
        citations=result.citations,
    )
    return with_extra(data, result, raw)


def shareable(command: str, folder: Path) -> str:
    """The command without the folders of this machine, whose names may be those of persons: OUT for the one that holds
    `folder`, INPUT for the first other one, file names for the rest.
    """
    words = []
    inputs = 0
    for word in shlex.split(command):
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        path = Path(value)
        if value in ("participant", "group") or not (path.is_dir() or "/" in value):
            words.append(word)
            continue
        if folder.resolve().is_relative_to(path.resolve()):
            name = "OUT"
        elif path.is_dir() and not inputs:
            name, inputs = "INPUT", 1
        else:
            name = path.name
        words.append(f"{flag}{equals}{name}")
    return shlex.join(words)


def acquisition(result: Result) -> dict[str, Any]:
    """Label and value of what is known about the measurement."""
    acq = result.acq
    out: dict[str, Any] = {
        "Field strength": f"{acq.b0_t:.4g} T",
        "Echo times": ", ".join(f"{1000 * t:.4g}" for t in acq.te_s) + " ms",
        "Voxel size": " x ".join(f"{v:.4g}" for v in acq.voxel_size_mm) + " mm",
        "B0 direction (voxel axes)": ", ".join(f"{v:.3f}" for v in acq.b0_dir),
    }
    for name, value in result.scan.metadata.items():
        if isinstance(value, str | int | float) and str(value).strip():
            out[name] = value
    return out


def maps(result: Result) -> list[MapItem]:
    """The pictures in the order of the stages."""
    valid = _valid(result)
    brain = _array(result, "mask", r.BRAIN)
    plan: list[tuple[str, str, str, str, r.Output, dict[str, Any]]] = [
        (
            "magnitude",
            "Magnitude",
            "",
            "input",
            r.COMBINED,
            {"caption": "Root sum of squares over the echoes."},
        ),
        (
            "mask",
            "Brain mask",
            "",
            "mask",
            r.COMBINED,
            {"outline_mask": brain, "show_in_viewer": False, "caption": "Outline over the magnitude."},
        ),
        ("total", "Total field", "ppm", "field", r.TOTAL, {"outline_mask": brain}),
        (
            "noise",
            "Noise of the total field",
            "ppm",
            "field",
            r.NOISE,
            {"outline_mask": brain, "show_in_viewer": False},
        ),
        (
            "excluded",
            "Voxels without a usable field",
            "",
            "field",
            r.EXCLUDED,
            {"outline_mask": brain, "colormap": "labels", "caption": excluded_caption(result)},
        ),
        ("r2star", "R2*", "1/s", "r2star", r.R2STAR, {"outline_mask": brain}),
        (
            "local",
            "Local field",
            "ppm",
            "background",
            r.LOCAL,
            {"window": (-0.05, 0.05), "outline_mask": valid},
        ),
        (
            "chi-unreferenced",
            "Susceptibility before referencing",
            "ppm",
            "inversion",
            r.RAW_CHI,
            {"window": (-0.1, 0.2), "outline_mask": valid, "show_in_viewer": False},
        ),
        ("chi", "Susceptibility", "ppm", "reference", r.CHI, {"window": (-0.1, 0.2), "outline_mask": valid}),
    ]
    out = []
    for key, title, unit, stage, output, more in plan:
        volume = _array(result, "read" if stage in ("input", "mask") else stage, output)
        if volume is not None:
            out.append(MapItem(key=key, title=title, unit=unit, volume=volume, stage=stage, **more))
    return out


def excluded_caption(result: Result) -> str:
    """The reasons with their numbers of voxels, and what became of these voxels."""
    about = result.done["field"].record.get("excluded")
    if not about:
        return ""
    numbers = {name: int(label) for label, name in about["labels"].items()}
    said = [f"{name} (label {numbers[name]}): {count}" for name, count in about["voxels"].items()]
    if not said:
        return "No voxel of the mask is lost."
    return (
        f"{100 * about['share']:.2f} % of the mask ({100 * about['rim_share']:.2f} % at its rim). "
        f"Voxels by reason: {'; '.join(said)}. They stay in the mask with the small weight that their noise gives them."
    )


def stage_item(result: Result, stage: str) -> StageItem:
    """How a stage ran."""
    done = result.done[stage]
    record = done.record
    choice = result.choices.get(stage)
    return StageItem(
        stage=stage,
        method=record["method"],
        summary=choice.method.summary
        if choice
        else record.get("summary") or "The mask that was given, used as it is.",
        seconds=float(record.get("seconds") or 0.0),
        compile_seconds=float(record.get("compile_seconds") or 0.0),
        peak_memory_mb=float(record.get("peak_memory_mb") or 0.0),
        parameters=record["parameters"],
        facts=facts(record),
        references=tuple(record["references"]),
        resumed=done.resumed,
    )


def iron_facts(result: Result) -> dict[str, Any]:
    """What the iron of the regions rests on; {} where no region has any."""
    if not any("iron_mg_kg" in row for row in result.regions):
        return {}
    line = CALIBRATIONS[DEFAULT]
    return {
        "calibration": said_of(line, result.reference.get("name", "")),
        "limits": LIMITS,
        "age_years": result.age_years,
    }


def lesion_facts(result: Result) -> dict[str, Any]:
    """Lesions with their figure; {} where nobody looked for them."""
    if "lesions" not in result.done:
        return {}
    record = result.done["lesions"].record
    low, high = record["parameters"]["diameter_mm"]
    chi, labels = _array(result, "reference", r.CHI), _array(result, "lesions", r.LESIONS)
    assert chi is not None and labels is not None
    kinds = {row["number"]: row["kind"] for row in record["lesions"]}
    return {
        "method": f"Spots of {low:g} to {high:g} mm that differ from their surroundings by {record['parameters']['contrast_ppb']:g} ppb "
        "or more (two thirds of it where R2* has a spot too) and are no vessels.",
        "rows": record["lesions"],
        "left_out": record["left_out"],
        "rejected": record["rejected"],
        "png": lesion_figure(chi, labels, kinds, result.affine, mask=_valid(result)),
    }


def reference(result: Result) -> dict[str, Any]:
    """The reference region with its values in ppb."""
    out: dict[str, Any] = {"name": result.reference.get("name", "")}
    for key in ("mean", "sd"):
        value = result.reference.get(f"{key}_ppm", result.reference.get(key))
        if value is not None:
            out[f"{key}_ppb"] = 1000 * float(value)
    if result.reference.get("voxels") is not None:
        out["voxels"] = int(result.reference["voxels"])
    return out


def _valid(result: Result) -> np.ndarray | None:
    """Where the map is valid: the brain where no background stage ran."""
    valid = _array(result, "background", r.VALID)
    return _array(result, "mask", r.BRAIN) if valid is None else valid


def _lesion_mask(result: Result) -> np.ndarray | None:
    """Where lesions are, for the viewer; None without any."""
    labels = _array(result, "lesions", r.LESIONS)
    return None if labels is None or not labels.any() else labels > 0


def _array(result: Result, stage: str, output: r.Output) -> np.ndarray | None:
    done = result.done.get(stage)
    artifact = None if done is None else done.get(output.suffix)
    if artifact is None:
        return None
    array = artifact.get()
    artifact.drop()
    return array
