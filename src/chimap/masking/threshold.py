"""Object mask by a signal threshold, for phantoms, body parts and crops."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.masking import _intensity, morphology
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("mask", reference="10.1109/TSMC.1979.4310076")
def threshold(
    magnitude: Volume,
    acq: Acquisition,
    *,
    level: float = 0.3,
    fill: bool = True,
    largest: bool = True,
    progress: Progress = silent,
) -> Mask:
    """Everything that has signal: a robust threshold, its largest part, its holes filled.

    The echoes are combined by root mean square and divided by a smooth signal level of the object (receive
    and transmit sensitivity); what then lies above `level` of the way from the noise floor to the signal
    is kept. A volume without background keeps all but its dark voxels.

    Parameters
    ----------
    magnitude : (x, y, z, echo) float32
        Arbitrary units.
    acq : Acquisition
        Voxel size.
    level : float
        Threshold between noise floor (0) and local signal level (1).
    fill : bool
        Fill enclosed holes (bubbles, vessels, calcifications).
    largest : bool
        Keep the largest connected part only.

    Returns
    -------
    (x, y, z) bool

    Raises
    ------
    InputError
        If the magnitude is zero everywhere or `level` is not between 0 and 1.

    Notes
    -----
    Noise and signal are told apart by Otsu's histogram threshold, doi:10.1109/TSMC.1979.4310076.
    """
    if not 0 < level < 1:
        raise InputError(f"level {level} is not between 0 and 1", fix="Give for example 0.3")
    voxel = acq.voxel_size_mm
    volume = _intensity.combined(magnitude)
    progress(1, 3)
    known = _intensity.levels(volume)
    # The level is smooth, so a coarse grid carries it.
    extent = min(n * h for n, h in zip(volume.shape, voxel, strict=True))
    factors = [max(1, int(3.0 / h + 0.25)) if n > 16 else 1 for n, h in zip(volume.shape, voxel, strict=True)]
    coarse = _intensity.block_mean(volume, factors)
    size = [f * h for f, h in zip(factors, voxel, strict=True)]
    body = coarse > known["threshold"]
    if not body.any():
        body = coarse >= coarse.max()
    gain = _intensity.sensitivity(coarse, body, min(25.0, max(10.0, extent / 3)), size)
    noise = np.float32(known["noise"])
    cut = noise + np.float32(level) * np.maximum(gain - noise, 0)
    progress(2, 3)
    mask = volume > _intensity.spread(cut, factors, [slice(0, n) for n in volume.shape])
    del cut
    if not mask.any():
        mask = volume > known["threshold"]
    if largest:
        mask = morphology.largest_component(mask)
    if fill:
        mask = morphology.fill_holes(mask)
    progress(3, 3, noise=known["noise"], signal=known["signal"], voxels=int(mask.sum()))
    return mask
