"""Several head orientations of one person: local field of each scan, one frame for all, one map (COSMOS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chimap import __version__
from chimap.errors import ChimapError, InputError
from chimap.io.scan import Scan
from chimap.orientation.conditioning import Conditioning, best_extra
from chimap.orientation.cosmos import REFERENCES, Cosmos, cosmos
from chimap.orientation.registration import Image, Registration, centre_of, register
from chimap.orientation.resample import b0_in_frame, resample
from chimap.pipeline.console import Console
from chimap.pipeline.measure import Measure, append_log, compile_clock, plain
from chimap.pipeline.orientation_results import (
    COSMOS_CHI,
    COSMOS_MASK,
    FIELD,
    FIELD_MASK,
    FIELD_NOISE,
    MAGNITUDE,
    InFrame,
    OrientationsResult,
    doubts,
    rows_of,
    write_table,
)
from chimap.pipeline.plan import (
    BRAIN,
    COMBINED,
    LOCAL,
    LOCAL_NOISE,
    VALID,
    Options,
    result_name,
    scan_folder,
)
from chimap.pipeline.run import _Run
from chimap.pipeline.runner import Runner
from chimap.pipeline.store import Done, Store, code_sha256, key_of
from chimap.types import Volume


class _UpToLocalField(_Run):
    """A scan's stages up to its local field."""

    def local_field(self) -> Runner:
        for stage in ("mask", "field", "background"):
            self.options.choice(stage)
        with self.console.whole(("read", "mask", "field", "background"), self.scan.name):
            self._read()
            self._mask()
            self._field()
            self._background()
        self.forget_data()
        if "background" not in self.done:
            raise InputError(
                f"inversion method {self.options.choice('inversion').method.name} leaves no local field",
                fix="Choose a preset whose inversion starts from the local field",
            )
        return self


def of_one_person(scans: Sequence[Scan]) -> list[list[Scan]]:
    """The scans by subject and session, each group with names of its own in the order given.

    Raises
    ------
    InputError
        If a subject has only one scan.
    """
    groups: dict[tuple[str, str], list[Scan]] = {}
    for scan in scans:
        groups.setdefault((scan.entities.get("sub", "01"), scan.entities.get("ses", "")), []).append(scan)
    for members in groups.values():
        if len(members) < 2:
            raise InputError(
                f"{result_name(members[0])} is the only scan of its subject; two or more orientations are needed",
                fix="Give all scans of one person, with names such as acq-ori1, acq-ori2 or run-1, run-2",
            )
    return [_distinct(members) for members in groups.values()]


def reconstruct_orientations(
    scans: Sequence[Scan],
    out_dir: str | Path,
    options: Options | None = None,
    *,
    settings: dict[str, Any] | None = None,
    registered: bool = False,
    within_deg: float = 25.0,
    console: Console | None = None,
    log_json: str | Path | None = None,
) -> OrientationsResult:
    """Susceptibility from several orientations of one head, in BIDS derivatives.

    Parameters
    ----------
    scans : sequence of Scan
        Of one person; the first one's grid is the common frame.
    out_dir : path
        Root of the derivatives.
    options : Options, optional
        Preset, methods and parameters of the stages up to the local field.
    settings : dict, optional
        Parameters of `chimap.cosmos`.
    registered : bool
        The head does not move between the affines of the scans: no registration.
    within_deg : float
        Largest tilt for the advice on a further orientation.
    console, log_json
        As for `run_scan`.

    Raises
    ------
    InputError
        If a scan cannot be used, or SimpleITK is missing.
    """
    compile_clock.start()
    out_dir, options = Path(out_dir), options or Options()
    console = console or Console(quiet=True)
    runs = []
    for scan in scans:
        try:
            runs.append(_UpToLocalField(scan, out_dir, options, console, log_json).local_field())
        except InputError as e:
            raise InputError(f"{result_name(scan)}: {e.what}", file=e.file, fix=e.fix) from e
    warnings = [f"{r.store.name}: {w}" for r in runs for w in r.warnings]
    frames = [_in_frame(r, runs[0], registered, console, log_json) for r in runs]
    store = Store(scan_folder(out_dir, scans[0]), _common_name(scans), force=options.force)
    done = _inverted(frames, runs, store, settings or {}, console, log_json)
    warnings += [*doubts(frames), *done.record["warnings"]]
    for text in [*doubts(frames), *done.record["warnings"]]:
        console.note(text)
    affine = runs[0].affine
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    directions = np.array([axes @ np.asarray(f.b0_dir) for f in frames])
    extra, with_extra = best_extra(directions, within_deg)
    values = done.record["conditioning"]
    result = OrientationsResult(
        store,
        affine,
        frames,
        done,
        directions,
        Conditioning(*(float(values[k]) for k in ("number", "weakest", "badly_known", "noise_gain"))),
        extra,
        with_extra,
        rows_of(frames, directions),
        warnings,
    )
    write_table(result)
    return result


def _in_frame(
    run: Runner, first: Runner, registered: bool, console: Console, log_json: str | Path | None
) -> InFrame:
    """Register one scan to the first and interpolate its field once, unless that was done before."""
    own = run is first
    name = run.store.name
    needs = {
        "field": run.sha("background", LOCAL),
        "noise": run.sha("background", LOCAL_NOISE),
        "magnitude": [r.sha("read", COMBINED) for r in (run, first)],
        "masks": [r.sha("mask", BRAIN) for r in (run, first)],
        "affines": plain([run.affine, first.affine]),
        "registered": registered or own,
    }
    key = key_of(inputs=needs, code=code_sha256("chimap.orientation"), version=__version__)
    done = run.store.find("registration", key, FIELD.suffix)
    if done is not None:
        console.skipped("registration", name)
    else:
        with console.stage("registration", name) as bar:
            with Measure(bar) as measure:
                found = (
                    None
                    if own or registered
                    else register(_image(first), _image(run), progress=measure.progress)
                )
                arrays = _moved(run, first, found)
            record = measure.record("registration", "given" if found is None else "rigid")
        append_log(log_json, {"scan": name, **record})
        motion = None if found is None else found.matrix
        record["b0_dir"] = b0_in_frame(run.acq.b0_dir, run.affine, first.affine, motion)
        record["registration"] = None if found is None else found.to_dict(centre_of(_image(first)))
        outputs = (FIELD, FIELD_MASK, FIELD_NOISE, MAGNITUDE)
        facts = {"B0_dir": record["b0_dir"], "Registration": record["registration"]}
        done = run.store.save("registration", key, outputs, arrays, first.affine, {**record, "inputs": needs}, facts)  # fmt: skip
    for artifact in done.artifacts.values():
        artifact.drop()
    b = done.record["b0_dir"]
    return InFrame(name, done, (b[0], b[1], b[2]), done.record["registration"])


def _image(run: Runner) -> Image:
    magnitude = run.combined()
    if magnitude is None:
        raise InputError(
            f"{run.store.name} has no magnitude, which scans are registered by",
            fix="Give the magnitudes, or --registered if the head lies the same way in all images",
        )
    return Image(magnitude, run.brain(), run.affine)


def _moved(run: Runner, first: Runner, found: Registration | None) -> dict[str, Volume]:
    motion = None if found is None else found.matrix
    shape = first.brain().shape
    background = run.done["background"]
    valid = background[VALID.suffix].get()

    def move(volume: Volume, mask: np.ndarray, **how: Any) -> tuple[Volume, np.ndarray]:
        return resample(volume, mask, run.affine, first.affine, shape, motion, **how)

    field, inside = move(background[LOCAL.suffix].get(), valid)
    if not inside.any():
        raise ChimapError(
            f"the field of {run.store.name} lies outside the first scan's grid after registration",
            fix="Look at the magnitudes; give --registered if they are aligned already",
        )
    out = {FIELD.suffix: field, FIELD_MASK.suffix: inside}
    noise = background.get(LOCAL_NOISE.suffix)
    if noise is not None:
        out[FIELD_NOISE.suffix] = move(noise.get(), valid, order=1)[0]
    magnitude = run.combined()
    if magnitude is not None:
        out[MAGNITUDE.suffix] = move(magnitude, np.ones(magnitude.shape, bool), order=1)[0]
    return out


def _inverted(
    frames: list[InFrame],
    runs: list[Runner],
    store: Store,
    settings: dict[str, Any],
    console: Console,
    log_json: str | Path | None,
) -> Done:
    needs = [{s: a.sha256 for s, a in f.done.artifacts.items()} for f in frames]
    sources = [f"bids::{f.done[FIELD.suffix].path.name}" for f in frames]
    key = key_of(
        inputs=needs,
        b0=[f.b0_dir for f in frames],
        settings=settings,
        code=code_sha256("chimap.orientation"),
        version=__version__,
    )
    done = store.find("cosmos", key, COSMOS_CHI.suffix)
    if done is not None:
        console.skipped("cosmos")
        return done
    acq = runs[0].acq
    with console.stage("cosmos") as bar:
        with Measure(bar) as measure:
            noises = [f.done.get(FIELD_NOISE.suffix) for f in frames]
            found: Cosmos = cosmos(
                [f.done[FIELD.suffix].get() for f in frames],
                [f.done[FIELD_MASK.suffix].get() for f in frames],
                [acq.with_(b0_dir=f.b0_dir) for f in frames],
                noise=[None if n is None else n.get() for n in noises],
                progress=measure.progress,
                **settings,
            )
            chi = found.chi_ppm
            chi[found.mask] -= np.float32(chi[found.mask].mean(dtype=np.float64))
        record = measure.record("cosmos", "cosmos")
    append_log(log_json, {"scan": store.name, **record})
    for frame in frames:
        for artifact in frame.done.artifacts.values():
            artifact.drop()
    record |= {
        "parameters": {**settings, "regularisation": found.regularisation},
        "references": list(REFERENCES),
        "inputs": needs,
        "conditioning": vars(found.conditioning),
        "warnings": list(found.warnings),
    }
    facts = {"Sources": sources, **found.conditioning.to_dict(), "Warnings": list(found.warnings)}
    arrays = {COSMOS_CHI.suffix: chi, COSMOS_MASK.suffix: found.mask}
    return store.save("cosmos", key, (COSMOS_CHI, COSMOS_MASK), arrays, runs[0].affine, record, facts)


def _common_name(scans: Sequence[Scan]) -> str:
    """The entities that all scans share, without what tells orientations apart."""
    first = scans[0].entities
    shared = {k: v for k, v in first.items() if all(s.entities.get(k) == v for s in scans)}
    return "_".join(f"{k}-{v}" for k, v in {"sub": "01", **shared}.items())


def _distinct(scans: Sequence[Scan]) -> list[Scan]:
    """Scans of one name (from several folders, or plain files) are told apart as acq-ori1, acq-ori2 ..."""
    names = [result_name(s) for s in scans]
    if len(set(names)) == len(names):
        return list(scans)
    out = []
    for n, scan in enumerate(scans, 1):
        entities = {"sub": scan.entities.get("sub", "01")}
        entities |= {k: v for k, v in scan.entities.items() if k in ("ses",)}
        entities["acq"] = f"{scan.entities.get('acq', '')}ori{n}"
        entities |= {k: v for k, v in scan.entities.items() if k not in entities}
        name = "_".join(f"{k}-{v}" for k, v in entities.items())
        out.append(replace(scan, name=name, entities=entities))
    return out
