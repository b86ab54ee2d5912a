"""What `chimap simulate` can scan: its flags, the object itself, and the tables of its truth."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chimap.errors import InputError

if TYPE_CHECKING:
    from chimap.acquisition import Acquisition
    from chimap.simulate import Phantom, SimulatedScan
    from chimap.simulate.lesions import Lesion
    from chimap.types import Progress

# Flags that belong to some of the objects only, with what they are without being given.
_ONLY: dict[str, tuple[tuple[str, ...], Any]] = {
    "radius": (("sphere", "cylinder", "vials"), None),
    "chi": (("sphere", "cylinder"), 1.0),
    "axis": (("cylinder", "vials"), None),
    "scale": (("head",), 1.0),
    "microbleeds": (("head",), None),
    "calcifications": (("head",), None),
    "concentrations": (("vials",), (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)),
    "agent": (("vials",), None),
    "molar": (("vials",), None),
    "temperature": (("vials",), None),
    "container": (("vials",), None),
    "length": (("vials",), None),
}
_RADIUS = {"sphere": 15.0, "cylinder": 15.0, "vials": 7.0}
# Of the vials' field of view: the container's radius across, and the vials along.
_CONTAINER, _LENGTH = 0.44, 0.6


def add_object_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that say what is scanned."""
    group = parser.add_argument_group("what is scanned")
    add = group.add_argument
    add(
        "--object",
        choices=["head", "sphere", "cylinder", "vials"],
        default="head",
        help="head (default); sphere or cylinder in a flask; vials: a calibration phantom",
    )
    add("--radius", type=float, metavar="MM", help="of sphere, cylinder (default 15) or a vial (default 7)")
    add("--chi", type=float, metavar="PPM", help="of sphere or cylinder in water (default 1)")
    add(
        "--axis",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="of the cylinder (default 1 0 0); of vials a voxel axis (default 0 0 1)",
    )
    add("--scale", type=float, help="size of the head (default 1)")
    add(
        "--microbleeds",
        type=int,
        metavar="N",
        help="put N microbleeds into the head instead of its own lesions; their truth is written",
    )
    add("--calcifications", type=int, metavar="N", help="likewise, calcifications")
    group = parser.add_argument_group("--object vials")
    add = group.add_argument
    add(
        "--concentrations",
        type=float,
        nargs="+",
        metavar="C",
        help="of the vials in mmol/L (default 0.2 0.4 0.6 0.8 1.0 1.2)",
    )
    add("--agent", metavar="NAME", help="gadolinium (default), manganese or ferritin")
    add("--molar", type=float, metavar="PPM", help="susceptibility in ppm per mmol/L, instead of --agent")
    add("--temperature", type=float, metavar="C", help="of the phantom in degrees Celsius (default 20)")
    add(
        "--container",
        type=float,
        metavar="MM",
        help="radius of the container (default: 8 times that of a vial, more for many vials)",
    )
    add("--length", type=float, metavar="MM", help="of the vials (default: 0.6 of the field of view)")


def settle(args: argparse.Namespace) -> None:
    """Refuse flags of other objects, and fill in what was not given."""
    for name, (objects, default) in _ONLY.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif args.object not in objects:
            raise InputError(
                f"--{name} belongs to --object {' or '.join(objects)}, not {args.object}", fix="Leave it out"
            )
    if args.radius is None:
        args.radius = _RADIUS.get(args.object)
    for name in ("radius", "container", "length"):
        size = getattr(args, name)
        if size is not None and not size > 0:
            raise InputError(f"--{name} is {size:g} mm", fix="Give a positive length")
    if args.sources and args.object != "head":
        raise InputError(f"--sources goes with a head, not with a {args.object}", fix="Leave one of them out")
    if args.sources and (args.microbleeds is not None or args.calcifications is not None):
        raise InputError(
            "lesions that are put into the head have no sources", fix="Leave --sources or the lesions out"
        )
    if min(args.microbleeds or 0, args.calcifications or 0) < 0:
        raise InputError("the number of lesions is negative", fix="Give 0 or more")
    if args.object == "vials":
        if args.agent and args.molar is not None:
            raise InputError("both --agent and --molar were given", fix="Give one of them")
        if args.temperature is not None and args.molar is not None:
            raise InputError("--temperature says nothing about --molar", fix="Leave it out")
        args.axis = _voxel_axis(args.axis or (0, 0, 1))
        if args.molar is None:
            from chimap.quantify.agents import molar_susceptibility

            warmth = 20.0 if args.temperature is None else args.temperature
            args.molar = molar_susceptibility(args.agent or "gadolinium", warmth)


@dataclass
class Thing:
    """An object to scan, and what its truth table needs: its lesions with their moments."""

    phantom: Phantom
    lesions: list[Lesion] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)


def make(args: argparse.Namespace, fine: Acquisition, seed: int, progress: Progress) -> Thing:
    """The object on the fine grid."""
    if args.object == "head":
        return _head(args, fine, seed, progress)
    if args.object == "vials":
        return Thing(_vials(args, fine))
    return Thing(_in_flask(args, fine))


@dataclass(frozen=True)
class Truth:
    """A table of what was put into the object."""

    name: str
    columns: dict[str, tuple[str, str]]
    rows: list[dict[str, Any]]


def truth_of(args: argparse.Namespace, thing: Thing, scan: SimulatedScan) -> Truth | None:
    """The table of the vials, or of the lesions that were put into the head; None without any."""
    from chimap.simulate import lesions, vials

    if args.object == "vials":
        return Truth("vials", vials.COLUMNS, vials.vial_rows(scan, args.concentrations, args.molar))
    if args.microbleeds is None and args.calcifications is None:
        return None
    return Truth(
        "lesions", lesions.COLUMNS, lesions.lesion_rows(thing.lesions, thing.moments, thing.phantom, scan)
    )


def write_truth(truth: Truth | None, folder: Path, stem: str = "") -> None:
    """The table and its data dictionary."""
    from chimap.io import tables
    from chimap.io.nifti import write_json, write_text

    if truth is None:
        return
    path = folder / f"{stem}{truth.name}.tsv"
    write_text(path, tables.tsv(truth.rows, truth.columns, digits=7))
    write_json(path.with_suffix(".json"), tables.dictionary(truth.columns))


def _head(args: argparse.Namespace, fine: Acquisition, seed: int, progress: Progress) -> Thing:
    from chimap.simulate import head_phantom
    from chimap.simulate.lesions import place_lesions, random_lesions, without_lesions

    phantom = head_phantom(
        fine.voxel_size_mm,
        b0_t=fine.b0_t,
        seed=seed,
        scale=args.scale,
        sources=args.sources,
        progress=progress,
    )
    if args.microbleeds is None and args.calcifications is None:
        return Thing(phantom)
    phantom = without_lesions(phantom)
    lesions = random_lesions(
        phantom, microbleeds=args.microbleeds or 0, calcifications=args.calcifications or 0, seed=seed
    )
    phantom, moments = place_lesions(phantom, lesions)
    return Thing(phantom, lesions, moments)


def _vials(args: argparse.Namespace, fine: Acquisition) -> Phantom:
    from chimap.simulate.vials import vials

    wall = 0.5
    # As far apart on their ring, at 0.6 of the container, that a quarter of a vial is between two of them.
    apart = math.sin(math.pi / max(2, len(args.concentrations)))
    container = args.container or max(8 * args.radius, 1.25 * (args.radius + wall) / (0.6 * apart))
    side = container / _CONTAINER
    extent = [side] * 3
    if args.length:
        extent["xyz".index(args.axis)] = max(args.length / _LENGTH, side)
    shape = [_even(e, d) for e, d in zip(extent, fine.voxel_size_mm)]
    return vials(
        shape,
        fine,
        concentration_mm=args.concentrations,
        molar_ppm_per_mm=args.molar,
        radius_mm=args.radius,
        container_mm=container,
        length_mm=args.length,
        wall_mm=wall,
        axis=args.axis,
    )


def _voxel_axis(direction: Any) -> str:
    along = [abs(float(v)) > 1e-6 for v in direction]
    if sum(along) != 1:
        raise InputError(
            f"vials stand along a voxel axis, not along {tuple(direction)}",
            fix="Give 1 0 0, 0 1 0 or 0 0 1, and tilt B0 with --b0-dir",
        )
    return "xyz"[along.index(True)]


def _even(extent_mm: float, voxel_mm: float) -> int:
    """Voxels of an extent, a multiple of 6, so that image voxels of 1.5, 2 or 3 fill it as well."""
    return 6 * max(2, math.ceil(extent_mm / voxel_mm / 6))


def _in_flask(args: argparse.Namespace, fine: Acquisition) -> Phantom:
    """A sphere or cylinder in a flask six radii across, on the fine grid."""
    from chimap.simulate import cylinder, flask, sphere

    shape = [6 * max(2, math.ceil(args.radius / d)) for d in fine.voxel_size_mm]
    if args.object == "sphere":
        content = sphere(shape, fine, radius_mm=args.radius, chi_ppm=args.chi)
    else:
        axis = args.axis or (1, 0, 0)
        content = cylinder(shape, fine, radius_mm=args.radius, chi_ppm=args.chi, axis=axis)
    return flask(content, fine)
