"""What the single-stage commands share: their flags, reading files, running a method, its log line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.cli._flags import add_method_flags, method_values
from chimap.errors import InputError, OutputError, warnings_to
from chimap.io import scaling
from chimap.io.geometry import b0_direction
from chimap.io.nifti import load_volume, read_header, save_volume, write_json
from chimap.pipeline import presets
from chimap.pipeline.console import Console
from chimap.pipeline.measure import Measure, append_log, compile_clock, plain
from chimap.pipeline.weights import without_folder
from chimap.types import Mask, Volume


def add_choice(parser: argparse.ArgumentParser, stage: str) -> None:
    """Add --method and --preset."""
    group = parser.add_argument_group("method")
    group.add_argument(
        "--method", metavar="NAME", help=f"method of stage {stage} (chimap methods {stage} lists them)"
    )
    group.add_argument(
        "--preset", metavar="NAME", help=f"{' | '.join(presets.names())} (default: {presets.DEFAULT})"
    )


def add_method_arguments(parser: argparse.ArgumentParser, known: argparse.Namespace, stage: str) -> None:
    """Add the flags of the method that --method and --preset choose."""
    compile_clock.start()
    choice = presets.choose(stage, preset=known.preset, method=known.method)
    add_method_flags(parser, choice.method, choice.parameters)


def chosen(args: argparse.Namespace, stage: str) -> presets.Choice:
    """The method with the parameters that preset and flags set."""
    choice = presets.choose(stage, preset=args.preset, method=args.method)
    return presets.choose(
        stage,
        preset=args.preset,
        method=args.method,
        parameters={**choice.parameters, **method_values(args, choice.method)},
    )


def add_acquisition(parser: argparse.ArgumentParser, *, te: bool = True) -> None:
    """Add --acq and the flags that may stand in for it (`te`: echo times among them)."""
    group = parser.add_argument_group("acquisition", "a params.json, or flags that replace or overrule it")
    group.add_argument("--acq", metavar="JSON", help="file with TE [s], B0 [T], B0_dir and voxel_size [mm]")
    if te:
        group.add_argument("--te", type=float, nargs="+", metavar="S", help="echo times in seconds")
    group.add_argument("--b0", type=float, metavar="T", help="field strength in tesla")
    group.add_argument(
        "--b0-dir", type=float, nargs=3, metavar=("X", "Y", "Z"), help="B0 along the voxel axes"
    )
    group.add_argument("--voxel", type=float, nargs=3, metavar=("X", "Y", "Z"), help="voxel size in mm")


def acquisition(args: argparse.Namespace, image: str, *, needs_te: bool = True) -> Acquisition:
    """The acquisition from --acq and its replacements; voxel size and B0 direction default to the header's.

    A stage that works on a field in ppm needs neither echo times nor field strength (`needs_te` False).

    Raises
    ------
    InputError
        If neither --acq nor the flags give echo times and field strength.
    """
    header = read_header(image)
    te, b0 = getattr(args, "te", None), args.b0
    if args.acq is not None:
        acq = Acquisition.from_json(args.acq, voxel_size_mm=header.zooms_mm)
    else:
        missing = [f for f, v in (("--te", te), ("--b0", b0)) if v is None] if needs_te else []
        if missing:
            raise InputError(
                "the acquisition is not given", fix=f"Give --acq params.json, or {' and '.join(missing)}"
            )
        acq = Acquisition(
            te_s=tuple(te or (0.02,)),
            b0_t=3.0 if b0 is None else b0,
            b0_dir=b0_direction(header.affine),
            voxel_size_mm=header.zooms_mm,
        )
    changes: dict[str, Any] = {}
    if te:
        changes["te_s"] = tuple(te)
    if b0 is not None:
        changes["b0_t"] = b0
    if args.b0_dir:
        changes["b0_dir"] = tuple(args.b0_dir)
    if args.voxel:
        changes["voxel_size_mm"] = tuple(args.voxel)
    return acq.with_(**changes) if changes else acq


def read(path: str, like: tuple[str, tuple[int, ...]] | None = None, *, ndim: int | None = 3) -> Volume:
    """A volume from a file; its first three axes must be those of `like` (name, shape)."""
    data, _ = load_volume(path, ndim=ndim)
    if like is not None and data.shape[:3] != tuple(like[1][:3]):
        raise InputError(
            f"the shape {data.shape[:3]} is not that of {like[0]}, {tuple(like[1][:3])}",
            file=path,
            fix="Give images on the same grid",
        )
    return data


def read_mask(path: str, like: tuple[str, tuple[int, ...]]) -> Mask:
    """A mask from a file: what is above 0.5."""
    mask = np.nan_to_num(read(path, like)) > 0.5
    if not mask.any():
        raise InputError("the mask is empty", file=path, fix="Give a mask that covers the object")
    return mask


def finite(data: Volume, mask: Mask, path: str) -> Volume:
    """`data` with 0 for what is no number outside a mask.

    Raises
    ------
    InputError
        If there is NaN or infinity inside it.
    """
    bad = ~np.isfinite(data)
    count = int(np.count_nonzero(bad & mask))
    if count:
        raise InputError(
            f"{count} values inside the mask are NaN or infinite",
            file=path,
            fix="Leave those voxels out of the mask, or repair the data",
        )
    return np.where(bad, np.float32(0), data) if bad.any() else data


def read_phase(path: str, echoes: int, phase_range: list[float] | None, console: Console) -> Volume:
    """Phase in rad, (x, y, z, echo), from a file in rad or in another known convention, which is then said.

    Raises
    ------
    InputError
        If the values are no phase, or the number of echoes is not that of the echo times.
    """
    data, _ = load_volume(path, ndim=4)
    if data.shape[3] != echoes:
        raise InputError(
            f"the phase has {data.shape[3]} echoes but {echoes} echo times are given",
            file=path,
            fix="Give one echo time per echo",
        )
    buffer = np.moveaxis(data, 3, 0)
    s = scaling.statistics(buffer)
    if s.constant:
        echo = ", ".join(str(i + 1) for i in s.constant)
        raise InputError(
            f"the phase of echo {echo} is constant", file=path, fix="Export the phase images again"
        )
    limits = (phase_range[0], phase_range[1]) if phase_range else None
    found = scaling.detect(s, {"Units": "rad"}, sidecar=False, phase_range=limits, file=path)
    if found.factor != 1 or found.offset != 0 or found.level in ("warning", "error"):
        console.note(f"{path}: {found.what}")
    scaling.apply(buffer, found)
    return data


def check_output(*paths: str | None) -> None:
    """Fail before the work begins if a result could not be written where it should go."""
    for path in paths:
        if path is None:
            continue
        if Path(path).is_dir():
            raise OutputError("this is a folder; a file name is expected", file=path)
        if not str(path).endswith((".nii", ".nii.gz")):
            raise OutputError("results are NIfTI files", file=path, fix="Give a name that ends in .nii.gz")
        parent = Path(path).absolute().parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise OutputError(
                f"{parent} is a file, not a folder", file=path, fix="Choose another output folder"
            )
        if not os.access(parent, os.W_OK):
            raise OutputError(
                "no permission to write here", file=path, fix="Choose a folder you may write to"
            )


def execute(
    args: argparse.Namespace,
    choice: presets.Choice,
    call: Callable[[presets.Choice, Callable[..., None]], Any],
) -> Any:
    """Run ``call(choice, progress)`` with a bar, measure it, write its log line."""
    console = console_of(args)
    told: list[str] = []
    with console.stage(choice.stage, choice.method.name) as bar:
        with Measure(bar) as measure, warnings_to(told.append):
            result = call(choice, measure.progress)
        record = measure.record(choice.stage, choice.method.name)
    for text in dict.fromkeys(told):
        console.note(f"warning: {text}")
    record["warnings"] = told
    record["parameters"] = plain(without_folder(choice, choice.all_parameters))
    append_log(args.log_json, record)
    return result


def console_of(args: argparse.Namespace) -> Console:
    """The console that --quiet asks for."""
    return Console(quiet=args.quiet)


def save(path: str | None, array: Any, like: str, what: str) -> None:
    """Write a result on the grid of the file `like` (nothing without a path)."""
    if path is not None:
        save_volume(path, array, read_header(like).affine, description=f"chimap {what}")


def note_sidecar(path: str, values: dict[str, Any]) -> None:
    """Write facts about a result beside it as JSON."""
    write_json(path.removesuffix(".gz").removesuffix(".nii") + ".json", values)
