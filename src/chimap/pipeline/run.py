"""One scan, from its files to its maps, resumed where it was left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chimap import offers, tuning
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.io.scan import Scan
from chimap.masking.quality import refine
from chimap.pipeline import presets, quality, sources
from chimap.pipeline.anatomy import with_labels_from_t1w
from chimap.pipeline.answers import Answers
from chimap.pipeline.console import Console
from chimap.pipeline.finish import finish
from chimap.pipeline.lost import lost_voxels
from chimap.pipeline.measure import compile_clock
from chimap.pipeline.plan import (
    BRAIN,
    COMBINED,
    DEVIATION,
    EXCLUDED,
    LOCAL,
    LOCAL_NOISE,
    NOISE,
    R2STAR,
    RAW_CHI,
    RESIDUAL,
    STAGES,
    T2STAR,
    TOTAL,
    VALID,
    Options,
    Result,
)
from chimap.pipeline.presets import Choice
from chimap.pipeline.sign import detect_sign
from chimap.pipeline.size import small_object
from chimap.pipeline.store import file_sha256, key_of
from chimap.pipeline.weights import weights_of
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


class _Run(Answers):
    """The stages in their order."""

    warnings: list[str]

    def all(self) -> Result:
        # A wrong method or parameter, or a missing file, must not show after an hour.
        for stage in STAGES[1:-1]:
            self.options.choice(stage)
        for path in (
            self.options.labels,
            self.options.label_table,
            self.options.t1w,
            self.options.truth,
            *self._reference_file(),
        ):
            if path is not None and not path.is_file():
                raise InputError("there is no such file", file=path)
        sources.check_choice(self.options)
        for stage in STAGES[1:-1]:
            weights_of(self.options.choice(stage))
        self._read()
        self._mask()
        small = small_object(self.brain(), self.acq.voxel_size_mm)
        if small is not None:
            self.warn(small)
        if self.options.t1w is not None:
            self.options = with_labels_from_t1w(self)
        self._check_reference()
        self._field()
        self._r2star()
        self._check_csf()
        if not sources.phase_needed(self.options):
            self._data = None
        self._background()
        self._inversion()
        reference = self._reference()
        self.quality = quality.measure_in_run(self)
        for warning in self.quality.warnings:
            self.warn(warning)
        for name in ("read", "field", "background", "inversion"):
            if name in self.done:
                for artifact in self.done[name].artifacts.values():
                    artifact.drop()
        self._lesions()
        table = self._regions()
        return finish(self, reference, table, self.warnings)

    # -- the stages --------------------------------------------------------------------------------------

    def _mask(self) -> None:
        read_key = self.done["read"].record["key"]
        # A recipe has its own steps for the quality of the phase.
        wanted = self.options.refine and self.options.choice("mask").method.name != "recipe"
        settings = presets.load(self.options.preset).get("refine") if wanted else None
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
            arrays = {"phase": data.phase}
            mask = choice.method(
                data.magnitude,
                data.acq,
                progress=progress,
                **choice.method.takes(**arrays),
                **choice.parameters,
            )
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
        assert self.scan.mask is not None
        source = self.names[self.scan.mask]
        key = key_of(mask=file_sha256(self.scan.mask), read=self.done["read"].record["key"])
        found = self.store.find("mask", key, BRAIN.suffix)
        if found is not None:
            self.taken_over("mask", "given")
            self.done["mask"] = found
            return
        with self.console.stage("mask", "given"):
            mask = self.data().mask
            assert mask is not None
            record = {
                "method": "given",
                "parameters": {},
                "references": [],
                "inputs": {"mask": source},
            }
            sidecar = {"Type": "Brain", "Sources": [source]}
            self.done["mask"] = self.store.save(
                "mask", key, (BRAIN,), {BRAIN.suffix: mask}, self.affine, record, sidecar
            )

    def _field(self) -> None:
        needs = {
            "scan": self.done["read"].record["key"],
            "mask": self.sha("mask", BRAIN),
            "sign": self.options.phase_sign,
            "magnitude": self.sha("read", COMBINED),
        }

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            data = self.echoes()
            mask = self.brain()
            arrays = {"magnitude": data.magnitude}
            field = choice.method(
                data.phase,
                mask,
                data.acq,
                progress=progress,
                **choice.method.takes(**arrays),
                **choice.parameters,
            )
            del data
            self._drop_phase()
            excluded, lost = lost_voxels(field, self.acq, self.combined())
            total, told = self._signed(field.field_ppm, mask, self.acq)
            out = {TOTAL.suffix: total, NOISE.suffix: field.noise_ppm, EXCLUDED.suffix: excluded}
            return out, {"phase_sign": told, "excluded": lost}

        # The field method calls unwrapping and offset methods of the same package.
        code = ("chimap.pipeline.sign", "chimap.pipeline.lost", "chimap.masking.reliability")
        self._stage("field", needs, (TOTAL, NOISE, EXCLUDED), compute, code)
        self.done["field"].record.setdefault("phase_sign", {})
        told = self.done["field"].record["phase_sign"]
        if told.get("warning"):
            self.warn(told["what"])

    def _drop_phase(self) -> None:
        """The phase has served; the magnitude of all echoes is needed once more."""
        if self._data is not None and not sources.phase_needed(self.options):
            nothing = np.empty((*self._data.phase.shape[:3], 0), np.float32)
            self._data = replace(self._data, phase=nothing)

    def _signed(self, total: Volume, mask: Mask, acq: Acquisition) -> tuple[Volume, dict[str, Any]]:
        if self.options.phase_sign != "auto":
            sign = -1 if self.options.phase_sign == "-" else 1
            what = f"phase sign {self.options.phase_sign} as given by the user"
            told: dict[str, Any] = {"sign": sign, "decided": True, "correlation": None, "what": what}
            return (total if sign > 0 else -total), {**told, "warning": False}
        combined = self.combined()
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
        if self.done["read"].get(COMBINED.suffix) is None:
            return
        refused = sources.r2star_refused(self.options.choice("r2star"), self.acq)
        if refused is not None:
            self.warn(f"no R2* map was made: {refused}")
            return
        self._drop_phase()
        needs = {
            "scan": self.done["read"].record["key"],
            "mask": self.sha("mask", BRAIN),
            "field": self.sha("field", TOTAL),
        }

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            data = self.echoes()
            arrays = {"field": self.done["field"][TOTAL.suffix].get()}
            fit = choice.method(
                data.magnitude,
                self.brain(),
                data.acq,
                progress=progress,
                **choice.method.takes(**arrays),
                **choice.parameters,
            )
            return {R2STAR.suffix: fit.r2star, T2STAR.suffix: fit.t2star}, {}

        done = self._stage("r2star", needs, (R2STAR, T2STAR), compute)
        for artifact in done.artifacts.values():
            artifact.drop()

    def _background(self) -> None:
        method = self.options.choice("background").method
        if self.options.choice("inversion").method.of is not None:
            return  # the inversion does this as well

        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            start = sources.start_of(self, choice.method)
            local = choice.method(
                start.data, start.mask, self.acq, progress=progress, **start.arrays, **choice.parameters
            )
            out = {
                LOCAL.suffix: local.field_ppm,
                VALID.suffix: local.mask,
                LOCAL_NOISE.suffix: local.noise_ppm,
            }
            kept = float(local.mask.sum()) / float(self.brain().sum())
            return out, {"kept_of_mask": round(kept, 4)}

        self._stage("background", sources.needs_of(self, method), (LOCAL, VALID, LOCAL_NOISE), compute)
        for artifact in self.done["field"].artifacts.values():
            artifact.drop()

    def _inversion(self) -> None:
        def compute(choice: Choice, progress: Callable[..., None]) -> Any:
            start = sources.start_of(self, choice.method)
            parameters, found = tuning.resolve(
                choice.method,
                choice.parameters,
                start.data,
                start.mask,
                self.acq,
                {**start.arrays, **sources.local_noise(self, choice.method)},
                progress=progress,
            )
            with offers.offers_taken() as offered:
                chi = choice.method(
                    start.data, start.mask, self.acq, progress=progress, **start.arrays, **parameters
                )
            extra: dict[str, Any] = {}
            if found is not None:
                extra["parameters"] = {**choice.all_parameters, **parameters}
                extra["references"] = [*choice.method.references, *found.references]
                extra["tuning"] = found.record()
                if found.note:
                    self.console.note(
                        f"{found.parameter} = {found.value:g} by rule {found.rule}: {found.note}"
                    )
            return {
                RAW_CHI.suffix: chi,
                DEVIATION.suffix: offered.get(offers.DEVIATION),
                RESIDUAL.suffix: offered.get(offers.RESIDUAL),
            }, extra

        chosen = self.options.choice("inversion")
        automatic = tuning.automatic(chosen.method, chosen.parameters) is not None
        code = ("chimap.tuning", "chimap.simulate") if automatic else ()
        outputs = (RAW_CHI, DEVIATION, RESIDUAL)
        self._stage("inversion", sources.needs_of(self, chosen.method), outputs, compute, code)
        self._data = None
