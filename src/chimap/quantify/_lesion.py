"""What is known of one lesion: its record, made from the spot and its moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from chimap.quantify._spot import Spot
from chimap.quantify._vesselness import connected
from chimap.quantify.moment import Moment
from chimap.types import Volume

STAGES: dict[str, tuple[float, float]] = {
    "hyperacute": (0.57, 0.48),
    "acute": (1.30, 0.33),
    "early subacute": (1.14, 0.46),
    "late subacute": (0.40, 0.13),
    "chronic": (0.71, 0.31),
}
"""Mean and SD in ppm of the susceptibility of haematomas in 42 patients, Chang et al. 2016, doi:10.1002/jmri.25143."""

BLEED, CALCIUM, UNCERTAIN = "haemorrhage", "calcification", "uncertain"


@dataclass(frozen=True)
class Lesion:
    """One lesion. Susceptibility in ppm against its surroundings, moments in ppm mm3, lengths in mm.

    Attributes
    ----------
    number : int
        Its value in the label image; 1 has the largest moment.
    kind : str
        ``haemorrhage`` (paramagnetic), ``calcification`` (diamagnetic) or ``uncertain``.
    index : 3 float
        Centre of mass in voxels.
    position_mm : 3 float or None
        The same in the scanner's or template's mm, right, front, up (RAS); None without an affine.
    region : str, region_distance_mm : float
        Nearest labelled region and how far it is (0: inside); "" and NaN without labels.
    contrast_ppm : float
        Peak (mean of three voxels) against the median of a ring around it.
    mean_ppm, background_ppm : float
        Mean contrast over the region, and the ring's median as it is in the map.
    moment, moment_error : float
        Integral of the contrast over the lesion and its standard error, and
    moment_from : str
        whether it comes from the ``local field`` or from the ``susceptibility``.
    volume_mm3, diameter_mm : float
        Of the region above half of the contrast in susceptibility, where signal loss does not bloom, and the diameter of a ball of that volume.
    dark_volume_mm3 : float
        Volume as it looks on R2* (or magnitude), blooming included; NaN without both maps.
    elongation, roundness : float
        Shape: longest axis over the others; least over the other curvatures.
    r2star_contrast : float
        In 1/s, NaN without R2*.
    hint : str
        Stages of haemorrhage whose published range holds the susceptibility. A hint, no diagnosis.
    """

    number: int
    kind: str
    index: tuple[float, float, float]
    position_mm: tuple[float, float, float] | None
    region: str
    region_distance_mm: float
    contrast_ppm: float
    mean_ppm: float
    background_ppm: float
    moment: float
    moment_error: float
    moment_from: str
    volume_mm3: float
    diameter_mm: float
    dark_volume_mm3: float
    elongation: float
    roundness: float
    r2star_contrast: float
    hint: str


@dataclass(frozen=True)
class Lesions:
    """Lesions by moment, largest first; `labels` (x, y, z) int16 holds their numbers.

    `rejected` are spots with the contrast of a lesion that are none, as (voxel, contrast in ppm, why). `left_out` says what could
    not be done for want of an input.
    """

    found: list[Lesion]
    labels: np.ndarray
    rejected: list[tuple[tuple[int, int, int], float, str]]
    left_out: list[str] = field(default_factory=list)


def stage_hint(contrast_ppm: float, diameter_mm: float, voxel_mm: float) -> str:
    """Stages of haemorrhage whose published mean and SD hold a susceptibility, nearest first; a hint, no diagnosis.

    Lesions of less than three voxels' diameter get none: partial volume decides their susceptibility.
    Ranges: Chang et al. 2016, doi:10.1002/jmri.25143. They overlap.
    """
    if contrast_ppm <= 0:
        return ""
    if diameter_mm < 3 * voxel_mm:
        return "too small for a hint"
    fits = sorted(
        (abs(contrast_ppm - m) / s, name) for name, (m, s) in STAGES.items() if abs(contrast_ppm - m) <= s
    )
    return "hint: " + " or ".join(n for _, n in fits) if fits else "hint: outside published ranges"


def describe(
    n: int,
    spot: Spot,
    used: Moment,
    origin: str,
    agree: bool,
    chi: Volume,
    given: Mapping[str, Volume],
    voxel: Sequence[float],
    low: Sequence[int],
    affine: np.ndarray | None,
    nearest,  # type: ignore[no-untyped-def]
) -> Lesion:
    """The record of one spot that counts."""
    start = np.array([b.start for b in spot.box]) + low
    weight = np.abs(chi[spot.box] - np.float32(spot.background_ppm)) * spot.region
    centre = np.array(ndimage.center_of_mass(weight)) + start
    at = tuple(int(i) for i in np.rint(centre))
    volume = float(spot.region.sum() * np.prod(voxel))
    diameter = (6 * volume / np.pi) ** (1 / 3)
    name, distance = nearest((at[0], at[1], at[2]))
    kind = (BLEED if used.moment > 0 else CALCIUM) if agree else UNCERTAIN
    mean = float((chi[spot.box][spot.region] - np.float32(spot.background_ppm)).mean(dtype=np.float64))
    position = None if affine is None else (np.asarray(affine) @ (*centre, 1))[:3]
    return Lesion(
        number=n,
        kind=kind,
        index=(float(centre[0]), float(centre[1]), float(centre[2])),
        position_mm=None
        if position is None
        else (float(position[0]), float(position[1]), float(position[2])),
        region=name,
        region_distance_mm=distance,
        contrast_ppm=spot.contrast_ppm,
        mean_ppm=mean,
        background_ppm=spot.background_ppm,
        moment=used.moment,
        moment_error=used.error,
        moment_from=origin,
        volume_mm3=volume,
        diameter_mm=float(diameter),
        dark_volume_mm3=dark_volume(spot, given, voxel),
        elongation=spot.elongation,
        roundness=spot.roundness,
        r2star_contrast=float("nan") if spot.r2star_contrast is None else spot.r2star_contrast,
        hint=stage_hint(spot.contrast_ppm, float(diameter), max(voxel)) if kind == BLEED else "",
    )


def dark_volume(spot: Spot, given: Mapping[str, Volume], voxel: Sequence[float]) -> float:
    """Volume above half of the contrast in R2*, or below in magnitude, of what touches the region."""
    if "r2star" in given:
        part, sign = given["r2star"][spot.box], 1.0
    elif "magnitude" in given:
        part, sign = given["magnitude"][spot.box], -1.0
    else:
        return float("nan")
    near = ndimage.binary_dilation(spot.region, iterations=3)
    ring = ndimage.binary_dilation(near, iterations=2) & ~near
    if not ring.any():
        return float("nan")
    excess = sign * (part - np.float32(np.median(part[ring])))
    top = float(np.sort(excess[near])[::-1][:3].mean())
    start = np.unravel_index(np.argmax(np.where(spot.region, excess, -np.inf)), part.shape)
    region = connected(near & (excess > 0.5 * top), [int(i) for i in start])
    return float(region.sum() * np.prod(voxel))
