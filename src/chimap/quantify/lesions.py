"""Focal sources in a susceptibility map: where they are, whether they are blood or calcium, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.quantify._blobs import find_blobs
from chimap.quantify._lesion import BLEED, CALCIUM, STAGES, UNCERTAIN, Lesion, Lesions, describe, stage_hint
from chimap.quantify._maps import check_limits, maps_given
from chimap.quantify._spot import Rules, judge, measure
from chimap.quantify._vesselness import Box
from chimap.quantify.moment import Source, fit_moments, integral
from chimap.registry import as_mask, as_volume
from chimap.types import Mask, Progress, Volume, silent

__all__ = ["BLEED", "CALCIUM", "STAGES", "UNCERTAIN", "Lesion", "Lesions", "find_lesions", "stage_hint"]


def find_lesions(
    chi: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    local_field: Volume | None = None,
    noise: Volume | None = None,
    r2star: Volume | None = None,
    magnitude: Volume | None = None,
    regions: np.ndarray | None = None,
    names: Mapping[int, str] | None = None,
    affine: np.ndarray | None = None,
    diameter_mm: tuple[float, float] = (2.0, 12.0),
    contrast_ppm: float = 0.2,
    roundness: float = 0.6,
    elongation: float = 2.5,
    r2star_per_tesla: float = 8.0,
    darkness: float = 0.1,
    certainty: float = 3.0,
    progress: Progress | None = None,
) -> Lesions:
    """Find microbleeds, small haemorrhages and calcifications, reject vessels, and measure each.

    Parameters
    ----------
    chi : (x, y, z) float32
        Susceptibility in ppm, any reference.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        Voxel size, B0 and its direction.
    local_field, noise : (x, y, z) float32, optional
        Local field that `chi` was made from, and its standard deviation, in ppm. Without the field, moments come from
        `chi` and are too small.
    r2star : (x, y, z) float32, optional
        R2* in 1/s. It finds fainter spots, and rejects spots that do not shorten it.
    magnitude : (x, y, z) float32, optional
        Combined magnitude, for the same where there is no R2*.
    regions, names
        Label image and the names of its numbers, for the nearest region.
    affine : (4, 4), optional
        Voxel index to mm (RAS).
    diameter_mm : 2 float
        Range of diameters. Microbleeds are 2 to 5, at most 10 mm (Greenberg et al. 2009,
        doi:10.1016/S1474-4422(09)70013-4); larger ones belong to `chimap.quantify.tumour.split`.
    contrast_ppm : float
        Least contrast against the surroundings. Of anatomy, veins come near it; with R2* (whose spots
        are looked for as well) two thirds of it do.
    roundness, elongation : float
        Least ratio of curvatures (`chimap.quantify._vesselness.blobness`), and largest ratio of axes, of the spot and
        of what it hangs together with.
    r2star_per_tesla, darkness : float
        Least rise of R2* in 1/s per tesla, and least loss of magnitude as a part, at the spot.
    certainty : float
        Least moment, in units of its error; below it the kind is ``uncertain`` and the spot is rejected.
    progress : callable, optional
        Told of each step.

    Returns
    -------
    Lesions

    Raises
    ------
    InputError
        If shapes differ, or a range makes no sense.

    Notes
    -----
    The sign of the moment tells blood from calcium (Deistung et al. 2013, doi:10.1371/journal.pone.0057924): brain is
    diamagnetic as water is, calcium more, blood's breakdown products less. If the sum of susceptibility has another sign
    than the field around, the kind is ``uncertain``.
    """
    chi = as_volume(chi, "chi", 3)
    mask = as_mask(mask, chi.shape)
    check_limits(diameter_mm, contrast_ppm)
    maps = {"local_field": local_field, "noise": noise, "r2star": r2star, "magnitude": magnitude}
    whole, tell = chi.shape, progress or silent
    nearest = _nearest(regions, whole, acq.voxel_size_mm, names or {})
    box = _box_of(mask)
    given = {name: volume[box] for name, volume in maps_given(maps, mask).items()}
    chi, mask = np.where(mask, chi, np.float32(0))[box], mask[box]
    voxel = acq.voxel_size_mm
    rules = Rules(contrast_ppm, diameter_mm[1], roundness, elongation, r2star_per_tesla * acq.b0_t, darkness)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=voxel)[1:-1, 1:-1, 1:-1]
    tell(0, 4, stage="spots")
    # A ball answers with about a third of its contrast.
    blobs = find_blobs(chi, mask, voxel, diameter_mm=diameter_mm, threshold=0.25 * contrast_ppm)
    shortened = _r2star_spots(given.get("r2star"), mask, acq, diameter_mm, rules)
    tell(1, 4)
    spots, rejected, taken = [], [], np.zeros(chi.shape, bool)
    for blob in blobs:
        # The outermost layer of the mask holds no lesion that could be told from its edge.
        if taken[blob.index] or depth[blob.index] <= 1.01 * max(voxel):
            continue
        confirmed = shortened is not None and shortened[blob.index]
        least = contrast_ppm * (2 / 3 if confirmed else 1)
        spot = measure(
            blob, chi, mask, depth, voxel, diameter_mm[1], given.get("r2star"), given.get("magnitude"), least
        )
        if spot is None or taken[spot.box][spot.region].any():
            continue
        why = judge(spot, rules)
        if why:
            rejected.append((blob.index, spot.contrast_ppm, why))
        else:
            taken[spot.box] |= ndimage.binary_dilation(spot.region, iterations=1)
            spots.append(spot)
    tell(2, 4, found=len(spots))
    cell = float(np.prod(voxel))
    sources = [
        Source(s.box, s.region, s.background_ppm, s.spread_ppm * float(s.region.sum()) * cell) for s in spots
    ]
    sums = [integral(chi, mask, s, voxel) for s in sources]
    fits = sums
    if "local_field" in given:
        fits = fit_moments(chi, given["local_field"], mask, acq, sources, noise=given.get("noise"))
    tell(3, 4)
    kept = []
    for spot, fit, total in zip(spots, fits, sums, strict=True):
        used, origin = (
            (fit, "local field") if "local_field" in given and fit.voxels else (total, "susceptibility")
        )
        if not abs(used.moment) >= certainty * used.error:
            rejected.append((spot.blob.index, spot.contrast_ppm, "moment not certain"))
            continue
        kept.append((spot, used, origin, np.sign(used.moment) == np.sign(total.moment)))
    kept.sort(key=lambda k: -abs(k[1].moment))
    labels = np.zeros(whole, np.int16)
    for n, (spot, *_) in enumerate(kept, 1):
        labels[box][spot.box][spot.region] = n
    low = tuple(b.start for b in box)
    found = [
        describe(n, spot, used, origin, agree, chi, given, voxel, low, affine, nearest)
        for n, (spot, used, origin, agree) in enumerate(kept, 1)
    ]
    tell(4, 4, found=len(found))
    moved = [((i[0] + low[0], i[1] + low[1], i[2] + low[2]), c, why) for i, c, why in rejected]
    return Lesions(found, labels, moved, _left_out(given, regions, affine))


def _box_of(mask: Mask) -> Box:
    """The box of the mask and one voxel around."""
    out = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        out.append(slice(max(int(hit[0]) - 1, 0), int(hit[-1]) + 2))
    return out[0], out[1], out[2]


def _r2star_spots(
    r2star: Volume | None, mask: Mask, acq: Acquisition, diameter_mm: tuple[float, float], rules: Rules
) -> Mask | None:
    """Where R2* has bright spots: their voxels and all neighbours."""
    if r2star is None:
        return None
    out = np.zeros(mask.shape, bool)
    spots = find_blobs(
        r2star,
        mask,
        acq.voxel_size_mm,
        diameter_mm=diameter_mm,
        threshold=rules.r2star_contrast / 2,
        signs=(1,),
    )
    for b in spots:
        out[b.index] = True
    return np.asarray(ndimage.maximum_filter(out, 3))


def _nearest(
    regions: np.ndarray | None, shape: tuple[int, ...], voxel: Sequence[float], names: Mapping[int, str]
):  # type: ignore[no-untyped-def]
    """A function from voxel to name and distance of the nearest labelled region."""
    if regions is None:
        return lambda index: ("", float("nan"))
    whole = np.rint(np.nan_to_num(np.asarray(regions))).astype(np.int32)
    if whole.shape != shape:
        raise InputError(
            f"the label image has shape {whole.shape} but chi {shape}", fix="Resample it onto chi"
        )
    if not whole.any():
        raise InputError("the label image is empty", fix="Give one with labels, or leave it out")
    distance, where = ndimage.distance_transform_edt(whole == 0, sampling=voxel, return_indices=True)

    def look(index: tuple[int, int, int]) -> tuple[str, float]:
        number = int(whole[tuple(int(w[index]) for w in where)])
        return names.get(number, f"label {number}"), float(distance[index])

    return look


def _left_out(
    given: Mapping[str, Volume], regions: np.ndarray | None, affine: np.ndarray | None
) -> list[str]:
    out = []
    if "local_field" not in given:
        out.append("no local field: moments are sums of susceptibility, which regularisation makes too small")
    if "r2star" not in given and "magnitude" not in given:
        out.append("no R2* and no magnitude: no check that signal decays faster, no volume with blooming")
    elif "r2star" not in given:
        out.append("no R2*: faint lesions are not looked for, the check uses the magnitude")
    if regions is None:
        out.append("no label image: no nearest region")
    if affine is None:
        out.append("no affine: no position in mm")
    return out
