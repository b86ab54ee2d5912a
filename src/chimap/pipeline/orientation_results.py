"""What several head orientations leave: outputs, the record of a result, and the table of the orientations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chimap.io import tables
from chimap.io.nifti import write_json, write_text
from chimap.orientation.conditioning import Conditioning, posture, tilt_of
from chimap.pipeline.measure import plain
from chimap.pipeline.store import Done, Output, Store

FIELD = Output("_space-common_desc-local_fieldmap", "ppm", "Local field in the frame of all orientations")
FIELD_MASK = Output("_space-common_desc-valid_mask", "", "Where that is valid", mask=True)
FIELD_NOISE = Output("_space-common_desc-localnoise_fieldmap", "ppm", "Standard deviation of that field")
MAGNITUDE = Output(
    "_space-common_desc-combined_T2starw", "arbitrary", "Magnitude in that frame", stripped=False
)
COSMOS_CHI = Output("_desc-cosmos_Chimap", "ppm", "Susceptibility of all orientations, mean of the mask 0")
COSMOS_MASK = Output("_desc-cosmos_mask", "", "Where more than half of the orientations have a field", mask=True)  # fmt: skip
POOR = 0.5
"""Correlation of registered magnitudes below which a registration is doubted."""
LOOSE_MM = 0.5
"""Inverse consistency beyond which it is, too."""
_COLUMNS = {
    "scan": ("", "Name of the scan"),
    "nod_deg": ("degree", "Chin towards the chest against the reference scan (negative: head back)"),
    "tilt_deg": ("degree", "Crown towards the right shoulder (negative: left)"),
    "b0_x": ("", "B0 in the head, to the right"),
    "b0_y": ("", "B0 in the head, to the front"),
    "b0_z": ("", "B0 in the head, upwards"),
    "rotation_deg": ("degree", "Angle of the whole rotation against the reference scan"),
    "shift_mm": ("mm", "How far the centre of the brain moved"),
    "correlation": ("", "Of the magnitudes in the brain after registration"),
    "inverse_deg": ("degree", "Angle by which registering there and back misses"),
    "inverse_mm": ("mm", "Mean distance over the brain by which it misses"),
    "voxels": ("", "Voxels with a field in the common frame"),
}


@dataclass(frozen=True)
class InFrame:
    """One scan in the common frame: what was made of it, its motion, and B0 along the frame's voxel axes."""

    name: str
    done: Done
    b0_dir: tuple[float, float, float]
    registration: dict[str, Any] | None


@dataclass(frozen=True)
class OrientationsResult:
    """A map of several orientations and what a report needs of the way there."""

    store: Store
    affine: np.ndarray
    scans: list[InFrame]
    done: Done
    directions: np.ndarray
    conditioning: Conditioning
    extra: tuple[float, float, float]
    with_extra: Conditioning
    rows: list[dict[str, Any]]
    warnings: list[str]

    @property
    def chi(self) -> Path:
        """The susceptibility map."""
        return self.done[COSMOS_CHI.suffix].path

    def advice(self) -> str:
        """Which further position of the head would help most, in one sentence."""
        before, after = self.conditioning, self.with_extra
        return (
            f"a further scan would help most with the {posture(self.extra)} (against the first scan): condition number "
            f"{_number(before.number)} to {_number(after.number)}, noise {before.noise_gain:.2f} to {after.noise_gain:.2f} "
            "times that of one field"
        )


def doubts(frames: list[InFrame]) -> list[str]:
    """What to warn of in the registrations."""
    out = []
    for frame in frames:
        r = frame.registration
        if r is not None and (r["Correlation"] < POOR or r["InverseConsistencyMillimetres"] > LOOSE_MM):
            out.append(
                f"{frame.name}: the registration is doubtful (correlation {r['Correlation']:.2f}, there and back misses by "
                f"{r['InverseConsistencyMillimetres']:.2f} mm): look at the picture of the registration"
            )
    return out


def rows_of(frames: list[InFrame], directions: np.ndarray) -> list[dict[str, Any]]:
    """One row a scan; `directions` are those of B0 in mm axes."""
    rows = []
    for frame, b in zip(frames, directions, strict=True):
        nod, tilt = tilt_of(b)
        row = {"scan": frame.name, "nod_deg": round(nod, 2), "tilt_deg": round(tilt, 2)}
        row |= {f"b0_{a}": round(float(v), 5) for a, v in zip("xyz", b, strict=True)}
        r = frame.registration
        if r is not None:
            row |= {
                "rotation_deg": r["RotationDegrees"],
                "shift_mm": round(float(np.linalg.norm(r["ShiftOfBrainMillimetres"])), 3),
                "correlation": r["Correlation"],
                "inverse_deg": r["InverseConsistencyDegrees"],
                "inverse_mm": r["InverseConsistencyMillimetres"],
            }
        row["voxels"] = int(frame.done[FIELD_MASK.suffix].get().sum())
        frame.done[FIELD_MASK.suffix].drop()
        rows.append(row)
    return rows


def write_table(result: OrientationsResult) -> None:
    """One row an orientation, with its data dictionary, which also holds the conditioning and the advice."""
    path = result.store.path("_desc-orientations_Chimap", ".tsv")
    write_text(path, tables.tsv(result.rows, _COLUMNS))
    facts: dict[str, Any] = {
        "Conditioning": result.conditioning.to_dict(),
        "BestFurtherOrientation": {
            "B0Direction": [round(v, 5) for v in result.extra],
            "Posture": posture(result.extra),
            "Conditioning": result.with_extra.to_dict(),
        },
        "Registrations": {f.name: f.registration for f in result.scans},
        "Warnings": result.warnings,
    }
    write_json(path.with_suffix(".json"), plain({**tables.dictionary(_COLUMNS), **facts}))


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "infinite"
