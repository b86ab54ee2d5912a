"""What a reconstruction is asked for and what it leaves: options, outputs, the result's record."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chimap import __version__
from chimap.acquisition import Acquisition
from chimap.io.nifti import write_json, write_text
from chimap.io.scan import Scan
from chimap.pipeline import presets
from chimap.pipeline.presets import Choice
from chimap.pipeline.quality_terms import Quality
from chimap.pipeline.store import Done, Output, Store, key_of

COMBINED = Output(
    "_desc-combined_T2starw", "arbitrary", "Magnitude, root sum of squares over the echoes", stripped=False
)
BRAIN = Output("_desc-brain_mask", "", "Mask of the brain", mask=True)
TOTAL = Output("_desc-total_fieldmap", "ppm", "Total field relative to B0")
NOISE = Output("_desc-noise_fieldmap", "ppm", "Standard deviation of the total field")
EXCLUDED = Output("_desc-excluded_dseg", "", "Voxels of the mask whose field is lost, labelled by the reason")
R2STAR = Output("_R2starmap", "1/s", "Effective transverse relaxation rate R2*")
T2STAR = Output("_T2starmap", "s", "Effective transverse relaxation time T2*")
LOCAL = Output("_desc-local_fieldmap", "ppm", "Local field: that of sources inside the mask")
LOCAL_NOISE = Output("_desc-localnoise_fieldmap", "ppm", "Standard deviation of the local field")
VALID = Output("_desc-valid_mask", "", "Where local field and susceptibility are valid", mask=True)
RAW_CHI = Output("_desc-unreferenced_Chimap", "ppm", "Susceptibility before referencing")
DEVIATION = Output(
    "_desc-deviation_Chimap", "ppm", "Standard deviation that the inversion expects of its error"
)
RESIDUAL = Output(
    "_desc-residual_fieldmap", "ppm", "What of the local field the susceptibility does not explain"
)
CHI = Output("_Chimap", "ppm", "Susceptibility relative to the reference region")
LESIONS = Output("_desc-lesions_dseg", "", "Lesions, numbered as in the table desc-lesions_Chimap.tsv")
FROM_T1W = Output(
    "_desc-fromT1w_dseg", "", "Labels of the T1-weighted image, brought to the scan by a rigid registration"
)

STAGES = ("read", "mask", "field", "r2star", "background", "inversion", "reference", "report")


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Parameters
    ----------
    preset : str
        Name of the preset.
    methods : mapping
        Stage to method, overrules the preset.
    parameters : mapping
        Stage to parameters, overrules the preset.
    reference : str or path
        ``whole`` (the valid mask), ``csf`` (found from R2*), a region of `labels` by name or number, or a mask file.
    labels : path, optional
        Label image for the region table, with its names beside (BIDS).
    label_table : path, optional
        The names of the labels, if they are elsewhere.
    t1w : path, optional
        The T1-weighted image in whose space `labels` are; it is registered to the magnitude. None: they are in the scan's space.
    age : float, optional
        Age in years, for normal iron.
    truth : path, optional
        True susceptibility of a simulation, for the region table.
    phase_sign : {"auto", "+", "-"}
        Whether phase grows with the field; detected by default.
    refine : bool
        Take voxels at the rim whose phase is unreliable out of a mask that chimap made.
    lesions : bool
        Look for microbleeds and calcifications.
    force : bool
        Run every stage again.
    """

    preset: str = presets.DEFAULT
    methods: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: str | Path = "whole"
    labels: Path | None = None
    label_table: Path | None = None
    t1w: Path | None = None
    age: float | None = None
    truth: Path | None = None
    phase_sign: Literal["auto", "+", "-"] = "auto"
    refine: bool = True
    lesions: bool = False
    force: bool = False

    def choice(self, stage: str) -> Choice:
        """The method of a stage with its parameters."""
        return presets.choose(
            stage,
            preset=self.preset,
            method=self.methods.get(stage),
            parameters=dict(self.parameters.get(stage, {})),
        )


@dataclass
class Result:
    """What a scan's reconstruction left: everything the report and the tables need.

    `done` maps the stages that ran (or were done before) to their records and artifacts.
    """

    scan: Scan
    store: Store
    acq: Acquisition
    affine: np.ndarray
    findings: list[dict[str, Any]]
    done: dict[str, Done]
    choices: dict[str, Choice]
    inputs: list[dict[str, str]]
    reference: dict[str, Any]
    warnings: list[str]
    regions: list[dict[str, Any]]
    methods_text: str
    citations: list[dict[str, str]]
    created: str
    software: dict[str, str]
    age_years: float | None = None
    quality: Quality = field(default_factory=Quality)

    @property
    def chi(self) -> Path:
        """The susceptibility map."""
        return self.done["reference"][CHI.suffix].path

    @property
    def key(self) -> str:
        """Hash over all stages: what the report depends on."""
        return key_of(
            stages={s: d.record["key"] for s, d in self.done.items()},
            regions=self.regions,
            age=self.age_years,
            quality=self.quality.numbers,
        )


def result_name(scan: Scan) -> str:
    """What the names of a scan's results begin with."""
    if scan.name.startswith("sub-"):
        return scan.name
    return "sub-01" if scan.name == "scan" else f"sub-01_{scan.name}"


def scan_folder(out_dir: Path, scan: Scan) -> Path:
    """``OUT/sub-X[/ses-Y]/anat``; files without a subject go to ``sub-<name>``."""
    folder = out_dir / f"sub-{scan.entities['sub']}" if "sub" in scan.entities else out_dir / "sub-01"
    if "ses" in scan.entities:
        folder /= f"ses-{scan.entities['ses']}"
    return folder / "anat"


def software() -> dict[str, str]:
    """Versions of what computed the result."""
    import numba
    import scipy

    return {
        "chimap": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "SciPy": scipy.__version__,
        "Numba": numba.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


# BIDS has no names yet for reports, tables of regions, and fields in ppm beside the map they lead to.
_NOT_BIDS = (
    "*report.html",
    "*_report.json",
    "*_quality.json",
    "*_methods.md",
    "*_fieldmap.nii.gz",
    "*_fieldmap.json",
    "*_Chimap.tsv",
    "*_desc-regions_Chimap.json",
    "*_desc-asymmetry_Chimap.json",
    "*_desc-lesions_Chimap.json",
    "*_Chimap.png",
    "group*",
    "work/",
)


def write_description(out_dir: Path) -> None:
    """``dataset_description.json`` and ``.bidsignore`` of the derivatives (left alone if they are there)."""
    ignore = out_dir / ".bidsignore"
    if not ignore.exists():
        write_text(ignore, "\n".join(_NOT_BIDS) + "\n")
    path = out_dir / "dataset_description.json"
    if path.exists():
        return
    write_json(
        path,
        {
            "Name": "chimap: quantitative susceptibility maps",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "chimap", "Version": __version__}],
        },
    )
