"""RESHARP: SHARP as a regularised least-squares problem."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._smv import spheres
from chimap.errors import InputError
from chimap.numerics.cg import conjugate_gradients
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", reference="10.1002/mrm.24765")
def resharp(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    radius_mm: float = 5.5,
    lam: float = 3e-4,
    tolerance: float = 1e-4,
    iterations: int = 70,
    unreliable: float = 25.0,
    progress: Progress = silent,
) -> LocalField:
    r"""RESHARP, SHARP with Tikhonov regularisation at the deconvolution.

    .. math:: \min_h \; \| M (1 - S) (f - h) \|^2 + \lambda \| h \|^2

    Here :math:`S` is the mean over spheres and :math:`M` selects the voxels whose sphere lies inside the mask. Of
    all local fields :math:`h` that explain what is not harmonic, this is the smallest. Conjugate gradients.

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
    lam : float
        Weight of the penalty. Larger takes away more slow variation, and more of what is left of the background.
    tolerance : float
        Stop when the residual of the normal equations has fallen to this share.
    iterations : int
        Most iterations; two transform pairs each.
    unreliable : float
        Voxels whose noise exceeds this many times the median are first filled harmonically from around them.
        0: never.

    Returns
    -------
    LocalField
        Local field in ppm and the mask where it is valid, eroded by the radius.

    Notes
    -----
    Sun and Wilman 2014, doi:10.1002/mrm.24765.
    """
    if not lam >= 0:
        raise InputError(f"RESHARP needs a penalty of at least 0; got {lam:g}")
    s = spheres("RESHARP", total_field, mask, acq, noise, radius_mm, unreliable)

    def transposed(deviation: Volume) -> Volume:
        deviation *= s.inner
        return s.deviation(deviation)

    def normal(h: Volume) -> Volume:
        out = transposed(s.deviation(h))
        out += np.float32(lam) * h
        return out

    right = transposed(s.deviation(s.field))
    solution = conjugate_gradients(
        normal, right, tolerance=tolerance, iterations=iterations, progress=progress
    )
    return LocalField(
        field_ppm=s.box.restore(solution.x * s.inner),
        noise_ppm=s.noise(noise, s.inner),
        mask=s.box.restore(s.inner),
    )
