"""Microbleeds and calcifications of given size, susceptibility and place, put into a phantom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.simulate.dataset import scanner_affine
from chimap.simulate.phantom import Phantom
from chimap.simulate.scan import SimulatedScan
from chimap.simulate.tissue import LABELS, TISSUES
from chimap.types import Mask

Kind = Literal["microbleed", "calcification"]

HOMES = ("white matter", "grey matter", "thalamus", "caudate", "putamen", "brain stem")
"""Tissues that `random_lesions` puts lesions into."""

COLUMNS = {
    "kind": ("", "microbleed (paramagnetic) or calcification (diamagnetic)"),
    "x": ("mm", "centre to the right (RAS, as the image's affine has it)"),
    "y": ("mm", "centre to the front"),
    "z": ("mm", "centre up"),
    "diameter": ("mm", "diameter of the ball"),
    "chi": ("ppb", "susceptibility against water"),
    "moment": ("ppb mm^3", "integral of susceptibility against the tissue that the ball took the place of"),
}
"""What the table of the lesions' truth says; its units are those of `chimap lesions`."""

_PARTS = 5


@dataclass(frozen=True)
class Lesion:
    """A ball of one material.

    Attributes
    ----------
    kind : {"microbleed", "calcification"}
        Material: M0, R1 and R2* come from `chimap.simulate.tissue.TISSUES`.
    centre_mm : 3 float
        Place in mm along the axes of the phantom's grid, from the grid's centre (right, front, up in a head).
    diameter_mm : float
        Diameter.
    chi_ppm : float
        Susceptibility in ppm against water.
    """

    kind: Kind
    centre_mm: tuple[float, float, float]
    diameter_mm: float
    chi_ppm: float

    @property
    def volume_mm3(self) -> float:
        """Volume of the ball."""
        return float(np.pi / 6 * self.diameter_mm**3)


def place_lesions(phantom: Phantom, lesions: Sequence[Lesion]) -> tuple[Phantom, list[float]]:
    """A copy of a phantom with lesions in it.

    Voxels at the surface of a ball get the mean of both materials by their share (5 x 5 x 5 points a voxel), so that
    the moment is right for balls of any size.

    Parameters
    ----------
    phantom : Phantom
        The object.
    lesions : sequence of Lesion
        Where balls overlap, the later one wins.

    Returns
    -------
    phantom : Phantom
        With new maps; `labels` and `table` have the kind's number where a lesion fills at least half of a voxel.
    moments : list of float
        What each lesion adds to the integral of susceptibility over the phantom, in ppm mm3: its moment against the
        tissue it took the place of.

    Raises
    ------
    InputError
        If a lesion does not lie wholly inside the brain mask.
    """
    voxel = np.array(phantom.voxel_size_mm)
    maps = {n: getattr(phantom, n).copy() for n in ("chi_ppm", "m0", "r1", "r2star")}
    labels = phantom.labels.copy()
    growth = phantom.b0_t / 3.0
    moments = []
    for lesion in lesions:
        box, share = _share(phantom, lesion, voxel)
        if not lesion.diameter_mm > 0 or not phantom.mask[box][share > 0].all():
            raise InputError(
                f"the {lesion.kind} of {lesion.diameter_mm:g} mm at {lesion.centre_mm} mm is not wholly in the brain"
            )
        tissue = TISSUES[lesion.kind]
        before = maps["chi_ppm"][box].sum(dtype=np.float64)
        values = {
            "chi_ppm": lesion.chi_ppm,
            "m0": tissue.m0,
            "r1": tissue.r1 * growth ** (-1 / 3),
            "r2star": tissue.r2 + tissue.r2_field * growth,
        }
        for name, value in values.items():
            part = maps[name][box]
            part += share * (np.float32(value) - part)
        labels[box][share >= 0.5] = LABELS[lesion.kind]
        moments.append(float((maps["chi_ppm"][box].sum(dtype=np.float64) - before) * np.prod(voxel)))
    return replace(phantom, labels=labels, **maps), moments


def _share(
    phantom: Phantom, lesion: Lesion, voxel: np.ndarray
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """The part of each voxel that a ball fills, in the box around it."""
    centre = np.array(lesion.centre_mm) / voxel + (np.array(phantom.labels.shape) - 1) / 2
    reach = lesion.diameter_mm / 2 / voxel
    low = np.clip(np.floor(centre - reach - 0.5).astype(int), 0, None)
    high = np.minimum(np.ceil(centre + reach + 0.5).astype(int) + 1, phantom.labels.shape)
    if (low >= high).any():
        raise InputError(f"the {lesion.kind} at {lesion.centre_mm} mm lies outside the phantom")
    steps = (np.arange(_PARTS) + 0.5) / _PARTS - 0.5
    d2 = [
        ((np.arange(a, b)[:, None] + steps - c).ravel() * v) ** 2
        for a, b, c, v in zip(low, high, centre, voxel, strict=True)
    ]
    inside = d2[0][:, None, None] + d2[1][:, None] + d2[2] <= (lesion.diameter_mm / 2) ** 2
    n = high - low
    share = inside.reshape(n[0], _PARTS, n[1], _PARTS, n[2], _PARTS).mean(axis=(1, 3, 5), dtype=np.float64)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    return box, share.astype(np.float32)


def without_lesions(phantom: Phantom) -> Phantom:
    """A copy of a phantom whose microbleeds and calcifications are filled with the tissue next to them."""
    sick = np.isin(phantom.labels, [LABELS["microbleed"], LABELS["calcification"]])
    if not sick.any():
        return phantom
    index = np.nonzero(sick)
    box = tuple(slice(max(int(i.min()) - 8, 0), int(i.max()) + 9) for i in index)
    # Veins that touch a lesion do not grow into it.
    closed = sick[box] | (phantom.labels[box] == LABELS["veins"]) | ~phantom.mask[box]
    near = ndimage.distance_transform_edt(
        closed, sampling=phantom.voxel_size_mm, return_distances=False, return_indices=True
    )
    out = {}
    for name in ("chi_ppm", "m0", "r1", "r2star", "labels"):
        filled = getattr(phantom, name).copy()
        part = filled[box]
        part[sick[box]] = part[tuple(near)][sick[box]]
        out[name] = filled
    return replace(phantom, **out)


def random_lesions(
    phantom: Phantom,
    *,
    microbleeds: int = 40,
    calcifications: int = 15,
    diameter_mm: tuple[float, float] = (2.0, 8.0),
    bleed_ppm: tuple[float, float] = (0.5, 1.5),
    calcium_ppm: tuple[float, float] = (-2.5, -1.0),
    depth_mm: float = 4.0,
    gap_mm: float = 4.0,
    seed: int = 0,
) -> list[Lesion]:
    """Lesions at random places of the brain's tissue.

    Parameters
    ----------
    phantom : Phantom
        A head (its own lesions and veins are kept clear of).
    microbleeds, calcifications : int
        How many.
    diameter_mm : 2 float
        Diameters, drawn evenly between these.
    bleed_ppm, calcium_ppm : 2 float
        Susceptibilities against water, drawn evenly.
    depth_mm : float
        Least distance of a lesion's surface from the surface of the brain mask.
    gap_mm : float
        Least distance between the surfaces of two lesions.
    seed : int
        Same seed, same lesions, on any grid of the same head.

    Returns
    -------
    list of Lesion
        Microbleeds first. Centres lie in the tissues of `HOMES`; the ball may reach into others.

    Raises
    ------
    InputError
        If there is no room for them.
    """
    rng = np.random.default_rng([seed, 11])
    voxel = np.array(phantom.voxel_size_mm)
    middle = (np.array(phantom.labels.shape) - 1) / 2
    room = _depth(phantom.mask, voxel)
    taken = np.isin(phantom.labels, [LABELS["microbleed"], LABELS["calcification"], LABELS["veins"]])
    homes = [LABELS[h] for h in HOMES]
    bleeds: list[Kind] = ["microbleed"] * microbleeds
    kinds = bleeds + ["calcification"] * calcifications
    ranges = {"microbleed": bleed_ppm, "calcification": calcium_ppm}
    sizes = rng.uniform(*diameter_mm, len(kinds))
    chi = [float(rng.uniform(*ranges[k])) for k in kinds]
    extent = np.array(phantom.labels.shape) * voxel / 2
    found: dict[int, np.ndarray] = {}
    # The large ones first: they need the most room.
    for n in np.argsort(sizes)[::-1]:
        for _ in range(20_000):
            p = rng.uniform(-extent, extent)
            i = tuple(np.rint(p / voxel + middle).astype(int).clip(0, np.array(phantom.labels.shape) - 1))
            if phantom.labels[i] not in homes or taken[i] or room[i] < sizes[n] / 2 + depth_mm:
                continue
            if all(np.linalg.norm(p - q) >= (sizes[n] + sizes[m]) / 2 + gap_mm for m, q in found.items()):
                found[int(n)] = p
                break
        else:
            raise InputError(
                f"there is no room for {len(kinds)} lesions", fix="Ask for fewer, or smaller ones"
            )
    return [
        Lesion(kind, tuple(float(v) for v in found[n]), float(sizes[n]), chi[n])  # type: ignore[arg-type]
        for n, kind in enumerate(kinds)
    ]


def lesion_rows(
    lesions: Sequence[Lesion], moments: Sequence[float], phantom: Phantom, scan: SimulatedScan
) -> list[dict[str, Any]]:
    """One row of `COLUMNS` a lesion of a scanned phantom, with its place in the scan's mm."""
    affine = scanner_affine(scan.acq, scan.mask.shape)
    fine, coarse = np.array(phantom.voxel_size_mm), np.array(scan.acq.voxel_size_mm)
    rows = []
    for lesion, moment in zip(lesions, moments, strict=True):
        # Voxel 0 of the image begins where voxel 0 of the phantom begins.
        edge = np.array(lesion.centre_mm) + np.array(phantom.labels.shape) / 2 * fine
        place = (affine @ (*(edge / coarse - 0.5), 1))[:3]
        rows.append(
            {
                "kind": lesion.kind,
                **{axis: round(float(v), 2) for axis, v in zip("xyz", place, strict=True)},
                "diameter": round(lesion.diameter_mm, 3),
                "chi": round(1000 * lesion.chi_ppm, 1),
                "moment": round(1000 * moment),
            }
        )
    return rows


def _depth(mask: Mask, voxel: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_edt(mask, sampling=tuple(voxel))
