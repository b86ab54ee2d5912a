"""One scan, from its files to its maps, resumed where it was left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from chimap import __version__
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.io import scan as io_scan
from chimap.io.nifti import load_volume, write_text
from chimap.io.scan import Scan, ScanData
from chimap.masking.quality import refine
from chimap.pipeline import presets, regions, text
from chimap.pipeline.console import Console
from chimap.pipeline.measure import Measure, append_log, compile_clock, plain, release_memory
from chimap.pipeline.plan import (
    BRAIN,
    CHI,
    COMBINED,
    LOCAL,
    LOCAL_NOISE,
    NOISE,
    R2STAR,
    RAW_CHI,
    STAGES,
    T2STAR,
    TOTAL,
    VALID,
    Options,
    Result,
    scan_folder,
    software,
    write_description,
)
from chimap.pipeline.presets import Choice
from chimap.pipeline.reconstruct import root_sum_of_squares
from chimap.pipeline.sign import detect_sign
from chimap.pipeline.store import Done, Output, Store, code_sha256, file_sha256, key_of
from chimap.types import Mask, Volume


def run_scan(
    scan: Scan,
    out_dir: str | Path,
    options: Options | None = None,
    *,
    console: Console | None = None,
    log_json: str | Path | None = None,
) -> Result:
    """Reconstruct a scan into BIDS derivatives under `out_dir`.

    Parameters
    ----------
    scan : Scan
        Where the files lie.
    out_dir : path
        Root of the derivatives.
    options : Options, optional
        Preset, methods, parameters.
    console : Console, optional
        Shows progress; silent by default.
    log_json : path, optional
        Gets one line a stage that ran.

    Returns
    -------
    Result
        Arrays are released; its artifacts read them again when asked.

    Raises
    ------
    InputError
        If the scan cannot be used; nothing is written then.
    OutputError
        If a result cannot be written.
    """
    compile_clock.start()
    return _Run(scan, Path(out_dir), options or Options(), console or Console(quiet=True), log_json).all()


class _Run:
    def __init__(
        self, scan: Scan, out_dir: Path, options: Options, console: Console, log_json: str | Path | None
    ):
        self.scan = scan
        self.out_dir = out_dir
        self.options = options
        self.console = console
        self.log_json = log_json
        name = (
            scan.name
            if scan.name.startswith("sub-")
            else f"sub-01_{scan.name}"
            if scan.name != "scan"
            else "sub-01"
        )
        self.store = Store(scan_folder(out_dir, scan), name, force=options.force)
        self.done: dict[str, Done] = {}
        self.choices: dict[str, Choice] = {}
        self.inputs: list[dict[str, str]] = []
        self.warnings: list[str] = []
        self._data: ScanData | None = None
        self._masked = False

    def all(self) -> Result:
        # A wrong method or parameter, or a missing file, must not show after an hour.
        for stage in STAGES[1:-1]:
            self.options.choice(stage)
        for path in (self.options.labels, self.options.truth, *self._reference_file()):
            if path is not None and not path.is_file():
                raise InputError("there is no such file", file=path)
        self._read()
        self._mask()
        self._field()
        self._r2star()
        self._data = None
        self._background()
        self._inversion()
        reference = self._reference()
        for name in ("read", "field", "background", "inversion"):
            for artifact in self.done[name].artifacts.values():
                artifact.drop()
        table = self._regions()
        return self._finish(reference, table)

    # -- input -------------------------------------------------------------------------------------------

    def data(self) -> ScanData:
        """The scan's data; loaded when a stage needs them that has to run."""
        if self._data is None:
            self._data = io_scan.load(self.scan)
            self._masked = False
        return self._data

    def _read(self) -> None:
        missing = [p for p in self.scan.files if not Path(p).is_file()]
        if missing:
            raise InputError("there is no such file", file=missing[0])
        self.inputs = [{"file": str(p), "sha256": file_sha256(p)} for p in self.scan.files]
        facts = {
            "te": self.scan.te_s,
            "b0": self.scan.b0_t,
            "dir": self.scan.b0_dir,
            "range": self.scan.phase_range,
            "sidecar": self.scan.sidecar,
            "metadata": self.scan.metadata,
            "problems": [p.to_dict() for p in self.scan.problems],
            "kinds": [
                len(v) for v in (self.scan.phase, self.scan.magnitude, self.scan.real, self.scan.imaginary)
            ],
        }
        key = key_of(inputs=[i["sha256"] for i in self.inputs], facts=facts, code=code_sha256("chimap.io"))
        found = self.store.find("read", key, COMBINED.suffix)
        if found is not None:
            self.console.skipped("read")
            self.done["read"] = found
            return
        with self.console.stage("read") as bar, Measure(bar) as measure:
            data = self.data()
            arrays = {}
            if data.magnitude is not None:
                arrays[COMBINED.suffix] = root_sum_of_squares(data.magnitude)
        record = {
            **measure.record("read", "load"),
            "acquisition": data.acq.to_dict(),
            "affine": data.affine,
            "findings": [f.to_dict() for f in data.findings],
            "inputs": {i["file"]: i["sha256"] for i in self.inputs},
        }
        append_log(self.log_json, {"scan": self.store.name, **measure.record("read", "load")})
        sidecar = {"Sources": [i["file"] for i in self.inputs], "EchoTime": list(data.acq.te_s)}
        # The first thing on the disk: what the folder is.
        write_description(self.out_dir)
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

    def _echoes(self) -> ScanData:
        """The data with zeros outside the mask, in place: methods then need no copy of their own."""
        data = self.data()
        if not self._masked:
            outside = ~self._brain()
            for volumes in (data.phase, data.magnitude):
                if volumes is not None:
                    for echo in np.moveaxis(volumes, 3, 0):
                        echo[outside] = 0
            self._masked = True
        return data

    def _brain(self) -> Mask:
        return self.done["mask"][BRAIN.suffix].get()

    def _combined(self) -> Volume | None:
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
        key = key_of(
            stage=stage,
            method=choice.method.name,
            parameters=choice.all_parameters,
            inputs=needs,
            acquisition=self.done["read"].record["acquisition"],
            version=__version__,
            code=code_sha256(choice.method.stage.package, "chimap.registry", *packages),
        )
        found = self.store.find(stage, key, outputs[0].suffix)
        if found is not None:
            self.console.skipped(stage, choice.method.name)
            self.done[stage] = found
            return found
        release_memory()
        with self.console.stage(stage, choice.method.name) as bar:
            measure = Measure(bar)
            with measure:
                results, extra = compute(choice, measure.progress)
            log = measure.record(stage, choice.method.name)
            arrays = {k: v for k, v in results.items() if v is not None}
            record = {
                **log,
                "parameters": choice.all_parameters,
                "references": list(choice.method.references),
                "inputs": needs,
                **extra,
            }
            sidecar = {"Sources": [i["file"] for i in self.inputs], **extra.get("sidecar", {})}
            record.pop("sidecar", None)
            done = self.store.save(stage, key, outputs, arrays, self.affine, record, sidecar)
        append_log(
            self.log_json, {"scan": self.store.name, **log, "parameters": plain(choice.all_parameters)}
        )
        self.done[stage] = done
        return done

    def _sha(self, stage: str, output: Output) -> str | None:
        artifact = self.done[stage].get(output.suffix)
        return None if artifact is None else artifact.sha256

    # -- the stages --------------------------------------------------------------------------------------

    def _mask(self) -> None:
        read_key = self.done["read"].record["key"]
        settings = presets.load(self.options.preset).get("refine") if self.options.refine else None
        if self.scan.mask is not None:
            self._given_mask()
            return

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            data = self.data()
            if data.magnitude is None:
                raise InputError(
                    f"scan {self.scan.name} has no magnitude, from which the brain mask is made",
                    fix="Give the magnitude, or a mask",
                )
            mask = choice.method(data.magnitude, data.acq, progress=progress, **choice.parameters)
            if not mask.any():
                raise InputError("no brain was found in the magnitude", fix="Give a mask")
            extra: dict[str, Any] = {"sidecar": {"Type": "Brain"}}
            if settings is not None:
                whole = int(mask.sum())
                mask = refine(mask, data.phase, data.magnitude, data.acq, **settings)
                # The quality is the reliability of this paper.
                extra["references"] = [*choice.method.references, "10.1364/AO.41.007437"]
                extra["refined_by_phase_quality"] = {**settings, "kept": round(float(mask.sum()) / whole, 4)}
            return {BRAIN.suffix: mask}, extra

        self._stage("mask", {"scan": read_key, "refine": settings}, (BRAIN,), compute)

    def _given_mask(self) -> None:
        key = key_of(mask=file_sha256(self.scan.mask), read=self.done["read"].record["key"])  # type: ignore[arg-type]
        found = self.store.find("mask", key, BRAIN.suffix)
        if found is not None:
            self.console.skipped("mask", "given")
            self.done["mask"] = found
            return
        with self.console.stage("mask", "given"):
            mask = self.data().mask
            assert mask is not None
            record = {
                "method": "given",
                "parameters": {},
                "references": [],
                "inputs": {"mask": str(self.scan.mask)},
            }
            sidecar = {"Type": "Brain", "Sources": [str(self.scan.mask)]}
            self.done["mask"] = self.store.save(
                "mask", key, (BRAIN,), {BRAIN.suffix: mask}, self.affine, record, sidecar
            )

    def _field(self) -> None:
        needs = {
            "scan": self.done["read"].record["key"],
            "mask": self._sha("mask", BRAIN),
            "sign": self.options.phase_sign,
        }

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            data = self._echoes()
            mask = self._brain()
            arrays = {"magnitude": data.magnitude}
            field = choice.method(
                data.phase, mask, data.acq, progress=progress, **_given(choice, arrays), **choice.parameters
            )
            total, told = self._signed(field.field_ppm, mask, data.acq)
            return {TOTAL.suffix: total, NOISE.suffix: field.noise_ppm}, {"phase_sign": told}

        # The field method calls unwrapping and offset methods of the same package.
        self._stage("field", needs, (TOTAL, NOISE), compute, ("chimap.pipeline.sign",))
        self.done["field"].record.setdefault("phase_sign", {})
        told = self.done["field"].record["phase_sign"]
        if told.get("warning"):
            self.warnings.append(told["what"])
            self.console.note(told["what"])

    def _signed(self, total: Volume, mask: Mask, acq: Acquisition) -> tuple[Volume, dict[str, Any]]:
        if self.options.phase_sign != "auto":
            sign = -1 if self.options.phase_sign == "-" else 1
            what = f"phase sign {self.options.phase_sign} as given by the user"
            told: dict[str, Any] = {"sign": sign, "decided": True, "correlation": None, "what": what}
            return (total if sign > 0 else -total), {**told, "warning": False}
        combined = self._combined()
        if combined is None:
            what = "phase sign could not be told without a magnitude; taken as positive"
            return total, {"sign": 1, "decided": False, "correlation": None, "what": what, "warning": True}
        found = detect_sign(total, combined, mask, acq)
        told = {
            "sign": found.sign,
            "decided": found.decided,
            "correlation": found.correlation,
            "asymmetry": found.asymmetry,
            "what": str(found),
        }
        told["warning"] = not found.decided or found.sign < 0
        return (total if found.sign > 0 else -total), told

    def _r2star(self) -> None:
        if self.acq.echoes < 3 or self.done["read"].get(COMBINED.suffix) is None:
            return
        if self._data is not None:
            # The phase has served; the magnitude of all echoes is needed once more.
            nothing = np.empty((*self._data.phase.shape[:3], 0), np.float32)
            self._data = replace(self._data, phase=nothing)
        needs = {"scan": self.done["read"].record["key"], "mask": self._sha("mask", BRAIN)}

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            data = self._echoes()
            fit = choice.method(
                data.magnitude, self._brain(), data.acq, progress=progress, **choice.parameters
            )
            return {R2STAR.suffix: fit.r2star, T2STAR.suffix: fit.t2star}, {}

        done = self._stage("r2star", needs, (R2STAR, T2STAR), compute)
        for artifact in done.artifacts.values():
            artifact.drop()

    def _background(self) -> None:
        needs = {
            "field": self._sha("field", TOTAL),
            "noise": self._sha("field", NOISE),
            "mask": self._sha("mask", BRAIN),
        }

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            noise = self.done["field"].get(NOISE.suffix)
            arrays = {"noise": noise.get() if noise else None}
            total = self.done["field"][TOTAL.suffix].get()
            local = choice.method(
                total,
                self._brain(),
                self.acq,
                progress=progress,
                **_given(choice, arrays),
                **choice.parameters,
            )
            out = {
                LOCAL.suffix: local.field_ppm,
                VALID.suffix: local.mask,
                LOCAL_NOISE.suffix: local.noise_ppm,
            }
            kept = float(local.mask.sum()) / float(self._brain().sum())
            return out, {"kept_of_mask": round(kept, 4)}

        self._stage("background", needs, (LOCAL, VALID, LOCAL_NOISE), compute)
        for artifact in self.done["field"].artifacts.values():
            artifact.drop()

    def _inversion(self) -> None:
        local = self.done["background"]
        needs = {
            "field": self._sha("background", LOCAL),
            "mask": self._sha("background", VALID),
            "noise": self._sha("background", LOCAL_NOISE),
            "magnitude": self._sha("read", COMBINED),
        }

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            noise = local.get(LOCAL_NOISE.suffix)
            arrays = {"magnitude": self._combined(), "noise": noise.get() if noise else None}
            chi = choice.method(
                local[LOCAL.suffix].get(),
                local[VALID.suffix].get(),
                self.acq,
                progress=progress,
                **_given(choice, arrays),
                **choice.parameters,
            )
            return {RAW_CHI.suffix: chi}, {}

        self._stage("inversion", needs, (RAW_CHI,), compute)

    def _reference_file(self) -> tuple[Path, ...]:
        r = self.options.reference
        return () if str(r) in ("whole", "csf") else (Path(r),)

    def _reference(self) -> dict[str, Any]:
        name = str(self.options.reference)
        file = self._reference_file()
        needs = {
            "chi": self._sha("inversion", RAW_CHI),
            "mask": self._sha("background", VALID),
            "region": file_sha256(file[0]) if file else name,
            "r2star": self._sha("r2star", R2STAR) if name == "csf" and "r2star" in self.done else None,
        }

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            valid = self.done["background"][VALID.suffix].get()
            region = self._region(name, file, valid)
            chi = self.done["inversion"][RAW_CHI.suffix].get()
            result = choice.method(
                chi,
                valid,
                self.acq,
                progress=progress,
                **_given(choice, {"region": region}),
                **choice.parameters,
            )
            about = {"name": "whole brain" if name == "whole" else "CSF" if name == "csf" else name}
            reference = {**plain(result.reference), **about}
            return {CHI.suffix: result.chi_ppm}, {"reference": reference, "sidecar": {"Reference": reference}}

        self._stage("reference", needs, (CHI,), compute, ("chimap.pipeline.regions",))
        return dict(self.done["reference"].record["reference"])

    def _region(self, name: str, file: tuple[Path, ...], valid: Mask) -> Mask | None:
        if name == "whole":
            return None
        if name == "csf":
            if "r2star" not in self.done:
                raise InputError(
                    "CSF is found by its low R2*, which needs 3 echoes or more with their magnitude",
                    fix="Give --reference whole or a mask file",
                )
            return regions.csf_region(self.done["r2star"][R2STAR.suffix].get(), valid, self.acq.voxel_size_mm)
        values, _ = load_volume(file[0], ndim=3)
        if values.shape != valid.shape:
            raise InputError(
                f"the reference region has shape {values.shape} but the scan {valid.shape}",
                file=file[0],
                fix="Give a mask on the same grid",
            )
        region = values > 0.5
        if not (region & valid).any():
            raise InputError("the reference region has no voxel where the map is valid", file=file[0])
        return region

    def _regions(self) -> list[dict[str, Any]]:
        labels_file, truth_file = self.options.labels, self.options.truth
        if labels_file is None:
            return []
        valid = self.done["background"][VALID.suffix].get()
        labels, _ = load_volume(labels_file, ndim=3)
        truth = load_volume(truth_file, ndim=3)[0] if truth_file is not None else None
        for path, volume in ((labels_file, labels), (truth_file, truth)):
            if volume is not None and volume.shape != valid.shape:
                raise InputError(
                    f"it has shape {volume.shape} but the scan {valid.shape}",
                    file=path,
                    fix="Give it on the grid of the scan",
                )
        return regions.region_table(
            self.done["reference"][CHI.suffix].get(),
            np.rint(labels).astype(np.int32),
            valid,
            float(np.prod(self.acq.voxel_size_mm)),
            regions.label_names(labels_file),
            truth,
        )

    # -- the end -----------------------------------------------------------------------------------------

    def _finish(self, reference: dict[str, Any], table: list[dict[str, Any]]) -> Result:
        findings = list(self.done["read"].record["findings"])
        sign = self.done["field"].record["phase_sign"]
        if sign:
            findings.append(
                {
                    "level": "warning" if sign["warning"] else "ok",
                    "topic": "phase sign",
                    "what": sign["what"],
                    "fix": "Give --phase-sign + or - if that is wrong" if sign["warning"] else "",
                }
            )
        self.warnings += [
            f"{f['topic']}: {f['what']}"
            for f in self.done["read"].record["findings"]
            if f["level"] == "warning"
        ]
        said = [
            text.StageText(
                stage,
                done.record["method"],
                self.choices[stage].method.summary if stage in self.choices else "",
                dict(done.record["parameters"]),
                tuple(done.record["references"]),
                _refined(done.record),
            )
            for stage, done in self.done.items()
            if stage != "read"
        ]
        extra = [f"The reference region of the susceptibility map is: {reference['name']}."]
        paper = presets.load(self.options.preset).get("paper")
        paragraph, citations = text.methods_text(said, self.acq, preset=paper, extra=extra)
        write_text(self.store.path("_methods", ".md"), text.as_markdown(paragraph, citations))
        if table:
            write_text(self.store.path("_desc-regions_Chimap", ".tsv"), regions.as_tsv(table))
        for done in self.done.values():
            for artifact in done.artifacts.values():
                artifact.drop()
        return Result(
            scan=self.scan,
            store=self.store,
            acq=self.acq,
            affine=self.affine,
            findings=findings,
            done=self.done,
            choices=self.choices,
            inputs=self.inputs,
            reference=reference,
            warnings=self.warnings,
            regions=table,
            methods_text=paragraph,
            citations=citations,
            created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            software=software(),
        )


def _given(choice: Choice, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in arrays.items() if v is not None and k in choice.method.inputs}


def _refined(record: Mapping[str, Any]) -> str:
    settings = record.get("refined_by_phase_quality")
    if not settings:
        return ""
    return (
        f"Voxels within {settings['rim_mm']:g} mm of its edge whose phase quality was below "
        f"{settings['threshold']:g} were taken out of it, and holes were filled."
    )
