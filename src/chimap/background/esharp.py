"""E-SHARP: SHARP inside, its background extended harmonically to the edge."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._smv import edge_weights
from chimap.background.vsharp import vsharp
from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.numerics.harmonic import fit_harmonic
from chimap.numerics.noise import median_noise
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", reference=("10.1002/mrm.25148", "10.1002/mrm.23000"))
def esharp(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    radius_mm: float = 21.0,
    threshold: float = 0.13,
    reach_mm: float = 3.0,
    degree: int = 2,
    unreliable: float = 25.0,
    progress: Progress = silent,
) -> LocalField:
    """E-SHARP, the edge that SHARP loses recovered by harmonic extension.

    V-SHARP gives the background up to the last voxel but one. The background is harmonic, so a low-order expansion of it
    (Topfer uses a Taylor expansion, here it is a least-squares fit of harmonic polynomials) holds some
    way beyond; what the total field has above that is the local field of the edge.

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
        Largest radius of V-SHARP's spheres in mm.
    threshold : float
        Cut-off of V-SHARP's deconvolution.
    reach_mm : float
        Radius in mm of the balls in which the background is expanded.
    degree : int
        Degree of the expansion, 1 to 3.
    unreliable : float
        Voxels whose noise exceeds this many times the median are first filled harmonically from around them.
        0: never.

    Returns
    -------
    LocalField
        Local field in ppm and the mask where it is valid: nearly all of the given one.

    Notes
    -----
    Extension amplifies what is wrong with the background at its rim, and steep background as from air close by needs
    small balls: more than a voxel or two beyond known ground is not worth having.

    Topfer, Schweser, Deistung, Reichenbach and Wilman 2015, doi:10.1002/mrm.25148; inside, V-SHARP,
    doi:10.1002/mrm.23000.
    """
    if degree not in (1, 2, 3):
        raise InputError(f"E-SHARP expands to degree 1, 2 or 3; got {degree}")
    voxel = acq.voxel_size_mm
    core = vsharp(
        total_field,
        mask,
        acq,
        noise=noise,
        radius_mm=radius_mm,
        threshold=threshold,
        unreliable=unreliable,
        edge="shrink",
    )
    progress(1, 2)
    box = Box.around(mask, fast=False)
    field, known, local = box.crop(total_field), box.crop(core.mask), box.crop(core.field_ppm)
    background = np.where(known, field - local, np.float32(0))
    weight = edge_weights(noise, mask, box) * known
    # Right at the edge the polynomial extrapolates, and noise with it.
    wanted = box.crop(mask) & ~known
    if noise is not None and unreliable > 0:
        wanted &= box.crop(noise) <= unreliable / 3 * median_noise(noise, mask)
    ball = max(reach_mm, 2.2 * max(voxel))
    values, valid = fit_harmonic(background, weight, wanted, voxel, ball, degree=degree)
    np.subtract(field, values, out=local, where=valid)
    known |= valid
    valid = box.restore(known)
    progress(2, 2, converged=True)
    return LocalField(
        field_ppm=box.restore(local),
        noise_ppm=None if noise is None else np.where(core.mask, core.noise_ppm, noise) * valid,
        mask=valid,
    )
