"""HARPERELLA: unwrapping and background removal in one, by the Laplacian of wrapped phase."""

from __future__ import annotations

import math

import numpy as np

from chimap.acquisition import Acquisition
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
    Where the phase really changes by more than :math:`\pi` from voxel to voxel (over the sinuses, around veins and
    calcifications at late echoes) the Laplacian is wrong, and the error spreads to several voxels around. Unwrapping
    in space with a path, and then a method for the total field, is safer; this one needs no decisions and is quick.
    A phase offset at TE = 0 counts as background, which is right as far as it is harmonic.

    Li et al. 2014, doi:10.1002/nbm.3056.
    """
    if not (0 < edge < math.inf and iterations >= 1):
        raise InputError(
            f"edge is {edge} and iterations {iterations}", fix="Give an edge above 0, and 1 or more"
        )
    voxel = acq.voxel_size_mm
    box = Box.around(mask, fast=False)
    inside = box.crop(mask)
    inner = interior(inside)
    signal = magnitudes(magnitude, mask, acq.echoes)
    top = np.zeros((3, *box.shape), np.float32)
    bottom = np.zeros((3, *box.shape), np.float32)
    for echo, te in enumerate(acq.te_s):
        slabs(
            _differences,
            box.shape[0],
            box.crop(phase[..., echo]),
            box.crop(signal(echo)),
            np.float32(acq.rad_per_ppm(te)),
            top,
            bottom,
        )
    np.divide(top, bottom, out=top, where=bottom > 0)
    del bottom
    weights = np.array([(min(voxel) / v) ** 2 for v in voxel], np.float32)
    laplacian = np.zeros(box.shape, np.float32)
    slabs(_divergence, box.shape[0], top, inner, weights, laplacian)
    del top
    variance = inside.astype(np.float32)
    variance[inside & ~inner] *= np.float32(edge)
    harmonic = Harmonic(inside, inner, voxel, variance)
    local = harmonic.smallest(laplacian, iterations, progress)
    return LocalField(field_ppm=box.restore(local), noise_ppm=None, mask=box.restore(harmonic.reached()))


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4, f4[:,:,:,::1], f4[:,:,:,::1])")
def _differences(start, stop, phase, magnitude, rad_per_ppm, top, bottom):
    """Add an echo to the weighted sums of differences, in ppm, from each voxel to the next on each axis."""
    shape = phase.shape
    turn = np.float32(2 * math.pi)
    tiny = np.float32(1e-20)
    for i in range(start, stop):
        for j in range(shape[1]):
            for k in range(shape[2]):
                a = magnitude[i, j, k] ** 2
                for axis in range(3):
                    x = i + (axis == 0)
                    y = j + (axis == 1)
                    z = k + (axis == 2)
                    if x == shape[0] or y == shape[1] or z == shape[2]:
                        continue
                    d = phase[x, y, z] - phase[i, j, k]
                    d -= turn * np.float32(math.floor(d / turn + np.float32(0.5)))
                    b = magnitude[x, y, z] ** 2
                    # The variances of both add: 1/a + 1/b. Without any signal it still counts, a little.
                    w = (a * b / (a + b + tiny) + tiny) * rad_per_ppm
                    top[axis, i, j, k] += w * d
                    bottom[axis, i, j, k] += w * rad_per_ppm


@jit("void(i8, i8, f4[:,:,:,::1], b1[:,:,::1], f4[::1], f4[:,:,::1])")
def _divergence(start, stop, gradient, inner, weights, out):
    """Minus the divergence at the inner voxels."""
    for i in range(start, stop):
        for j in range(inner.shape[1]):
            for k in range(inner.shape[2]):
                if inner[i, j, k]:
                    out[i, j, k] = (
                        weights[0] * (gradient[0, i - 1, j, k] - gradient[0, i, j, k])
                        + weights[1] * (gradient[1, i, j - 1, k] - gradient[1, i, j, k])
                        + weights[2] * (gradient[2, i, j, k - 1] - gradient[2, i, j, k])
                    )
