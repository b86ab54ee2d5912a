"""What of a tumour, or any region of interest, is haemorrhage and what is calcification."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.quantify._vesselness import Box
from chimap.quantify.moment import Moment, Source, fit_moments, integral
from chimap.registry import as_mask, as_volume
from chimap.types import Mask, Volume

BLEED, CALCIUM = 1, 2
"""Numbers in the label image of `split`."""


@dataclass(frozen=True)
class Part:
    """One kind of deposit in a region: `volume_mm3`, `share` of the region's volume, `parts`, mean and extreme contrast in ppm, and its
    moment with standard error in ppm mm3 (NaN where there is none)."""

    kind: str
    volume_mm3: float
    share: float
    parts: int
    mean_ppm: float
    extreme_ppm: float
    moment: float
    moment_error: float
    moment_from: str


@dataclass(frozen=True)
class Split:
    """Haemorrhage and calcification of a region, its label image (1 and 2), background in ppm and volume in mm3."""

    haemorrhage: Part
    calcification: Part
    labels: np.ndarray
    background_ppm: float
    volume_mm3: float


def split(
    chi: Volume,
    roi: Mask,
    mask: Mask,
    acq: Acquisition,
    *,
    local_field: Volume | None = None,
    noise: Volume | None = None,
    contrast_ppm: float = 0.15,
    least_mm3: float = 4.0,
) -> Split:
    """Split a region into haemorrhage (paramagnetic), calcification (diamagnetic) and the rest.

    Parameters
    ----------
    chi : (x, y, z) float32
        Susceptibility in ppm, any reference.
    roi : (x, y, z) bool
        Tumour or haematoma.
    mask : (x, y, z) bool
        Where `chi` is valid.
    acq : Acquisition
        Voxel size and B0 direction.
    local_field, noise : (x, y, z) float32, optional
        Local field and its standard deviation in ppm, for moments without the loss by regularisation.
    contrast_ppm : float
        Least contrast of a voxel against the background, which is the median of the 10 mm around the region. Blood and
        calcium in glioblastoma are told apart by sign (Deistung et al. 2013, doi:10.1371/journal.pone.0057924).
    least_mm3 : float
        Smaller connected parts do not count.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If shapes differ, or no voxel of the region is valid.
    """
    chi = as_volume(chi, "chi", 3)
    mask, roi = as_mask(mask, chi.shape), as_mask(roi, chi.shape) & as_mask(mask, chi.shape)
    if not roi.any():
        raise InputError("no voxel of the region is valid in the map", fix="Give a region inside the mask")
    chi = np.where(mask, chi, np.float32(0))
    cell = float(np.prod(acq.voxel_size_mm))
    box = _wide(roi, 12.0, acq.voxel_size_mm)
    distance = ndimage.distance_transform_edt(~roi[box], sampling=acq.voxel_size_mm)
    ring = mask[box] & (distance > 2) & (distance <= 10)
    if not ring.any():
        ring = mask[box] & ~roi[box] if (mask[box] & ~roi[box]).any() else roi[box]
    background = float(np.median(chi[box][ring]))
    spread = 1.4826 * float(np.median(np.abs(chi[box][ring] - background)))
    labels = np.zeros(chi.shape, np.int16)
    excess = chi[box] - np.float32(background)
    volume = float(roi.sum() * cell)
    parts: list[tuple[str, Mask, list[Source]]] = []
    for kind, number, sign in (("haemorrhage", BLEED, 1), ("calcification", CALCIUM, -1)):
        pieces, count = ndimage.label(roi[box] & (sign * excess >= contrast_ppm))
        sizes = np.bincount(pieces.ravel(), minlength=count + 1) * cell
        keep = [n for n in range(1, count + 1) if sizes[n] >= least_mm3]
        region = np.isin(pieces, keep) & (pieces > 0)
        labels[box][region] = number
        sources = [Source(box, pieces == n, background, spread * float(sizes[n])) for n in keep]
        parts.append((kind, region, sources))
    sources = [s for _, _, these in parts for s in these]
    sums = [integral(chi, mask, s, acq.voxel_size_mm) for s in sources]
    fits = sums
    if local_field is not None:
        field = as_volume(local_field, "local_field", 3)
        sd = None if noise is None else as_volume(noise, "noise", 3)
        fits = fit_moments(chi, field, mask, acq, sources, noise=sd)
    done = []
    first = 0
    for kind, region, these in parts:
        mine = slice(first, first + len(these))
        first += len(these)
        done.append(
            _part(kind, region, excess, volume, cell, fits[mine], sums[mine], local_field is not None)
        )
    return Split(done[0], done[1], labels, background, volume)


def _part(
    kind: str,
    region: Mask,
    excess: Volume,
    whole_mm3: float,
    cell: float,
    fits: list[Moment],
    sums: list[Moment],
    from_field: bool,
) -> Part:
    nothing = float("nan")
    if not fits:
        return Part(kind, 0.0, 0.0, 0, nothing, nothing, nothing, nothing, "")
    used = [f if f.voxels else s for f, s in zip(fits, sums, strict=True)]
    values = excess[region]
    volume = float(region.sum() * cell)
    return Part(
        kind,
        volume,
        volume / whole_mm3,
        len(fits),
        float(values.mean(dtype=np.float64)),
        float(values[np.argmax(np.abs(values))]),
        float(sum(m.moment for m in used)),
        # Neighbouring parts share their surroundings, so their errors may not average out.
        float(sum(m.error for m in used)),
        "local field" if from_field else "susceptibility",
    )


def _wide(roi: Mask, margin_mm: float, voxel: tuple[float, float, float]) -> Box:
    """The box of a region with a margin."""
    index = np.nonzero(roi)
    out = []
    for i, v, n in zip(index, voxel, roi.shape, strict=True):
        m = int(np.ceil(margin_mm / v))
        out.append(slice(max(int(i.min()) - m, 0), min(int(i.max()) + m + 1, n)))
    return out[0], out[1], out[2]
