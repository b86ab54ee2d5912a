"""PDF: the background as the field of dipoles outside the mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt

from chimap.acquisition import Acquisition
from chimap.background._unreliable import from_around
from chimap.errors import InputError
from chimap.numerics.box import Box, whole_voxels
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import convolve
from chimap.numerics.sums import dot, weighted_energy
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", reference="10.1002/nbm.1670")
def pdf(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    local_ppm: float = 0.01,
    source_ppm: float = 3.0,
    gap_mm: float = 3.0,
    pad_mm: float = 24.0,
    tolerance: float = 0.02,
    iterations: int = 45,
    unreliable: float = 25.0,
    progress: Progress = silent,
) -> LocalField:
    r"""PDF, projection onto dipole fields: what dipoles outside the mask can explain is background.

    The background is the field :math:`D\chi` of a susceptibility :math:`\chi` outside the mask, plus a constant
    :math:`c` (centre frequency), that explains the total field :math:`f` best:

    .. math:: \min_{\chi, c} \sum_{x \in mask} \frac{(f - c - D\chi)^2}{\sigma^2 + \sigma_{local}^2}
              + \sum_{x \notin mask} \frac{\chi^2}{s^2}

    and the local field is what is left. Run to its end without the second sum, sources outside also explain all
    that is harmonic in the local field; customary implementations stop after a few iterations instead. Here the
    second sum says how strong sources may be, :math:`s = source\_ppm \cdot (1 - \exp(-(d / gap\_mm)^4))` at the
    distance :math:`d` from the mask: what touches the brain is tissue and fluid, and sources next to the mask
    could explain anything that happens at its edge.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where the total field is known.
    acq : Acquisition
        Voxel size in mm and direction of B0.
    noise : (x, y, z) float32, optional
        Standard deviation :math:`\sigma` of the total field in ppm: weights the voxels.
    local_ppm : float
        Standard deviation of the local field in ppm. For the fit it is noise, and usually the largest part of it.
    source_ppm : float
        Standard deviation of the susceptibility outside, in ppm. Less keeps more of the local field and leaves
        more of the background.
    gap_mm : float
        Depth of the layer around the mask without strong sources, in mm. 0: sources right next to the mask.
    pad_mm : float
        Space for sources around the mask's bounding box, in mm, on each axis (both sides together).
    tolerance : float
        Stop when an iteration changes the background by less than this many standard deviations (of noise and
        local field together, root mean square over the mask).
    iterations : int
        Most iterations; each costs two transform pairs.
    unreliable : float
        In voxels whose noise exceeds this many times the median, the local field is taken from the sources there that
        best explain the field around. 0: it stays as measured.

    Returns
    -------
    LocalField
        Local field in ppm, over the whole mask; its noise is that of the total field.

    Raises
    ------
    InputError
        If a standard deviation is not positive, or another parameter is negative.

    Notes
    -----
    Conjugate gradients on the least-squares problem, with the standard deviation of the sources as
    preconditioner. The error is largest in the outermost two voxels of the mask.

    Liu et al. 2011, doi:10.1002/nbm.1670.
    """
    if not (local_ppm > 0 and source_ppm > 0):
        raise InputError(f"local_ppm is {local_ppm} and source_ppm {source_ppm}", fix="Give more than 0")
    if not (gap_mm >= 0 and pad_mm >= 0 and tolerance >= 0 and iterations >= 1):
        raise InputError(
            f"gap_mm is {gap_mm}, pad_mm {pad_mm}, tolerance {tolerance} and iterations {iterations}",
            fix="Give 0 or more, and at least one iteration",
        )
    voxel = acq.voxel_size_mm
    box = Box.around(mask, [max(2, whole_voxels(pad_mm, v)) for v in voxel])
    inside = box.crop(mask)
    source = _source_sd(inside, box, voxel, gap_mm)
    source *= np.float32(source_ppm)
    weight = inside.astype(np.float32)
    weight *= np.float32(1 / local_ppm**2)
    if noise is not None:
        variance = box.crop(noise)
        variance *= variance
        variance += np.float32(local_ppm**2)
        np.divide(inside, variance, out=weight)
        del variance
    residual = box.crop(total_field)
    kernel = dipole_kernel(box.shape, voxel, acq.b0_dir)
    _fit(residual, weight, source, kernel, tolerance, iterations, progress)
    residual *= inside
    local = from_around(box.restore(residual), noise, mask, unreliable, voxel, acq.b0_dir)
    return LocalField(
        field_ppm=local,
        noise_ppm=None if noise is None else noise.copy(),
        mask=mask.copy(),
    )


def _source_sd(inside: Mask, box: Box, voxel: Sequence[float], gap_mm: float) -> Volume:
    """Standard deviation of sources relative to far from the mask: 0 inside, rising over about `gap_mm`."""
    if gap_mm == 0:
        return (~inside).astype(np.float32)
    # The mask lies in the grid's corner and the grid is periodic: with the empty space shared out to both sides,
    # plain distances are right.
    shift = tuple((n - (s.stop - s.start)) // 2 for n, s in zip(box.shape, box.inner, strict=True))
    far = distance_transform_edt(~np.roll(inside, shift, (0, 1, 2)), sampling=voxel).astype(np.float32)
    far = np.roll(far, tuple(-n for n in shift), (0, 1, 2))
    far /= np.float32(gap_mm)
    far **= 4
    np.negative(far, out=far)
    np.expm1(far, out=far)
    return np.negative(far, out=far)


def _fit(
    residual: Volume,
    weight: Volume,
    source: Volume,
    kernel: Volume,
    tolerance: float,
    iterations: int,
    progress: Progress,
) -> None:
    """Take the background off `residual`, in place: conjugate gradients (in least-squares form) for sources / `source`.

    The prior adds the sources themselves to the residuals, with weight 1.
    """
    shape = residual.shape
    weight_sum = _sum(weight)
    known = _count(weight)

    def centre(field: Volume) -> None:
        field -= np.float32(dot(field, weight) / weight_sum)

    def field_of(sources: Volume) -> Volume:
        field = convolve(sources * source, kernel)
        centre(field)
        return field

    def gradient() -> Volume:
        g = convolve(residual * weight, kernel)
        g *= source
        g -= x
        return g

    centre(residual)
    x = np.zeros(shape, np.float32)
    g = gradient()
    p = g.copy()
    norm = dot(g, g)
    change, converged = 0.0, norm == 0
    for n in range(iterations):
        if converged:
            break
        field = field_of(p)
        energy = weighted_energy(field, weight)
        step = norm / (energy + dot(p, p))
        # The change is nothing new to compute: energy is that of the step's field.
        change = step * float(np.sqrt(energy / known))
        field *= np.float32(step)
        residual -= field
        del field
        x += np.float32(step) * p
        converged = change < tolerance
        progress(n + 1, iterations, change=change, converged=converged)
        if converged or n == iterations - 1:
            break
        g = gradient()
        norm, before = dot(g, g), norm
        p *= np.float32(norm / before)
        p += g
        del g


# Sums plane by plane in float64: the same for any number of threads, and exact enough in float32 volumes.


def _sum(a: Volume) -> float:
    return float(sum(p.sum(dtype=np.float64) for p in a))


def _count(a: Volume) -> int:
    return int(np.count_nonzero(a))
