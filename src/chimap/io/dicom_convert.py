"""From DICOM files to NIfTI files with sidecars, through dcm2niix; what it would mix is sorted for it before."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from chimap.errors import InputError, OutputError
from chimap.io import dicom_frames, dicom_survey
from chimap.io.dicom_survey import Slice
from chimap.io.safe import make_folder, output_error, write_json, write_text
from chimap.io.sidecar import number, read_json, selected, stem

TIMEOUT_S = 3600
_SLOPE_AT = 112
"""Of scl_slope in a NIfTI-1 header, which dcm2niix writes in little-endian order."""
INCOMPLETE = "incomplete.txt"
_SORTED_BY = (
    "EchoTime",
    "EchoTime1",
    "EchoNumber",
    "SeriesNumber",
    "ImageType",
    "AcquisitionTime",
    "Part",
    "Channels",
)
# -g i: no settings of the user's. -ba y, -c: no names, dates, identifiers or comments. -w 2: nothing is
# overwritten. -l o, -p y: stored values as they are, Philips' exact scale.
_OPTIONS = ["-b", "y", "-ba", "y", "-z", "n", "-w", "2", "-l", "o", "-p", "y", "-d", "9", "-g", "i", "-c"]


def convert(folder: Path, work_dir: Path) -> Path:
    """Convert a DICOM folder, unsorted as it may be, into `work_dir`; returns the folder of NIfTI files.

    dcm2niix runs without a shell, leaves dates and names out of the sidecars, and writes into a folder that
    takes its name only when all is converted. What was converted from the same files before is used again.
    Series that dcm2niix would mix (receive channels; parts or echoes within one multi-frame file; echo times or scales that
    only private tags have) are converted image by image.

    Raises
    ------
    InputError
        If dcm2niix is missing, fails or finds no images, or if there are only mosaics.
    OutputError
        If `work_dir` cannot be written.
    """
    done = Path(work_dir) / f"dicom-{_fingerprint(folder)}"
    if done.is_dir():
        return done
    part = make_folder(Path(work_dir)) / f"{done.name}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    except OSError as e:
        raise output_error(e, part) from e
    try:
        _convert_into(folder, part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    try:
        part.rename(done)
    except OSError as e:
        raise output_error(e, done) from e
    return done


def _convert_into(folder: Path, part: Path) -> None:
    found = dicom_survey.survey(files(folder))
    persons = {s.person for s in found if s.person}
    if len(persons) > 1:
        raise InputError(
            f"the files are of {len(persons)} persons (PatientID differs)",
            file=folder,
            fix="Give a folder for each person",
        )
    series: dict[tuple[int, str], list[Slice]] = {}
    for s in found:
        series.setdefault(s.series, []).append(s)
    mosaics = {key for key, members in series.items() if any(s.mosaic for s in members)}
    special = {key: series[key] for key in sorted(dicom_survey.to_sort(series) - mosaics)}
    philips = any(s.philips for s in found)
    said = ""
    failed: list[InputError] = []
    # dcm2niix would wait for a pipe for ever.
    plain = all(path.is_file() for path in _entries(folder))
    if plain and not mosaics and not special:
        said = _run(folder, part, "s%s_e%e", folder, philips=philips)
    else:
        # Links lie outside of the results: their names hold the path of the input.
        with tempfile.TemporaryDirectory(prefix="chimap-dicom-") as temporary:
            aside = {s.path for key in (*mosaics, *special) for s in series[key]}
            rest = [f for f in files(folder) if f not in aside]
            if rest:
                _link(rest, Path(temporary) / "rest")
                said = _run(
                    Path(temporary) / "rest", part, "s%s_e%e", folder, philips=philips, required=not special
                )
            for n, members in enumerate(special.values()):
                own = Path(temporary) / f"done{n}"
                try:
                    said = (
                        _convert_series(n, members, Path(temporary) / str(n), make_folder(own), folder)
                        or said
                    )
                except InputError as e:
                    failed.append(e)  # One damaged series does not hide the others.
                    continue
                for file in own.iterdir():
                    shutil.move(file, part / file.name)
    if failed and not any(part.glob("*.nii")):
        raise failed[0]
    said = said or (failed[0].what if failed else "")
    if not any(part.glob("*.nii")):
        if mosaics:
            numbers = ", ".join(str(n) for n, _ in sorted(mosaics))
            raise InputError(
                f"series {numbers} is stored as mosaic (all slices tiled into one image), as EPI series are; "
                "no other series is here",
                file=folder,
                fix="Export the multi-echo gradient-echo series, magnitude and phase, without the option Mosaic",
            )
        why = f"dcm2niix made no image of it ({said or 'it gave no reason'})"
        raise InputError(why, file=folder, fix="Check that the DICOM files are complete images")
    if said:
        write_text(part / INCOMPLETE, said)
    for file in part.glob("*.json"):
        sidecar = read_json(file)
        _exact_scale(file.with_suffix(".nii"), sidecar)
        write_json(file, selected(sidecar) | {k: sidecar[k] for k in _SORTED_BY if k in sidecar})


def _run(source: Path, target: Path, name: str, folder: Path, *, philips: bool, required: bool = True) -> str:
    """Run dcm2niix; returns what it said about files that it could not convert, empty if there were none."""
    # The exact scale is Philips'; asked for elsewhere, dcm2niix has scaled enhanced files by numbers out of nowhere.
    command = [
        _program(),
        *_OPTIONS,
        "",
        "-p",
        "y" if philips else "n",
        "-f",
        name,
        "-o",
        str(target),
        str(source),
    ]
    try:
        r = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"dcm2niix did not finish within {TIMEOUT_S} s", file=folder) from None
    except OSError as e:
        raise InputError(f"dcm2niix cannot be started ({e.strerror})", fix="pip install dcm2niix") from e
    lines = (r.stdout + b"\n" + r.stderr).decode("utf-8", "replace").splitlines()
    said = next((s.strip() for s in reversed(lines) if "error" in s.lower()), "")
    # Paths of the input may hold the name of the person.
    said = re.sub(r"\S*/.*", "(a file)", said)
    unwritten = next((s for s in lines if "unable to write" in s.lower() or "disk full" in s.lower()), None)
    if unwritten is not None:
        # dcm2niix goes on with the next series; half a scan must not look like a whole one.
        raise OutputError(
            "dcm2niix could not write (the disk is full?)",
            file=target,
            fix="Free some space or use another disk",
        )
    if not any(target.glob("*.nii")):
        if not required:
            return ""
        why = f"dcm2niix made no image of it ({said or f'exit status {r.returncode}'})"
        raise InputError(why, file=folder, fix="Check that the DICOM files are complete images")
    if r.returncode not in (0, 8):  # 8: some files could not be converted, others could
        raise InputError(f"dcm2niix failed ({said or f'exit status {r.returncode}'})", file=folder)
    return (said or "no reason given") if r.returncode == 8 else ""


def _convert_series(index: int, members: list[Slice], temporary: Path, part: Path, folder: Path) -> str:
    """Convert a series image by image: one a part, echo and channel; channels are then put along the fourth axis.

    `index` keeps the names apart of series that have the same number.
    """
    number = members[0].series[0]
    groups = dicom_survey.groups(members)
    targets: dict[Path, list[tuple[Slice, Path]]] = {}
    for n, slices in enumerate(groups.values()):
        for i, s in enumerate(slices):
            target = temporary / str(n) / f"{i:06d}"
            targets.setdefault(s.path, []).append((s, target))
    for file, wanted in targets.items():
        if wanted[0][0].frame is None:
            for _, target in wanted:
                _link_one(file, target)
        else:
            dicom_frames.unpack(file, wanted)
    times = sorted({te for _, te, _ in groups})
    said = ""
    made: dict[tuple[str, float], list[Path]] = {}
    for n, ((kind, te, _), slices) in enumerate(groups.items()):
        out = temporary / f"out{n}"
        out.mkdir()
        said = _run(temporary / str(n), out, "image", folder, philips=slices[0].philips) or said
        first, *more = sorted(out.glob("*.nii"))
        echo = times.index(te) + 1
        name = f"s{number}_e{echo}_{index}-{n:04d}_{kind or 'magnitude'}"
        _settle(first, part / f"{name}.nii", slices[0], echo)
        if any("_Eq" in m.name for m in more):
            # The mark that slices are missing; see `dicom.find`.
            shutil.copyfile(more[0], part / f"{name}_Eq_1.nii")
        made.setdefault((kind, te), []).append(part / f"{name}.nii")
    for images in made.values():
        if len(images) > 1:
            _stack(images)
    return said


def _exact_scale(image: Path, sidecar: dict[str, Any]) -> None:
    """Put Philips' own slope into the header: dcm2niix takes it as a difference of numbers near pi, and loses four digits."""
    scale = number(sidecar.get("PhilipsScaleSlope"))
    if sidecar.get("UsePhilipsFloatNotDisplayScaling") != 1 or not scale > 0 or not image.is_file():
        return
    with open(image, "r+b") as f:
        f.seek(_SLOPE_AT)
        (slope,) = struct.unpack("<f", f.read(4))
        if abs(slope * scale - 1) < 1e-3:
            f.seek(_SLOPE_AT)
            f.write(struct.pack("<f", 1 / scale))


def _settle(image: Path, target: Path, s: Slice, echo: int) -> None:
    """Move an image and its sidecar to their names, with what the headers said."""
    sidecar = read_json(image.with_suffix(".json"))
    sidecar |= {"Part": s.part or "magnitude", "EchoNumber": echo, "SeriesNumber": s.series[0]}
    if not math.isnan(s.te_ms):
        sidecar["EchoTime"] = s.te_ms / 1000
    if s.shift is not None:
        picture = nib.load(image)
        raw = np.asanyarray(picture.dataobj.get_unscaled())
        scaled = nib.Nifti1Image((raw * s.shift[0] + s.shift[1]).astype(np.float32), picture.affine)
        scaled.header.set_xyzt_units("mm", "sec")
        nib.save(scaled, target)
        image.unlink()
    else:
        shutil.move(image, target)
    write_json(target.with_suffix(".json"), sidecar)


def _stack(images: Sequence[Path]) -> None:
    """The channels of an echo become one file (x, y, z, channel) under the first one's name."""
    loaded = [nib.load(p) for p in images]
    scales = {(im.dataobj.slope, im.dataobj.inter) for im in loaded}
    if len(scales) == 1:
        data = np.stack([np.asanyarray(im.dataobj.get_unscaled()) for im in loaded], -1)
    else:
        data = np.stack([np.asarray(im.dataobj, np.float32) for im in loaded], -1)
    out = nib.Nifti1Image(data, loaded[0].affine)
    out.header.set_xyzt_units("mm", "sec")
    if len(scales) == 1:
        out.header.set_slope_inter(*next(iter(scales)))
    sidecar = read_json(images[0].with_suffix(".json")) | {"Channels": len(images)}
    for p in images:
        p.unlink()
        p.with_suffix(".json").unlink()
    nib.save(out, images[0])
    write_json(images[0].with_suffix(".json"), sidecar)


def _link(sources: Iterable[Path], folder: Path) -> None:
    for i, source in enumerate(sources):
        _link_one(source, folder / f"{i:06d}")


def _link_one(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.resolve())
    except OSError as e:
        raise output_error(e, target) from e


def _fingerprint(folder: Path) -> str:
    """Changes when files are added, removed or replaced."""
    digest = hashlib.sha256()
    for file in files(folder):
        s = file.stat()
        digest.update(f"{file.relative_to(folder)} {s.st_size} {s.st_mtime_ns}\n".encode("utf-8", "replace"))
    return digest.hexdigest()[:12]


def _program() -> str:
    try:
        import dcm2niix

        if Path(dcm2niix.bin).is_file():
            return str(dcm2niix.bin)
    except ImportError:
        pass
    found = shutil.which("dcm2niix")
    if found is None:
        raise InputError("dcm2niix is not installed", fix="pip install dcm2niix")
    return found


def files(folder: Path) -> Iterator[Path]:
    """All files of a folder and those below it, hidden ones left out, in a fixed order.

    What is no file (a pipe, a device, a link to nothing) is left out too: reading might never end.
    """
    yield from (path for path in _entries(folder) if path.is_file())


def _entries(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders.sort()
        for f in sorted(names):
            if not f.startswith("."):
                yield Path(here) / f


def described(path: Path) -> dict[str, Any]:
    """The sidecar of a converted image; empty if it has none."""
    file = path.with_name(stem(path) + ".json")
    return read_json(file) if file.is_file() else {}
