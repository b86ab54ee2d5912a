"""HARPERELLA: unwrapping and background removal in one, by the Laplacian of wrapped phase."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.background._differences import field_differences
from chimap.background._echoes import magnitudes
from chimap.background._harmonic import Harmonic, interior
from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.numerics.threads import jit, slabs
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", of="phase", reference="10.1002/nbm.3056")
def harperella(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    edge: float = 0.3,
    offset_mm: float = 14.0,
    iterations: int = 3,
    progress: Progress = silent,
) -> LocalField:
    r"""HARPERELLA, harmonic phase removal using the Laplacian: from wrapped phase straight to the local field.

    The Laplacian of the wrapped phase, from differences of neighbours taken modulo :math:`2 \pi`, is that of the
    true phase, and the background has none: :math:`\nabla^2 \varphi_{local} = \nabla^2 \varphi` inside the mask. That
    leaves a harmonic function open. The paper fixes it by the Laplacian outside, which it chooses such that
    spherical means agree; here it is chosen such that the local field is smallest over the mask, as
    in `lbv`: the same aim, without a model of the space outside.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where the phase is known.
    acq : Acquisition
        Echo times, field strength and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit. Differences of neighbours are averaged over the echoes, weighted by their echo
        time squared and by both voxels' magnitude. Without it, by the echo times alone.
    edge : float
        Variance of the local field at the mask's outermost voxels relative to inside.
    offset_mm : float
        Width (full, at half the maximum) in mm over which the phase offset at TE = 0 is smooth. 0: there is no offset,
        or it is harmonic. Without effect for a single echo.
    iterations : int
        Conjugate gradient iterations; each solves Laplace's equation twice.

    Returns
    -------
    LocalField
        Local field in ppm; its noise is unknown. Valid where all six neighbours are in the mask, and next to there.

    Raises
    ------
    InputError
        If `edge` is not positive, or no voxel of the mask has all its neighbours inside.

    Notes
    -----
    Differences of later echoes are taken in the turn that the earlier ones predict, so only the first echo's phase, and
    the first echo difference, must change by less than :math:`\pi` from voxel to voxel. Where they do not (next to air,
    in calcifications) the Laplacian is wrong, and the error spreads to several voxels around. The receiver's phase,
    equal in all echoes, is not harmonic inside the head: its differences are the part that does not grow with the echo
    time, and are taken off after smoothing. With a single echo it stays in the result.

    Li et al. 2014, doi:10.1002/nbm.3056.
    """
    if not (0 < edge < np.inf and iterations >= 1 and offset_mm >= 0):
        raise InputError(
            f"edge is {edge}, iterations {iterations} and offset_mm {offset_mm}",
            fix="edge must be above 0, iterations at least 1, and offset_mm not negative",
        )
    voxel = acq.voxel_size_mm
    box = Box.around(mask, fast=False)
    inside = box.crop(mask)
    inner = interior(inside)
    signal = magnitudes(magnitude, mask, acq.echoes)
    rad_per_ppm = [acq.rad_per_ppm(te) for te in acq.te_s]
    smooth = [offset_mm / np.sqrt(8 * np.log(2)) / v for v in voxel] if 0 < offset_mm < np.inf else []

    def echoes(n: int) -> tuple[Volume, Volume]:
        return box.crop(phase[..., n]), box.crop(signal(n))

    laplacian = np.zeros(box.shape, np.float32)
    for axis in range(3):
        difference = field_differences(axis, echoes, rad_per_ppm, inside, smooth)
        weight = np.float32((min(voxel) / voxel[axis]) ** 2)
        slabs(_divergence, box.shape[0], axis, difference, inner, weight, laplacian)
        del difference
    variance = inside.astype(np.float32)
    variance[inside & ~inner] *= np.float32(edge)
    harmonic = Harmonic(inside, inner, voxel, variance)
    local = harmonic.smallest(laplacian, iterations, progress)
    return LocalField(field_ppm=box.restore(local), noise_ppm=None, mask=box.restore(harmonic.reached()))


@jit("void(i8, i8, i8, f4[:,:,::1], b1[:,:,::1], f4, f4[:,:,::1])")
def _divergence(start, stop, axis, difference, inner, weight, out):
    """Add one axis' part of minus the divergence, at the inner voxels."""
    dx, dy, dz = int(axis == 0), int(axis == 1), int(axis == 2)
    for i in range(start, stop):
        for j in range(inner.shape[1]):
            for k in range(inner.shape[2]):
                if inner[i, j, k]:
                    out[i, j, k] += weight * (difference[i - dx, j - dy, k - dz] - difference[i, j, k])
