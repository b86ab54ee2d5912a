"""One spot of a susceptibility map: what it measures, and whether it is a lesion or a vessel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.quantify._blobs import Blob
from chimap.quantify._vesselness import Box, axes_mm, blobness, box_around, connected, curvatures
from chimap.types import Mask, Volume

HALF = 0.5
LOW = 0.35
"""Parts of the contrast that bound a spot, and what it belongs to."""

_RING_MM = (2.0, 6.0)


@dataclass(frozen=True)
class Rules:
    """Limits of `judge`; see `chimap.quantify.lesions.find_lesions`."""

    contrast_ppm: float
    largest_mm: float
    roundness: float
    elongation: float
    r2star_contrast: float
    darkness: float


@dataclass(frozen=True)
class Spot:
    """A spot with its region (half height, in `box`) and its measures.

    `contrast_ppm` is signed; `axes` of the region and `reach_mm` of all that hangs together above 35 % of the
    contrast. `r2star_contrast` in 1/s and `darkness` (0 to 1) are None without those maps.
    """

    blob: Blob
    box: Box
    region: Mask
    background_ppm: float
    spread_ppm: float
    contrast_ppm: float
    roundness: float
    axes: tuple[float, float, float]
    reach_mm: float
    edge: float
    r2star_contrast: float | None
    darkness: float | None

    @property
    def elongation(self) -> float:
        """Longest axis over the mean of the others."""
        return self.axes[0] / max(float(np.sqrt(self.axes[1] * self.axes[2])), 1e-6)

    @property
    def stretch(self) -> float:
        """Reach of what it belongs to over the region's mean diameter."""
        return self.reach_mm / max(float(np.prod(self.axes) ** (1 / 3)), 1e-6)


def measure(
    blob: Blob,
    chi: Volume,
    mask: Mask,
    depth: Volume,
    voxel_size_mm: Sequence[float],
    largest_mm: float,
    r2star: Volume | None,
    magnitude: Volume | None,
    least_ppm: float,
) -> Spot | None:
    """Measure a spot; None if it has less contrast than `least_ppm`."""
    voxel = np.asarray(voxel_size_mm, float)
    steps = [float(v) for v in voxel_size_mm]
    radius = np.sqrt(3) * blob.scale_mm
    sign = 1.0 if blob.response > 0 else -1.0
    box = box_around(blob.index, 1.2 * largest_mm, steps, chi.shape)
    seed = tuple(i - b.start for i, b in zip(blob.index, box, strict=True))
    inside, part = mask[box], chi[box]
    offset = [(np.arange(b.start, b.stop) - i) * v for b, i, v in zip(box, blob.index, voxel, strict=True)]
    distance = np.sqrt(offset[0][:, None, None] ** 2 + offset[1][:, None] ** 2 + offset[2] ** 2)
    ring = inside & (distance > radius + _RING_MM[0]) & (distance < radius + _RING_MM[1])
    near = inside & (distance <= max(radius, 1.5 * float(voxel.max())))
    if ring.sum() < 20 or not near.any():
        return None
    around = part[ring]
    background = float(np.median(around))
    signed = sign * (part - np.float32(background))
    contrast = _top(signed[near])
    if contrast < least_ppm:
        return None
    spread = 1.4826 * float(np.median(np.abs(around - background)))
    top = np.unravel_index(np.argmax(np.where(near, signed, -np.inf)), near.shape)
    start = seed if signed[seed] > HALF * contrast else tuple(int(t) for t in top)
    within = inside & (distance < 1.2 * largest_mm)
    region = connected(within & (signed > HALF * contrast), start)
    lengths = axes_mm(region, steps)
    reach = axes_mm(connected(within & (signed > LOW * contrast), start), steps)[0]
    at_edge = float((depth[box][region] <= 1.01 * float(voxel.max())).mean())
    extra: list[float | None] = []
    for other, bright in ((r2star, True), (magnitude, False)):
        if other is None:
            extra.append(None)
            continue
        values, middle = other[box], float(np.median(other[box][ring]))
        if bright:
            extra.append(_top(values[near]) - middle)
        else:
            extra.append(1 - (-_top(-values[near])) / middle if middle > 0 else 0.0)
    return Spot(
        blob=blob,
        box=box,
        region=region,
        background_ppm=background,
        spread_ppm=spread,
        contrast_ppm=sign * contrast,
        roundness=blobness(curvatures(chi, blob.index, blob.scale_mm, steps)),
        axes=(float(lengths[0]), float(lengths[1]), float(lengths[2])),
        reach_mm=float(reach),
        edge=at_edge,
        r2star_contrast=extra[0],
        darkness=extra[1],
    )


def _top(values: Volume) -> float:
    """Mean of the three largest values: a peak that one noisy voxel does not make."""
    return float(np.sort(values)[::-1][:3].mean(dtype=np.float64))


def judge(spot: Spot, rules: Rules) -> str:
    """Why a spot is no lesion; ``""`` if it may be one."""
    if spot.roundness < rules.roundness:
        return "vessel or sheet: not round"
    if spot.elongation > rules.elongation:
        return "vessel: elongated"
    if spot.reach_mm > rules.largest_mm * 1.2:
        return "vessel or anatomy: goes on beyond the largest diameter"
    if spot.stretch > rules.elongation:
        return "vessel: part of something long"
    if spot.axes[0] > rules.largest_mm * 1.1:
        return "larger than the largest diameter"
    if spot.edge > 0.05:
        return "at the edge of the mask"
    if spot.r2star_contrast is not None and spot.r2star_contrast < rules.r2star_contrast:
        return "R2* not raised"
    if spot.r2star_contrast is None and spot.darkness is not None and spot.darkness < rules.darkness:
        return "signal not lowered"
    return ""
