"""Veins in a susceptibility map: where they run, how wide they are, and their susceptibility against the tissue around."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.dipole import forward_field
from chimap.numerics.threads import slabs
from chimap.quantify._lumen import Lumen, box_of, to_line
from chimap.quantify._maps import check_limits, maps_given
from chimap.quantify._veins import Line, find_lines, fit, model_of, take_out
from chimap.registry import as_mask, as_volume
from chimap.types import Mask, Progress, Volume, silent

_ANATOMY_PPM = 0.01
"""What tissue's texture adds to the field, in the weights."""


@dataclass(frozen=True)
class Segment:
    """One straight piece of a vein.

    Attributes
    ----------
    number : int
        Its value in the label image; veins by length, longest first, their segments in order.
    vein : int
        Which vein it belongs to.
    line_mm : (n, 3) float
        Middle line in mm from the centre of voxel (0, 0, 0), along the voxel axes.
    position_mm : 3 float or None
        Its middle in the scanner's mm (RAS); None without an affine.
    length_mm, diameter_mm, diameter_se : float
        Along the line; of the lumen, with its standard error.
    angle_deg : float
        Of its chord to B0, 0 to 90.
    chi_ppm, chi_se : float
        Susceptibility against the tissue around, corrected for partial volume and regularisation, and its standard error.
    map_ppm : float
        What the map itself says: mean over voxels in the lumen, against the tissue around. Too low in thin veins.
    tissue_ppm : float
        The tissue around, in the map.
    r2star_contrast : float
        R2* of the voxels at the middle line less that around, in 1/s; NaN without R2*.
    signal : float
        Signal of blood over that of tissue, as the field map weighs them.
    note : str
        Why the segment cannot be relied on; "" if it can.
    """

    number: int
    vein: int
    line_mm: np.ndarray
    position_mm: tuple[float, float, float] | None
    length_mm: float
    diameter_mm: float
    diameter_se: float
    angle_deg: float
    chi_ppm: float
    chi_se: float
    map_ppm: float
    tissue_ppm: float
    r2star_contrast: float
    signal: float
    note: str

    @property
    def reliable(self) -> bool:
        """Whether there is nothing against it."""
        return not self.note


@dataclass(frozen=True)
class Veins:
    """Segments, the (x, y, z) int16 image of their numbers, where their susceptibility comes from, and what was left out."""

    segments: list[Segment]
    labels: np.ndarray
    measured_from: str
    left_out: list[str] = field(default_factory=list)


def find_veins(
    chi: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    local_field: Volume | None = None,
    noise: Volume | None = None,
    r2star: Volume | None = None,
    affine: np.ndarray | None = None,
    diameter_mm: tuple[float, float] = (1.0, 5.0),
    contrast_ppm: float = 0.15,
    shortest_mm: float = 8.0,
    depth_mm: float = 3.0,
    least_voxels: float = 1.75,
    progress: Progress | None = None,
) -> Veins:
    r"""Find veins and measure their susceptibility.

    Parameters
    ----------
    chi : (x, y, z) float32
        Susceptibility in ppm, any reference.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        Voxel size and direction of B0.
    local_field, noise : (x, y, z) float32, optional
        The local field that `chi` was made from, and its standard deviation, in ppm. Without the field that of `chi` itself stands in, in which
        what regularisation took from the veins is missing.
    r2star : (x, y, z) float32, optional
        R2* in 1/s: lines half as bright are taken where it is raised, lines where it is not are marked.
    affine : (4, 4), optional
        Voxel index to mm (RAS).
    diameter_mm : 2 float
        Range of diameters that are looked for.
    contrast_ppm : float
        Least contrast of a vein in the map.
    shortest_mm : float
        Shorter lines are left out.
    depth_mm : float
        Lines closer to the mask's edge than this are left out: field and map are worst there.
    least_voxels : float
        Segments thinner than this many voxels are measured, and marked: susceptibility and radius can hardly be told apart there. 1.75 and not
        2, since fitted diameters scatter by a tenth of a voxel.
    progress : callable, optional
        Told of each step.

    Returns
    -------
    Veins

    Raises
    ------
    InputError
        If shapes differ, or a range makes no sense.

    Notes
    -----
    Lines come from `chimap.quantify._tubes`. The field of everything but the veins is that of `chi` with each vein and its halo
    (2.5 voxels) replaced by the tissue around; what is left is fitted segment by segment by `chimap.quantify._lumen`, the other veins' fields
    taken off, in two rounds. One unknown susceptibility a body is how vials are measured as well
    (de Rochefort et al. 2008, doi:10.1002/mrm.21710); radius and susceptibility of veins from the signal in and around them
    were first told apart by Hsieh et al. 2015, doi:10.1016/j.mri.2015.01.004.
    """
    chi = as_volume(chi, "chi", 3)
    mask = as_mask(mask, chi.shape)
    check_limits(diameter_mm, contrast_ppm)
    given = maps_given({"local_field": local_field, "noise": noise, "r2star": r2star}, mask)
    chi = np.where(mask, chi, np.float32(0))
    voxel = np.asarray(acq.voxel_size_mm, float)
    tell = progress or silent
    tell(0, 4, stage="lines")
    points = find_lines(
        chi, mask, voxel, given.get("r2star"), diameter_mm, contrast_ppm, shortest_mm, depth_mm
    )
    tell(1, 4, found=len(points))
    lines, rest = take_out(points, chi, mask, voxel)
    data = given.get("local_field")
    if data is None:
        data = forward_field(chi, acq)
    left = np.where(mask, data - forward_field(rest, acq, pad=1.3), np.float32(0))
    variance = np.full(chi.shape, _ANATOMY_PPM**2, np.float32)
    use = mask.copy()
    if "noise" in given:
        known = given["noise"] > 0
        use &= known
        sd = given["noise"]
        variance += sd**2 + (np.float32(np.median(sd[known])) ** 2 if known.any() else 0)
    fits: dict[tuple[int, int], Lumen] = {}
    for turn in range(2):
        model = model_of(lines, chi.shape, voxel)
        others = left - forward_field(model, acq, pad=1.3)
        places = [(n, k) for n, line in enumerate(lines) for k in range(len(line.pieces))]

        def some(
            start: int, stop: int, others: Volume = others, places=places, rounds: int = 1 + 2 * turn
        ) -> None:  # type: ignore[no-untyped-def]
            for n, k in places[start:stop]:
                fits[n, k] = fit(lines[n], k, others, use, variance, voxel, acq, rounds)

        slabs(some, len(places))
        for n, line in enumerate(lines):
            for k in range(len(line.pieces)):
                if fits[n, k].voxels:
                    line.radius[k] = float(np.clip(fits[n, k].radius_mm, 0.2, diameter_mm[1]))
                    line.chi[k] = fits[n, k].chi_ppm
        tell(2 + turn, 4)
    segments, labels = _segments(
        lines, fits, chi, mask, given.get("r2star"), voxel, acq, affine, least_voxels
    )
    tell(4, 4, found=len(segments))
    left_out = []
    if "local_field" not in given:
        left_out.append(
            "no local field: susceptibility is fitted to the field of the map, in which thin veins have lost some; saturation comes out too high"
        )
    if "r2star" not in given:
        left_out.append(
            "no R2*: no check that signal decays faster in veins, fainter ones are not looked for"
        )
    if affine is None:
        left_out.append("no affine: no position in mm")
    return Veins(segments, labels, "local field" if "local_field" in given else "susceptibility", left_out)


def _segments(
    lines: list[Line],
    fits: dict[tuple[int, int], Lumen],
    chi: Volume,
    mask: Mask,
    r2star: Volume | None,
    voxel: np.ndarray,
    acq: Acquisition,
    affine: np.ndarray | None,
    least_voxels: float,
) -> tuple[list[Segment], np.ndarray]:
    size = float(np.prod(voxel) ** (1 / 3))
    labels = np.zeros(chi.shape, np.int16)
    out: list[Segment] = []
    for n, line in enumerate(lines):
        for k, part in enumerate(line.pieces):
            found = fits[n, k]
            number = len(out) + 1
            p = line.points[part]
            radius = found.radius_mm
            box = box_of(p, max(radius, size) + 6 * size, voxel, chi.shape)
            rho, _ = to_line(_centres(box, voxel), p, max(radius, size) + 6 * size)
            lumen = mask[box] & (rho <= max(radius, 0.6 * size))
            free = labels[box] == 0
            labels[box][lumen & free] = number
            around = mask[box] & (rho > radius + 2 * size) & (rho < radius + 5 * size)
            raised = math.nan
            if r2star is not None and around.any() and lumen.any():
                raised = float(r2star[box][lumen].mean() - np.median(r2star[box][around]))
            way = p[-1] - p[0]
            cosine = abs(float(way @ np.asarray(acq.b0_dir))) / max(float(np.linalg.norm(way)), 1e-9)
            at = p[len(p) // 2] / voxel
            place = None
            if affine is not None:
                x, y, z = (np.asarray(affine, float) @ (*at, 1))[:3]
                place = (float(x), float(y), float(z))
            length = float(np.linalg.norm(np.diff(p, axis=0), axis=1).sum())
            index = np.clip(np.rint(p / voxel).astype(int), 0, np.array(chi.shape) - 1)
            top = float(np.median(chi[tuple(index.T)])) - line.tissue[k]
            note = _note(found, length, raised, top, size, least_voxels)
            s = Segment(
                number=number,
                vein=n + 1,
                line_mm=p,
                position_mm=place,
                length_mm=length,
                diameter_mm=2 * radius,
                diameter_se=2 * found.radius_se,
                angle_deg=math.degrees(math.acos(min(cosine, 1.0))),
                chi_ppm=found.chi_ppm,
                chi_se=found.chi_se,
                map_ppm=float(chi[box][lumen].mean()) - line.tissue[k] if lumen.any() else math.nan,
                tissue_ppm=line.tissue[k],
                r2star_contrast=raised,
                signal=found.signal,
                note=note,
            )
            out.append(s)
    return out, labels


def _note(
    found: Lumen, length_mm: float, raised: float, top_ppm: float, size: float, least_voxels: float
) -> str:
    """Why a segment cannot be relied on; "" if it can."""
    if not found.voxels:
        return "too little field around it"
    if found.chi_ppm <= 0:
        return "not paramagnetic"
    if 2 * found.radius_mm < least_voxels * size:
        return "thinner than two voxels"
    if length_mm < max(8 * size, 4 * found.radius_mm):
        return "short"
    if found.chi_se > 0.25 * found.chi_ppm:
        return "susceptibility not certain"
    if raised <= 0:
        return "R2* not raised"
    if top_ppm > found.chi_ppm + 2 * found.chi_se:
        # A map loses susceptibility; where it has more than the fit, the vein is no round tube.
        return "no round tube: the map has more than the fit"
    return ""


def _centres(box: tuple[slice, ...], voxel: np.ndarray) -> np.ndarray:
    axes = [np.arange(b.start, b.stop) * v for b, v in zip(box, voxel, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)
