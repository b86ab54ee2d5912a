"""mSMV: leftover background at the edge found as its maximum, and filtered again."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background.vsharp import vsharp
from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.smv import depth_mm, smallest_sphere, symmetric_spectrum
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", reference=("10.1002/mrm.29963", "10.1002/mrm.23000"))
def msmv(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    radius_mm: float = 21.0,
    border_mm: float = 5.0,
    limit: float = 6.0,
    repeats: int = 5,
    unreliable: float = 25.0,
    progress: Progress = silent,
) -> LocalField:
    """mSMV, maximum spherical mean value filtering.

    A harmonic function has its maximum at the border, so background that was left over shows as large values there.
    Voxels near the border whose field is larger than the tissue's are filtered once more with the
    smallest sphere, until they are no longer; all others stay as they are, and no voxel is eroded.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where the total field is known.
    acq : Acquisition
        Voxel size in mm.
    noise : (x, y, z) float32, optional
        Standard deviation of the total field in ppm; gives that of the local field, and the `unreliable` voxels.
    radius_mm : float
        Largest radius in mm of the V-SHARP that comes first.
    border_mm : float
        How deep the border is, in mm.
    limit : float
        What counts as large, in robust standard deviations of the local field deeper inside.
    repeats : int
        Most times a voxel is filtered.
    unreliable : float
        Voxels whose noise exceeds this many times the median are first filled harmonically from around them.
        0: never.

    Returns
    -------
    LocalField
        Local field in ppm and the mask where it is valid: nearly all of the given one.

    Notes
    -----
    Roberts et al. 2024, doi:10.1002/mrm.29963, who start from another method's local field and protect vessels by a
    vesselness filter; here the field comes from V-SHARP, doi:10.1002/mrm.23000, and the limit alone protects them.
    """
    if limit <= 0 or border_mm <= 0 or repeats < 0:
        raise InputError(
            f"mSMV needs a limit and a border above 0 and repeats of at least 0; "
            f"got {limit:g}, {border_mm:g} mm, {repeats}"
        )
    voxel = acq.voxel_size_mm
    first = vsharp(total_field, mask, acq, noise=noise, radius_mm=radius_mm, unreliable=unreliable)
    box = Box.around(first.mask, 2)
    local, valid = box.crop(first.field_ppm), box.crop(first.mask)
    depth = box.crop(depth_mm(first.mask, voxel))
    border = valid & (depth <= border_mm)
    deep = valid & ~border
    usual = 1.4826 * float(np.median(np.abs(local[deep if deep.any() else valid])))
    spectrum = symmetric_spectrum(smallest_sphere(voxel), box.shape)
    share = np.maximum(irfftn(rfftn(valid.astype(np.float32)) * spectrum, box.shape), np.float32(0.05))
    for n in range(repeats):
        large = border & (np.abs(local) > limit * usual)
        if usual == 0 or not large.any():
            break
        # Half the voxel, half the mean over those neighbours that are known: the difference cannot grow.
        mean = irfftn(rfftn(local) * spectrum, box.shape) / share
        np.multiply(local - mean, np.float32(0.5), out=local, where=large)
        progress(n + 1, repeats, left=int(large.sum()))
    progress(repeats, repeats, converged=True)
    return LocalField(
        field_ppm=box.restore(local * valid),
        noise_ppm=first.noise_ppm,
        mask=first.mask,
    )
