"""How a stage of a scan runs: once, with its record, or not at all if it was done before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chimap import __version__
from chimap.acquisition import Acquisition
from chimap.errors import InputError, warnings_to
from chimap.io import scan as io_scan
from chimap.io.scan import Scan, ScanData
from chimap.numerics.echoes import root_sum_of_squares
from chimap.pipeline.checks import deep_checks
from chimap.pipeline.console import Console
from chimap.pipeline.measure import Measure, append_log, plain, release_memory
from chimap.pipeline.plan import BRAIN, COMBINED, VALID, Options, result_name, scan_folder, write_description
from chimap.pipeline.presets import Choice
from chimap.pipeline.provenance import finding_with, link_inputs, names_of
from chimap.pipeline.quality_terms import Quality
from chimap.pipeline.store import Artifact, Done, Output, Store, code_sha256, file_sha256, key_of
from chimap.pipeline.weights import weights_of, without_folder
from chimap.types import Mask, Volume


class Runner:
    """The state of a scan's reconstruction: its data while they are needed, and the stages that are done."""

    def __init__(
        self, scan: Scan, out_dir: Path, options: Options, console: Console, log_json: str | Path | None
    ):
        self.scan = scan
        self.out_dir = out_dir
        self.options = options
        self.console = console
        self.log_json = log_json
        self.store = Store(scan_folder(out_dir, scan), result_name(scan), force=options.force)
        self.done: dict[str, Done] = {}
        self.choices: dict[str, Choice] = {}
        self.inputs: list[dict[str, str]] = []
        self.names: dict[Path, str] = {}
        self.warnings: list[str] = []
        self.quality = Quality()
        self._data: ScanData | None = None
        self._masked = False

    # -- input -------------------------------------------------------------------------------------------

    def data(self) -> ScanData:
        """The scan's data; loaded when a stage needs them that has to run."""
        if self._data is None:
            self._data = io_scan.load(self.scan)
            self._masked = False
        return self._data

    def taken_over(self, stage: str, detail: str = "") -> None:
        """Say that a stage was done before."""
        self.console.skipped(stage, detail)
        append_log(
            self.log_json, {"scan": self.store.name, "stage": stage, "method": detail or None}, "skipped"
        )

    def forget_data(self) -> None:
        """Release the scan's data; who needs them again loads them again."""
        self._data = None
        self._masked = False

    def _read(self) -> None:
        missing = [p for p in self.scan.files if not Path(p).is_file()]
        if missing:
            raise InputError("there is no such file", file=missing[0])
        self.names = names_of(self.scan.files, self.out_dir)
        self.inputs = [{"file": self.names[p], "sha256": file_sha256(p)} for p in self.scan.files]
        facts = {
            "te": self.scan.te_s,
            "b0": self.scan.b0_t,
            "dir": self.scan.b0_dir,
            "range": self.scan.phase_range,
            "sidecar": self.scan.sidecar,
            "metadata": self.scan.metadata,
            "problems": [finding_with(p.to_dict(), self.names) for p in self.scan.problems],
            "kinds": [
                len(v) for v in (self.scan.phase, self.scan.magnitude, self.scan.real, self.scan.imaginary)
            ],
        }
        # What the deep checks look with, too.
        code = code_sha256(
            "chimap.io",
            "chimap.pipeline.checks",
            "chimap.pipeline.cubes",
            "chimap.phase.bipolar",
            "chimap.phase.singularities",
        )
        key = key_of(inputs=[i["sha256"] for i in self.inputs], facts=facts, code=code)
        found = self.store.find("read", key, COMBINED.suffix)
        if found is not None:
            self.taken_over("read")
            self.done["read"] = found
            return
        with self.console.stage("read") as bar, Measure(bar) as measure:
            data = self.data()
            arrays = {}
            if data.magnitude is not None:
                arrays[COMBINED.suffix] = root_sum_of_squares(data.magnitude)
            findings = data.findings + deep_checks(data)
        record = {
            **measure.record("read", "load"),
            "acquisition": data.acq.to_dict(),
            "affine": data.affine,
            "findings": [finding_with(f.to_dict(), self.names) for f in findings],
            "inputs": {i["file"]: i["sha256"] for i in self.inputs},
        }
        append_log(self.log_json, {"scan": self.store.name, **measure.record("read", "load")})
        sidecar = {"Sources": [i["file"] for i in self.inputs], "EchoTime": list(data.acq.te_s)}
        # The first thing on the disk: what the folder is.
        write_description(self.out_dir)
        link_inputs(self.scan.files, self.out_dir)
        self.done["read"] = self.store.save("read", key, (COMBINED,), arrays, data.affine, record, sidecar)

    @property
    def acq(self) -> Acquisition:
        values = self.done["read"].record["acquisition"]
        return Acquisition(
            tuple(values["TE"]), values["B0"], tuple(values["B0_dir"]), tuple(values["voxel_size"])
        )

    @property
    def affine(self) -> np.ndarray:
        return np.asarray(self.done["read"].record["affine"], dtype=float)

    def echoes(self) -> ScanData:
        """The data with zeros outside the mask, in place: methods then need no copy of their own."""
        data = self.data()
        if not self._masked:
            outside = ~self.brain()
            for volumes in (data.phase, data.magnitude):
                if volumes is not None:
                    for echo in np.moveaxis(volumes, 3, 0):
                        echo[outside] = 0
            self._masked = True
        return data

    def warn(self, text: str) -> None:
        """Tell it on the terminal now, and in the report."""
        self.warnings.append(text)
        self.console.note(text)

    def brain(self) -> Mask:
        """The brain mask."""
        return self.done["mask"][BRAIN.suffix].get()

    @property
    def valid(self) -> Artifact:
        """Where susceptibility is valid: the background stage's mask, or the brain's where no such stage ran."""
        if "background" in self.done:
            return self.done["background"][VALID.suffix]
        return self.done["mask"][BRAIN.suffix]

    def combined(self) -> Volume | None:
        """Magnitude combined over the echoes, if there is one."""
        artifact = self.done["read"].get(COMBINED.suffix)
        return None if artifact is None else artifact.get()

    # -- one stage ---------------------------------------------------------------------------------------

    def _stage(
        self,
        stage: str,
        needs: dict[str, Any],
        outputs: tuple[Output, ...],
        compute: Callable[[Choice, Callable[..., None]], tuple[dict[str, np.ndarray | None], dict[str, Any]]],
        packages: tuple[str, ...] = (),
    ) -> Done:
        """Run a stage, unless it was done before with the same inputs, parameters and code."""
        choice = self.choices[stage] = self.options.choice(stage)
        weights = weights_of(choice)
        if weights is not None:
            needs = {**needs, "weights": weights}
            packages = (*packages, "chimap.networks")
        key = key_of(
            stage=stage,
            method=choice.method.name,
            parameters=without_folder(choice, choice.all_parameters),
            inputs=needs,
            acquisition=self.done["read"].record["acquisition"],
            version=__version__,
            code=code_sha256(choice.method.stage.package, "chimap.registry", *packages),
        )
        found = self.store.find(stage, key, outputs[0].suffix)
        if found is not None:
            self.taken_over(stage, choice.method.name)
            self.done[stage] = found
            self._repeat_warnings(found)
            return found
        release_memory()
        told: list[str] = []
        with self.console.stage(stage, choice.method.name) as bar:
            measure = Measure(bar)
            with measure, warnings_to(told.append):
                results, extra = compute(choice, measure.progress)
            log = measure.record(stage, choice.method.name)
            arrays = {k: v for k, v in results.items() if v is not None}
            record = {
                **log,
                "parameters": choice.all_parameters,
                "references": list(choice.method.references),
                "inputs": needs,
                **extra,
                "warnings": told,
            }
            record["parameters"] = without_folder(choice, record["parameters"])
            sidecar = {"Sources": [i["file"] for i in self.inputs], **extra.get("sidecar", {})}
            record.pop("sidecar", None)
            done = self.store.save(stage, key, outputs, arrays, self.affine, record, sidecar)
        append_log(self.log_json, {"scan": self.store.name, **log, "parameters": plain(record["parameters"])})
        self.done[stage] = done
        self._repeat_warnings(done)
        return done

    def _repeat_warnings(self, done: Done) -> None:
        """What a method warned of, now or when it ran before."""
        for text in dict.fromkeys(done.record.get("warnings", ())):
            self.warn(text)

    def sha(self, stage: str, output: Output) -> str | None:
        """Hash of a stage's result, None where the stage made none of that kind."""
        artifact = self.done[stage].get(output.suffix)
        return None if artifact is None else artifact.sha256
