"""SHARP: spherical mean values of one radius, put back by deconvolution."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._smv import spheres
from chimap.errors import InputError
from chimap.numerics.fft import irfftn, rfftn
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", reference="10.1016/j.neuroimage.2010.10.070")
def sharp(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    radius_mm: float = 6.0,
    threshold: float = 0.05,
    unreliable: float = 25.0,
    progress: Progress = silent,
) -> LocalField:
    r"""SHARP, sophisticated harmonic artefact reduction for phase data.

    The field of sources outside the mask is harmonic inside, so it equals its mean over any sphere that lies
    inside, and :math:`f - S f` holds the local field alone. Where a sphere fits, what the subtraction took from
    the local field is put back by deconvolution, :math:`(1 - S)^{-1}`, cut off where :math:`1 - S` is small.

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
        Radius of the spheres in mm, at most 0.6 times the depth of the mask, which loses this much at its edge.
    threshold : float
        Smallest value of :math:`1 - S` that is still divided by (a high-pass): larger takes more of the
        slow variations away, smaller amplifies noise and what is left of the background.
    unreliable : float
        Voxels whose noise exceeds this many times the median are first filled harmonically from around them.
        0: never.

    Returns
    -------
    LocalField
        Local field in ppm and the mask where it is valid, eroded by the radius.

    Notes
    -----
    Schweser, Deistung, Lehr and Reichenbach 2011, doi:10.1016/j.neuroimage.2010.10.070.
    """
    if not 0 < threshold < 1:
        raise InputError(f"SHARP needs a threshold between 0 and 1; got {threshold:g}")
    s = spheres("SHARP", total_field, mask, acq, noise, radius_mm, unreliable)
    progress(1, 3)
    local = s.deviation(s.field)
    local *= s.inner
    progress(2, 3)
    kernel = 1 - s.spectrum
    spectrum = rfftn(local)
    spectrum *= np.where(kernel > threshold, 1 / np.maximum(kernel, threshold), 0).astype(np.float32)
    local = irfftn(spectrum, s.box.shape)
    local *= s.inner
    progress(3, 3, converged=True)
    return LocalField(
        field_ppm=s.box.restore(local), noise_ppm=s.noise(noise, s.inner), mask=s.box.restore(s.inner)
    )
