"""The end of a scan's way: its reference, its lesions and its table of regions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.io.nifti import load_volume
from chimap.pipeline import lesions, regions
from chimap.pipeline.measure import plain
from chimap.pipeline.plan import CHI, R2STAR, RAW_CHI
from chimap.pipeline.presets import Choice
from chimap.pipeline.reference import is_file, no_csf, reference_region
from chimap.pipeline.runner import Runner
from chimap.pipeline.store import file_sha256
from chimap.quantify.iron import iron_rows, normal_iron
from chimap.quantify.labels import find_labels
from chimap.quantify.regions import region_rows


class Answers(Runner):
    """Reference, lesions and regions; the stages before are `chimap.pipeline.run`'s."""

    def _reference_file(self) -> tuple[Path, ...]:
        r = self.options.reference
        return (Path(r),) if is_file(r, self.options.labels is not None) else ()

    def _reference_by_labels(self) -> bool:
        """Whether the reference is a region of the label image."""
        name = str(self.options.reference).lower()
        return not (self._reference_file() or name == "whole" or (name == "csf" and "r2star" in self.done))

    def _reference_numbers(self) -> list[int]:
        """The labels that the reference means; their names may lie in another file."""
        assert self._labels is not None
        labels, names = self._labels
        return list(find_labels(str(self.options.reference), names, np.unique(labels)))

    def _check_reference(self) -> None:
        """An age that cannot be, or a region that the labels do not have, must not show after an hour."""
        if self.options.labels is None:
            if self.options.label_table is not None:
                raise InputError("names of labels are given, but no label image", fix="Give --labels")
            if self.options.age is not None:
                self.console.note("the age is used for the iron of regions only, and no label image is given")
        if self.options.age is not None:
            normal_iron("putamen", self.options.age)
        # Whether there will be an R2* map to find CSF by is not known yet.
        by_name = self._reference_by_labels() and str(self.options.reference).lower() != "csf"
        if self._labels is not None and by_name:
            self._reference_numbers()

    def _check_csf(self) -> None:
        """Once R2* is there or not: CSF has to be found by one thing or the other."""
        if str(self.options.reference).lower() == "csf" and self._reference_by_labels():
            if self._labels is None:
                raise no_csf()
            self._reference_numbers()

    @functools.cached_property
    def _labels(self) -> tuple[np.ndarray, dict[int, str]] | None:
        """Label image on the grid of the scan, and its names."""
        if self.options.labels is None:
            return None
        labels, names, note = regions.load_labels(
            self.options.labels, self.brain().shape, self.affine, table=self.options.label_table
        )
        if note:
            self.warn(note)
        return labels, names

    def _reference(self) -> dict[str, Any]:
        name = str(self.options.reference)
        file = self._reference_file()
        by_r2star = name.lower() == "csf" and "r2star" in self.done
        by_labels = self.options.labels if self._reference_by_labels() else None
        needs = {
            "chi": self.sha("inversion", RAW_CHI),
            "mask": self.valid.sha256,
            "region": file_sha256(file[0]) if file else name,
            "r2star": self.sha("r2star", R2STAR) if by_r2star else None,
            "labels": file_sha256(by_labels) if by_labels else None,
            "numbers": self._reference_numbers() if by_labels else None,
        }

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            valid = self.valid.get()
            labels, names = (self._labels or (None, None)) if by_labels else (None, None)
            region = reference_region(
                self.options.reference,
                valid,
                self.acq.voxel_size_mm,
                r2star=self.done["r2star"][R2STAR.suffix].get() if by_r2star else None,
                labels=labels,
                names=names,
            )
            chi = self.done["inversion"][RAW_CHI.suffix].get()
            result = choice.method(
                chi,
                valid,
                self.acq,
                progress=progress,
                **choice.method.takes(region=region.mask),
                **choice.parameters,
            )
            reference = {**plain(result.reference), "name": region.name, "region": region.how}
            return {CHI.suffix: result.chi_ppm}, {"reference": reference, "sidecar": {"Reference": reference}}

        code = ("chimap.pipeline.reference", "chimap.quantify")
        self._stage("reference", needs, (CHI,), compute, code)
        return dict(self.done["reference"].record["reference"])

    def _lesions(self) -> None:
        if not self.options.lesions:
            return
        done = lesions.find_in_run(self, self._labels)
        for what in done.record["left_out"]:
            self.console.note(f"lesions: {what}")

    def _regions(self) -> list[dict[str, Any]]:
        if self._labels is None:
            return []
        valid = self.valid.get()
        truth = None
        if self.options.truth is not None:
            truth, _ = load_volume(self.options.truth, ndim=3)
            if truth.shape != valid.shape:
                raise InputError(
                    f"it has shape {truth.shape} but the scan {valid.shape}",
                    file=self.options.truth,
                    fix="Give it on the grid of the scan",
                )
        labels, names = self._labels
        r2star = self.done["r2star"][R2STAR.suffix] if "r2star" in self.done else None
        rows = region_rows(
            self.done["reference"][CHI.suffix].get(),
            labels,
            valid,
            self.acq.voxel_size_mm,
            names,
            r2star=r2star.get() if r2star else None,
            truth_ppm=truth,
            affine=self.affine,
        )
        if not rows:
            self.warn("no label lies where the map is valid: there is no table of regions")
        return iron_rows(rows, age_years=self.options.age)
