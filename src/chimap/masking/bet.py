"""Brain extraction by a surface that inflates inside the skull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.masking import _intensity, morphology
from chimap.masking._basins import basins
from chimap.masking._layers import layered
from chimap.masking._surface import enclosed, icosphere, inflate
from chimap.numerics.box import Box
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

_COARSE_MM = 2.0
_PAD_MM = 24.0
_LEVELS = (0.4, 0.48, 0.56, 0.64)
_WHOLE_MM = 20.0


@dataclass(frozen=True)
class Coarse:
    """The head on a grid of about 2 mm, continued past the field of view by its edge."""

    volume: Volume  # divided by the sensitivity: tissue is near 1
    gain: Volume
    brain: Mask  # the part of the foreground that the brain is in
    layered: float  # share of it that lies inside skull and scalp
    voxel: np.ndarray
    factors: tuple[int, ...]
    pad: tuple[int, ...]

    def unpadded(self, volume: np.ndarray) -> np.ndarray:
        """The part of a coarse volume that lies in the field of view."""
        return volume[tuple(slice(p, n - p) for p, n in zip(self.pad, volume.shape, strict=True))]


def coarse_head(volume: Volume, voxel_size_mm: Sequence[float]) -> Coarse:
    """Reduce the head, even out its sensitivity and find the part that is the brain."""
    factors = tuple(max(1, int(_COARSE_MM / h + 0.25)) for h in voxel_size_mm)
    voxel = np.array([f * h for f, h in zip(factors, voxel_size_mm, strict=True)])
    small = _intensity.block_mean(volume, factors)
    pad = tuple(max(1, round(_PAD_MM / h)) for h in voxel)
    small = np.pad(small, [(p, p) for p in pad], mode="edge")
    known = _intensity.levels(small)
    signal, noise = np.float32(known["signal"]), np.float32(known["noise"])
    foreground = small > known["threshold"]
    for sigma in (30.0, 20.0):
        gain = _intensity.sensitivity(small, foreground, sigma, voxel)
        cut = noise + np.float32(0.45) * (gain - noise)
        foreground = small > np.maximum(cut, known["threshold"])
    even: Volume = np.divide(small, np.maximum(gain, np.float32(1e-3) * signal), dtype=np.float32)
    # Where thin bone is blurred, a low threshold leaks through it; a high one loses the rim. The lowest threshold that
    # leaves (nearly) as much of the brain inside skull and scalp as any is the one to take.
    floor = float(noise / signal)
    parts, shares = [], []
    for level in _LEVELS:
        cut = noise + np.float32(level) * (gain - noise)
        foreground = small > np.maximum(cut, known["threshold"])
        part = _main_part(foreground, voxel)
        parts.append(part)
        shares.append(layered(even, part, voxel, floor))
    chosen = next(i for i, share in enumerate(shares) if share >= max(shares) - 0.03)
    brain = parts[chosen]
    gain = _intensity.sensitivity(small, brain & (even > _LEVELS[chosen]), 20.0, voxel)
    even = np.divide(small, np.maximum(gain, np.float32(1e-3) * signal), dtype=np.float32)
    return Coarse(even, gain, brain, shares[chosen], voxel, factors, pad)


def _main_part(foreground: Mask, voxel: np.ndarray) -> Mask:
    """The bulkiest part of the head's foreground, cut at its necks."""
    solid = morphology.open_(foreground, max(3.0, float(voxel.max())), voxel)
    # Dark ventricles are filled; the skull, closed in by the scalp, is not.
    solid = morphology.fill_holes(solid, largest=50e3 / float(voxel.prod()))
    if not solid.any():
        solid = foreground
    depth = morphology.distance(~solid, voxel, 60.0)
    label = basins(depth, 0.7)
    main = label == label.ravel()[int(np.argmax(depth))]
    return morphology.fill_holes(main)


def fit_surface(head: Coarse, fraction: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Inflate a sphere inside the brain's part of the head. Points in mm on the coarse grid, faces, movement."""
    vertices, faces, ring = icosphere(4)
    allowed = morphology.dilate(head.brain, 1.5 * float(head.voxel.max()), head.voxel)
    volume = np.ascontiguousarray(np.where(allowed, head.volume, np.float32(0)), np.float32)
    depth = morphology.distance(~head.brain, head.voxel, 60.0)
    core = depth > 0.5 * depth.max()
    where = np.argwhere(core) * head.voxel
    points = np.ascontiguousarray(where.mean(0) + 0.7 * float(depth.max()) * vertices)
    tissue = head.volume[head.brain]
    middle = float(np.median(tissue))
    low = float(np.percentile(head.volume, 2))
    known = np.array([low, low + 0.1 * (float(np.percentile(tissue, 98)) - low), middle])
    moved = inflate(points, ring, volume, head.voxel, known, fraction, 1.0, 1000)
    return points, faces, moved


def cranial_cavity(bright: Mask, surface: Mask, voxel: Sequence[float]) -> Mask:
    """What is bright inside the fitted surface, to the voxel: brain, CSF and dura, without bone and air."""
    core = morphology.erode(surface, 5.0, voxel)
    # The surface is smooth and stops where the signal has fallen already: one voxel more is looked at.
    near = morphology.dilate(surface, max(voxel), voxel)
    cavity = morphology.open_(bright & near, 2.0, voxel) | core
    cavity = morphology.largest_component(cavity, core if core.any() else None)
    return morphology.fill_holes(morphology.close(cavity, 3.0, voxel))


def without_rim(cavity: Mask, magnitude: Volume, acq: Acquisition, csf_mm: float) -> tuple[Mask, float]:
    """The brain with its sulci: the cavity less the CSF and dura around it beyond `csf_mm`; and the level used.

    CSF is known by its slow decay; where it is darker than cortex in the first echo as well, that darkness,
    which dura shares, marks the rim. Without such a contrast the cavity is returned as it is.
    """
    voxel = acq.voxel_size_mm
    first = np.ascontiguousarray(magnitude[..., 0])
    gain = _intensity.sensitivity(first, cavity, 20.0, voxel)
    first = _intensity.smooth(first, 0.7, voxel)
    first /= gain
    rate = _intensity.decay(magnitude, acq.te_s, 0.8, voxel)
    tissue_rate = float(np.median(rate[cavity]))
    deep = morphology.erode(cavity, 3.0, voxel)
    fluid = deep & (rate < 0.3 * tissue_rate)
    solid = deep & (rate > 0.7 * tissue_rate)
    if tissue_rate <= 0 or fluid.sum() < 1e-3 * deep.sum() or not solid.any():
        return cavity, 0.0
    csf, tissue = float(np.median(first[fluid])), float(np.percentile(first[solid], 10))
    if csf > 0.95 * tissue:
        return cavity, 0.0
    cut = 0.5 * (csf + tissue)
    inner = morphology.erode(cavity, 8.0, voxel)
    brain = cavity & (first > cut) & (rate > 0.4 * tissue_rate)
    brain = morphology.largest_component(morphology.open_(brain, 1.5, voxel) | inner)
    brain = morphology.fill_holes(morphology.close(brain, 5.0, voxel))
    return morphology.dilate(brain, csf_mm, voxel) & cavity, cut


@method("mask", reference="10.1002/hbm.10062")
def bet(
    magnitude: Volume,
    acq: Acquisition,
    *,
    fraction: float = 0.5,
    csf_mm: float = _WHOLE_MM,
    progress: Progress = silent,
) -> Mask:
    """Brain extraction: a surface inflated inside the skull, then refined to the voxel.

    The echoes are combined by root mean square, evened out in sensitivity and reduced to about 2 mm. The
    foreground is parted at its necks and the bulkiest part taken for brain; inside it a sphere of triangles
    inflates under the forces of BET. At full resolution, what is bright inside the surface is the cranial cavity.
    That is the default, since every voxel with phase helps background field removal; `csf_mm` narrows it down
    to the brain.

    Parameters
    ----------
    magnitude : (x, y, z, echo) float32
        Arbitrary units; a whole head or most of one.
    acq : Acquisition
        Voxel size and echo times.
    fraction : float
        Smith's intensity threshold between local minimum and maximum, 0 to 1; smaller gives a larger brain.
    csf_mm : float
        Width in mm of the CSF (and dura) to keep around the brain, told apart by decay and contrast where there are
        two echoes or more; 20 mm and above keep the whole cranial cavity, which gives background field removal
        the most room.

    Returns
    -------
    (x, y, z) bool, one part without holes.

    Raises
    ------
    InputError
        If the magnitude is zero everywhere or a parameter is out of its range.

    Notes
    -----
    Each vertex moves by :math:`s_t / 2 + f_2 s_n + 0.05 f_3 l n`: :math:`s` points to the mean of the
    neighbours, :math:`f_2` depends on the local curvature (radii of 3.33 to 10 mm), :math:`l` is the mean edge and
    :math:`f_3 = 2 (I_{min} - t_l) / (I_{max} - t_2)` compares the darkest voxel within 20 mm inwards with a
    threshold from the brightest within 10 mm. Smith 2002, doi:10.1002/hbm.10062.
    """
    _check(fraction, csf_mm)
    volume = _intensity.combined(magnitude)
    head = coarse_head(volume, acq.voxel_size_mm)
    return extract(magnitude, acq, volume, head, fraction, csf_mm, progress)


def extract(
    magnitude: Volume,
    acq: Acquisition,
    volume: Volume,
    head: Coarse,
    fraction: float,
    csf_mm: float,
    progress: Progress,
) -> Mask:
    """The part of `bet` that follows on the combined echoes `volume` and the coarse `head`."""
    _check(fraction, csf_mm)
    voxel = np.array(acq.voxel_size_mm)
    progress(1, 4)
    points, faces, moved = fit_surface(head, fraction)
    # From the padded coarse grid to the fine grid: block centres sit (f - 1) / 2 fine voxels in.
    points = points - np.array(head.pad) * head.voxel + 0.5 * (np.array(head.factors) - 1) * voxel
    surface = enclosed(points, faces, volume.shape, voxel)
    if not surface.any():
        raise InputError("no brain was found in the magnitude", fix="Use --method threshold or give a mask")
    progress(2, 4, movement_mm=moved)
    box = Box.around(surface, 0, fast=False)
    grown = tuple(
        slice(max(0, s.start - 2), min(n, s.stop + 2)) for s, n in zip(box.inner, volume.shape, strict=True)
    )
    bright = _intensity.spread(np.float32(0.4) * head.unpadded(head.gain), head.factors, grown)
    bright = volume[grown] > bright
    inside = cranial_cavity(bright, surface[grown], acq.voxel_size_mm)
    progress(3, 4)
    cut = 0.0
    if acq.echoes > 1 and csf_mm < _WHOLE_MM:
        inside, cut = without_rim(inside, magnitude[grown], acq, csf_mm)
    mask = np.zeros(surface.shape, bool)
    mask[grown] = inside
    progress(4, 4, voxels=int(mask.sum()), movement_mm=moved, csf_level=cut)
    return mask


def _check(fraction: float, csf_mm: float) -> None:
    if not 0 < fraction < 1:
        raise InputError(f"fraction {fraction} is not between 0 and 1", fix="Give for example 0.5")
    if not csf_mm >= 0:
        raise InputError(f"csf_mm {csf_mm} is negative", fix="Give 0 mm or more")
