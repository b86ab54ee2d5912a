"""`chimap calibrate apply`: a map times the factor of a calibration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from chimap.cli import _stage
from chimap.errors import InputError
from chimap.io.sidecar import read_json
from chimap.quantify import calibration


def apply(args: argparse.Namespace, out: Path) -> list[str]:
    """A map times the calibration's factor, with both in the sidecar."""
    _stage.check_output(str(out))
    if not args.chi or len(args.chi) != 1 or not args.calibration:
        raise InputError("apply takes one map and a calibration", fix="Give --chi and --calibration")
    path = args.chi[0]
    record = read_json(Path(args.calibration))
    chi = _stage.read(path)
    mask = _stage.read_mask(args.mask[0], (path, chi.shape)) if args.mask else np.isfinite(chi) & (chi != 0)
    side = _sidecar(path)
    if "CalibrationFactor" in side:
        raise InputError(
            f"this map has been calibrated already (factor {side['CalibrationFactor']:g})",
            file=path,
            fix="Give the original map",
        )
    result, facts = calibration.apply_correction(chi, mask, record)
    lines = [f"factor {facts['CalibrationFactor']:.4f}"]
    made, own = record.get("Pipeline") or {}, settings(path)
    same = made == own if made and own else None
    if not same:
        how = "are not" if same is False else "are not known to be"
        lines.append(
            f"note: the map's methods and settings {how} those of the calibration; a factor holds for those it was found with"
        )
    facts["CalibrationPipelineMatches"] = same
    _stage.save(str(out), result, path, "calibrated susceptibility [ppm]")
    _stage.note_sidecar(
        str(out),
        {**side, "Units": "ppm", "Calibration": str(args.calibration), "Uncalibrated": path, **facts},
    )
    return [*lines, str(out)]


def settings(path: str) -> dict[str, Any]:
    """Method and parameters of each stage, from the sidecars of the reconstruction that a map belongs to."""
    name = Path(path).name.removesuffix(".gz").removesuffix(".nii")
    scan = name.split("_desc-")[0].rpartition("_")[0] if "_" in name else name
    out: dict[str, Any] = {}
    for side in sorted(Path(path).parent.glob(f"{scan}*.json")):
        record = read_json(side).get("Chimap")
        if isinstance(record, dict) and record.get("stage") in ("field", "background", "inversion"):
            out[record["stage"]] = {k: record.get(k) for k in ("method", "parameters", "version")}
    return out


def _sidecar(path: str) -> dict[str, Any]:
    side = Path(path.removesuffix(".gz").removesuffix(".nii") + ".json")
    return read_json(side) if side.is_file() else {}
