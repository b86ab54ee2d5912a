"""Susceptibility tensor of a head from its local fields in several positions, all in one frame.

  chimap sti field1.nii.gz field2.nii.gz ... --mask mask.nii.gz --directions b0.txt -o out
  chimap sti field?.nii.gz --mask mask?.nii.gz --noise noise?.nii.gz --isotropic csf.nii.gz --guide magnitude.nii.gz -o out
  chimap sti field?.nii.gz --mask mask.nii.gz --model axis --v1 dti_V1.nii.gz --v1-frame fsl -o out

The fields must be registered to each other. B0 in each position, along the voxel axes of the common grid, comes from --directions (a line
x y z for each field), from B0_dir in the fields' JSON sidecars, or from their headers if these differ. Written into the output folder:
tensor.nii.gz (xx, xy, xz, yy, yz, zz), mean.nii.gz, anisotropy.nii.gz (all in ppm), direction.nii.gz (along the voxel axes), colours.nii.gz,
angle.nii.gz (to B0 in the first position, degrees), tensor.json and tensor.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.cli import _finds, _stage
from chimap.errors import InputError
from chimap.io.colours import save_colours
from chimap.io.directions import FRAMES, directions_of_files, read_directions, read_vectors
from chimap.io.geometry import voxel_size
from chimap.io.nifti import make_folder, read_header, save_volume, whole_file, write_json
from chimap.pipeline.measure import Measure, append_log, plain

SUMMARY = "susceptibility tensor from the local fields of several head positions"
REFERENCES = ("10.1002/mrm.22482", "10.1002/mrm.25322")
_DOI = {"asymmetric": "10.1109/JBHI.2022.3182969", "axis": "10.1016/j.neuroimage.2012.04.042"}
_NUMBERS: tuple[tuple[str, type, Any, str], ...] = (
    ("smooth", float, 0.1, "smoothness of the anisotropic part in mm^2"),
    ("smooth_mean", float, 0.03, "smoothness of the mean in mm^2"),
    ("edges", float, 0.3, "share of the mask that counts as edge of --guide"),
    ("ridge", float, 0.0, "how much a small anisotropy is preferred"),
    ("axis_weight", float, 0.1, "how much tensors around --v1 are preferred (model symmetric)"),
    ("noise_floor", float, 0.5, "error that --noise does not contain, as a multiple of its median"),
    ("tolerance", float, 1e-3, "stop at this relative residual"),
    ("iterations", int, 100, "most iterations"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    add = parser.add_argument
    add("fields", nargs="+", metavar="FIELD", help="local fields in ppm, one a position")
    add(
        "--mask",
        nargs="+",
        required=True,
        metavar="NII",
        help="where they are valid: one for all, or one each",
    )
    add("-o", "--output", required=True, metavar="FOLDER", help="folder for the maps")
    add(
        "--directions",
        metavar="FILE",
        help="directions of B0 along the voxel axes: a line x y z for each field",
    )
    add("--noise", nargs="+", metavar="NII", help="standard deviation of each field in ppm")
    add(
        "--model", choices=("symmetric", "asymmetric", "axis"), default="symmetric",
        help="six unknowns a voxel, nine, or two around known fibres (default: symmetric)",
    )  # fmt: skip
    add(
        "--isotropic",
        metavar="NII",
        help="mask of tissue that is held isotropic: fluid, or all but white matter",
    )
    add("--v1", metavar="NII", help="fibre directions, (x, y, z, 3), on the same grid")
    add(
        "--v1-frame", choices=FRAMES, default="voxel",
        help="axes of --v1: voxel axes; those as FSL has them; right, front, up (default: voxel)",
    )  # fmt: skip
    add("--guide", metavar="NII", help="image on the same grid whose edges the tensor may have")
    add("--figure", choices=("png", "svg", "none"), default="png", help="kind of the figure (default: png)")
    group = parser.add_argument_group("parameters")
    for name, kind, default, text in _NUMBERS:
        group.add_argument(
            "--" + name.replace("_", "-"), type=kind, default=default, metavar="N",
            help=f"{text} (default: {default:g})",
        )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Read, invert, write."""
    from chimap.orientation.sti import sti
    from chimap.orientation.tensor_maps import direction_colours, fibre_angle, tensor_maps

    folder = _finds.output_folder(args)
    console = _stage.console_of(args)
    first = args.fields[0]
    header = read_header(first)
    like = (first, header.shape)
    directions, source = _directions(args)
    for flag, given in (("--mask", args.mask), ("--noise", args.noise)):
        if given and len(given) not in ({1, len(args.fields)} if flag == "--mask" else {len(args.fields)}):
            raise InputError(
                f"{len(args.fields)} fields but {len(given)} files for {flag}", fix="Give one a field"
            )
    masks = [_stage.read_mask(m, like) for m in args.mask]
    fields = [
        _stage.finite(_stage.read(f, like), masks[n % len(masks)], f) for n, f in enumerate(args.fields)
    ]
    arrays: dict[str, Any] = {"noise": [_stage.read(p, like) for p in args.noise] if args.noise else None}
    if args.isotropic:
        arrays["isotropic"] = _stage.read_mask(args.isotropic, like)
    if args.guide:
        arrays["guide"] = _stage.read(args.guide, like)
    if args.v1:
        arrays["axis"] = read_vectors(args.v1, header.shape, args.v1_frame)
    acqs = [Acquisition((0.02,), 3.0, tuple(h), voxel_size(header.affine)) for h in directions]
    numbers = {name: getattr(args, name) for name, *_ in _NUMBERS}
    with console.stage("sti", args.model) as bar:
        with Measure(bar) as measure:
            found = sti(
                fields, masks * (len(fields) // len(masks)), acqs, model=args.model, progress=measure.progress,
                **arrays, **numbers,
            )  # fmt: skip
        record = measure.record("sti", args.model)
    record["parameters"] = plain(numbers)
    append_log(args.log_json, record)
    maps = tensor_maps(found.tensor_ppm, found.mask)
    affine = header.affine
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    full = max(float(np.quantile(maps.anisotropy_ppm[found.mask], 0.99)), 1e-6)
    colours = direction_colours(maps.direction, maps.anisotropy_ppm, full=full, axes=axes)
    make_folder(folder)
    for name, volume in (
        ("tensor", found.tensor_ppm), ("mean", maps.mean_ppm), ("anisotropy", maps.anisotropy_ppm),
        ("direction", maps.direction), ("angle", fibre_angle(maps.direction, tuple(directions[0]))),
    ):  # fmt: skip
        save_volume(folder / f"{name}.nii.gz", volume, affine, description=f"chimap sti {name}")
    save_colours(folder / "colours.nii.gz", colours, affine)
    write_json(folder / "tensor.json", _facts(args, found, directions, source, numbers))
    if args.figure != "none":
        from chimap.report.tensor import tensor_figure

        with whole_file(folder / f"tensor.{args.figure}") as f:
            f.write(
                tensor_figure(
                    maps.mean_ppm, maps.anisotropy_ppm, colours, affine, found.mask, kind=args.figure
                )
            )
    if not found.converged:
        console.note(
            f"not converged after {found.iterations} iterations; see Residual in {folder / 'tensor.json'}"
        )
    print(
        f"sti: {len(fields)} positions (directions from {source}, condition {found.condition:.3g}), "
        f"{found.iterations} iterations: {folder / 'tensor.nii.gz'}"
    )
    return 0


def _directions(args: argparse.Namespace) -> tuple[np.ndarray, str]:
    if not args.directions:
        return directions_of_files(args.fields)
    directions = read_directions(args.directions)
    if len(directions) != len(args.fields):
        raise InputError(
            f"{len(directions)} directions but {len(args.fields)} fields",
            file=args.directions,
            fix="Give one a field",
        )
    return directions, "table"


def _facts(
    args: argparse.Namespace, found: Any, directions: np.ndarray, source: str, numbers: dict[str, Any]
) -> dict[str, Any]:
    from chimap.pipeline.provenance import names_of

    given = [
        *args.fields,
        *args.mask,
        *(args.noise or ()),
        *(p for p in (args.isotropic, args.v1, args.guide) if p),
    ]
    dois = [*REFERENCES, *([_DOI[args.model]] if args.model in _DOI else [])]
    return {
        "Description": "Susceptibility tensor; components in the order xx, xy, xz, yy, yz, zz along the voxel axes",
        "Units": "ppm",
        "Method": args.model,
        "Parameters": plain(numbers),
        "B0_dir": directions.tolist(),
        "DirectionsFrom": source,
        "ConditionNumber": round(found.condition, 4) if np.isfinite(found.condition) else None,
        "Iterations": found.iterations,
        "Residual": found.residual,
        "Converged": found.converged,
        "Sources": list(names_of([Path(p) for p in given], Path(args.output)).values()),
        "References": [f"doi:{d}" for d in dois],
    }
