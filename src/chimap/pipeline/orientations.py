"""Several head orientations of one person: local field of each scan, one frame for all, one map (COSMOS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chimap import __version__
from chimap.errors import ChimapError, InputError
from chimap.io import tables
from chimap.io.nifti import write_json, write_text
from chimap.io.scan import Scan
from chimap.orientation.conditioning import Conditioning, best_extra, posture, tilt_of
from chimap.orientation.cosmos import REFERENCES, Cosmos, cosmos
from chimap.orientation.registration import Image, Registration, centre_of, register
from chimap.orientation.resample import b0_in_frame, resample
from chimap.pipeline.console import Console
from chimap.pipeline.measure import Measure, append_log, compile_clock, plain
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
from chimap.pipeline.store import Done, Output, Store, code_sha256, key_of
from chimap.types import Volume

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
    warnings += [*_doubts(frames), *done.record["warnings"]]
    for text in [*_doubts(frames), *done.record["warnings"]]:
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
        _rows(frames, directions),
        warnings,
    )
    _write_table(result)
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


def _doubts(frames: list[InFrame]) -> list[str]:
    out = []
    for frame in frames:
        r = frame.registration
        if r is not None and (r["Correlation"] < POOR or r["InverseConsistencyMillimetres"] > LOOSE_MM):
            out.append(
                f"{frame.name}: the registration is doubtful (correlation {r['Correlation']:.2f}, there and back misses by "
                f"{r['InverseConsistencyMillimetres']:.2f} mm): look at the picture of the registration"
            )
    return out


def _rows(frames: list[InFrame], directions: np.ndarray) -> list[dict[str, Any]]:
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


def _write_table(result: OrientationsResult) -> None:
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


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "infinite"
