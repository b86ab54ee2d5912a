"""LBV: the background as the solution of Laplace's equation with values at the mask's edge."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._harmonic import Harmonic, interior
from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", reference="10.1002/nbm.3064")
def lbv(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    edge: float = 0.3,
    local_ppm: float = 0.01,
    iterations: int = 3,
    progress: Progress = silent,
) -> LocalField:
    r"""LBV, Laplacian boundary value: the background solves Laplace's equation inside the mask.

    The background :math:`b` obeys :math:`\nabla^2 b = 0` inside, and is known there once it is known at the outermost
    voxels of the mask. The method as published takes the total field for it there, as if the local field
    vanished (``edge=0``); then what the local field has at the edge, veins and cortex, is
    continued through the whole brain and taken off. With `edge` the values at the edge are chosen instead, such
    that the local field is smallest over the whole mask,

    .. math:: \min_b \sum_x \frac{(f - b)^2}{v} \quad \text{with} \quad \nabla^2 b = 0 \text{ inside}, \qquad
              v = (\sigma^2 + \sigma_{local}^2) \cdot (edge \text{ at the outermost voxels}),

    which also keeps the outermost voxels in the result.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where the total field is known.
    acq : Acquisition
        Voxel size in mm.
    noise : (x, y, z) float32, optional
        Standard deviation :math:`\sigma` of the total field in ppm: weights the voxels (with `edge` above 0).
    edge : float
        Variance of the local field at the mask's outermost voxels relative to inside. 0: there is none.
    local_ppm : float
        Standard deviation of the local field in ppm, against which the noise counts.
    iterations : int
        Conjugate gradient iterations for the values at the edge; each solves Laplace's equation twice.

    Returns
    -------
    LocalField
        Local field in ppm; its noise is that of the total field. Valid where all six neighbours are in the mask and
        (not with ``edge=0``) in the voxels next to those; spikes of the mask one voxel thin are 0 and not valid.

    Raises
    ------
    InputError
        If a parameter is out of range, or no voxel of the mask has all its neighbours inside.

    Notes
    -----
    Laplace's equation is solved to a residual of 1e-4 by multigrid: seven-point differences of second order on the
    voxels' own spacing, with values at the centres of the outermost voxels, so that the staircase of the surface makes no error
    of its own. A background that changes much from voxel to voxel (next to the sinuses) is not harmonic in differences,
    and a little of it stays.

    Zhou et al. 2014, doi:10.1002/nbm.3064.
    """
    if not (0 <= edge < np.inf and local_ppm > 0 and iterations >= 1):
        raise InputError(
            f"edge is {edge}, local_ppm {local_ppm} and iterations {iterations}",
            fix="edge may not be negative, local_ppm must be above 0 and iterations at least 1",
        )
    box = Box.around(mask, fast=False)
    inside = box.crop(mask)
    inner = interior(inside)
    outermost = inside & ~inner
    variance = inside.astype(np.float32)
    if noise is not None:
        variance += (box.crop(noise) / np.float32(local_ppm)) ** 2
        variance *= inside
    variance[outermost] *= np.float32(edge)
    harmonic = Harmonic(inside, inner, acq.voxel_size_mm, variance)
    laplacian = harmonic.laplacian(box.crop(total_field))
    if edge > 0:
        local = harmonic.smallest(laplacian, iterations, progress)
        valid = box.restore(harmonic.reached())
    else:
        local = harmonic.zero_at_edge(laplacian)
        valid = box.restore(inner)
        progress(1, 1, converged=True)
    return LocalField(
        field_ppm=box.restore(local), noise_ppm=None if noise is None else noise * valid, mask=valid
    )
