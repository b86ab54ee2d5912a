"""The steps of which mask recipes are made: images to images, images to masks, masks to masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.masking import _intensity, morphology
from chimap.masking.bet import coarse_head, extract
from chimap.masking.quality import phase_quality
from chimap.types import Mask, Progress, Volume, silent

_SENSITIVITY_MM = 25.0


def combined(magnitude: Volume) -> Volume:
    """Root mean square over the echoes, (x, y, z), of a magnitude (x, y, z, echo)."""
    return _intensity.combined(magnitude)


def homogeneous(volume: Volume, voxel_size_mm: Sequence[float]) -> Volume:
    """`volume` divided by the smooth sensitivity of the coils, so that tissue is near 1 everywhere.

    The sensitivity is the mean of the foreground under a Gaussian of 25 mm (a third of the smallest extent of a
    smaller object), with the foreground taken again after a first correction.
    """
    known = _intensity.levels(volume)
    extent = min(n * h for n, h in zip(volume.shape, voxel_size_mm, strict=True))
    width = min(_SENSITIVITY_MM, max(10.0, extent / 3))
    foreground = volume > known["threshold"]
    if not foreground.any():
        foreground = volume > 0
    gain = _intensity.sensitivity(volume, foreground, width, voxel_size_mm)
    again = foreground & (volume > np.float32(0.45) * gain)
    gain = _intensity.sensitivity(volume, again if again.any() else foreground, width, voxel_size_mm)
    # Where there is nothing, noise is not to be raised to the level of tissue.
    return np.divide(volume, np.maximum(gain, np.float32(1e-2 * known["signal"])), dtype=np.float32)


def above(volume: Volume, level: float) -> Mask:
    """Where `volume` lies more than `level` (0 to 1) of the way from its noise floor to its signal."""
    known = _intensity.levels(volume)
    return volume > np.float32(known["noise"] + level * (known["signal"] - known["noise"]))


def brain(
    magnitude: Volume, volume: Volume, acq: Acquisition, fraction: float, progress: Progress = silent
) -> Mask:
    """Brain extraction (`bet`) on the image `volume` of the echoes `magnitude`; the whole cranial cavity."""
    head = coarse_head(volume, acq.voxel_size_mm)
    return extract(magnitude, acq, volume, head, fraction, 20.0, progress)


def good_phase(phase: Volume, magnitude: Volume | None, acq: Acquisition, threshold: float) -> Mask:
    """Where `phase_quality`, 0 (noise) to 1 (smooth), reaches `threshold`."""
    return phase_quality(phase, magnitude, acq) >= threshold


def without_fast_edges(mask: Mask, magnitude: Volume, acq: Acquisition, max_r2star: float) -> Mask:
    """`mask` without what decays faster than `max_r2star` (1/s) and hangs together with the outside.

    R2* is a rough one of smoothed echoes (a Gaussian of 1 mm); veins and iron-rich nuclei inside stay.
    """
    if acq.echoes < 2:
        raise InputError(
            "the step r2star needs two echoes; there is one", fix="Leave r2star out of the recipe"
        )
    slow = _intensity.decay(magnitude, acq.te_s, 1.0, acq.voxel_size_mm) <= max_r2star
    return mask & morphology.fill_holes(mask & slow)
