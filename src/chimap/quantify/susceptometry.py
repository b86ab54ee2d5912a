"""Susceptibility of bodies of known shape, from the field: an inversion with one unknown a body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, next_fast_shape, rfftn
from chimap.quantify.vials import Vials
from chimap.results import LocalField
from chimap.types import Mask, Volume

_BLOCKS = 12
_OUTLIER = 4.0
"""Residuals beyond so many robust standard deviations are left out."""


@dataclass(frozen=True)
class Susceptometry:
    """Susceptibility of each vial against the water in ppm, its standard error, and the residual's SD in ppm over `voxels`."""

    chi_ppm: np.ndarray
    se_ppm: np.ndarray
    residual_ppm: float
    voxels: int


def susceptometry(
    field_ppm: Volume,
    vials: Vials,
    mask: Mask,
    acq: Acquisition,
    *,
    remove: Callable[[Volume, Mask], LocalField],
    radius_mm: float | None = None,
    length_mm: float | None = None,
) -> Susceptometry:
    r"""Susceptibility of vials by piece-wise constant inversion of the field.

    With :math:`s_n` the shape of vial n, D the dipole field and H a background removal (a linear one),

    .. math:: \min_{\chi, c} \; \lVert H f - \sum_n \chi_n\, H D s_n - \sum_m c_m h_m \rVert^2 ,

    where the solid harmonics h up to the third degree take what H left.
    The same H acts on the measured field and on the model, so that what it takes away from the vials' own field does no
    harm; this, and no regularisation, is why the result is nearly free of the loss of contrast that maps have.
    Voxels that a vial's surface comes within one voxel of, and two voxels at the edge of the mask, do not count, nor do outliers.

    Parameters
    ----------
    field_ppm : (x, y, z) float32
        Total field in ppm.
    vials : Vials
        Where they are.
    mask : (x, y, z) bool
        Where the field is good: the container, eroded by two voxels or so.
    acq : Acquisition
        Voxel size and direction of B0.
    remove : callable
        ``remove(field_ppm, mask)`` gives the local field; best the linear "lbv".
    radius_mm, length_mm : float, optional
        Inner radius and length of every vial, where the manufacturer's are known. Default: as found. An error of the radius of
        1 % makes up to 2 % of susceptibility.

    Returns
    -------
    Susceptometry
        Standard errors by a jackknife over blocks of the mask, since residuals of neighbouring voxels are alike.

    Raises
    ------
    InputError
        If vials cannot be told apart by their fields.

    Notes
    -----
    de Rochefort et al. 2008, doi:10.1002/mrm.21710. Peak memory about N + 10 float32 volumes; one background removal a vial
    and one more.
    """
    local = remove(np.where(mask, field_ppm, np.float32(0)), mask)
    shapes = [_cylinder(vials, n, field_ppm.shape, acq, radius_mm, length_mm) for n in range(vials.count)]
    rim = np.zeros(mask.shape, bool)
    for s in shapes:
        rim |= ndimage.maximum_filter(s, 3) - ndimage.minimum_filter(s, 3) > 0.01
    use = local.mask & ~rim & ndimage.binary_erosion(local.mask, iterations=2)
    columns = []
    for s in shapes:
        columns.append(remove(np.where(mask, _forward(s, acq), np.float32(0)), mask).field_ppm[use])
    place = np.nonzero(use)
    design = np.column_stack([*columns, _harmonics(place, acq.voxel_size_mm)]).astype(np.float64)
    y = local.field_ppm[use].astype(np.float64)
    # Edges of the container, bubbles and ringing leave voxels far off the model: once found, they go.
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    good = np.abs(residual) <= _OUTLIER * 1.4826 * np.median(np.abs(residual))
    design, y, index = design[good], y[good], place[vials.axis][good]
    edges = np.quantile(index, np.linspace(0, 1, _BLOCKS + 1)[1:-1]) if len(index) else np.zeros(1)
    block = np.digitize(index, edges)
    present = np.unique(block)
    if len(present) < 3:
        raise InputError("the mask is too thin along the vials to tell how well they are known")
    grams = np.array([design[block == b].T @ design[block == b] for b in present])
    sides = np.array([design[block == b].T @ y[block == b] for b in present])
    scale = np.sqrt(np.diagonal(grams.sum(0)))
    if not scale.all() or np.linalg.cond(grams.sum(0) / np.outer(scale, scale)) > 1e10:
        raise InputError("the fields of the vials cannot be told apart", fix="Check labels and mask")
    whole = np.linalg.solve(grams.sum(0), sides.sum(0))
    left = np.array([np.linalg.solve(grams.sum(0) - g, sides.sum(0) - s) for g, s in zip(grams, sides)])
    n = len(present)
    se = np.sqrt((n - 1) / n * ((left - left.mean(0)) ** 2).sum(0))
    return Susceptometry(
        chi_ppm=whole[: vials.count],
        se_ppm=se[: vials.count],
        residual_ppm=float((y - design @ whole).std()),
        voxels=len(y),
    )


def _cylinder(
    vials: Vials,
    n: int,
    shape: tuple[int, ...],
    acq: Acquisition,
    radius_mm: float | None,
    length_mm: float | None,
) -> Volume:
    """A closed cylinder with a voxel on its surface by its share, to first order."""
    d = acq.voxel_size_mm
    p = [
        (np.arange(s) * v - c).reshape([-1 if a == k else 1 for a in range(3)])
        for k, (s, v, c) in enumerate(zip(shape, d, vials.centre_mm[n], strict=True))
    ]
    across = [a for a in range(3) if a != vials.axis]
    h = float(np.sqrt(d[across[0]] * d[across[1]]))
    rho = np.sqrt(p[across[0]] ** 2 + p[across[1]] ** 2)
    radius, length = radius_mm or vials.radius_mm[n], length_mm or vials.length_mm[n]
    round_ = np.clip(0.5 + (radius - rho) / h, 0, 1)
    flat = np.clip(0.5 + (length / 2 - np.abs(p[vials.axis])) / d[vials.axis], 0, 1)
    return np.asarray(round_ * flat, np.float32)


def _harmonics(place: tuple[np.ndarray, ...], voxel: tuple[float, ...]) -> np.ndarray:
    """Solid harmonics up to the third degree at voxels, scaled to about 1: background that removal left."""
    p = [(i - i.mean()) * v for i, v in zip(place, voxel)]
    length = max(float(np.abs(q).max()) for q in p) or 1.0
    x, y, z = (q / length for q in p)
    r2 = x * x + y * y + z * z
    terms = [np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - r2]
    terms += [z * (5 * z * z - 3 * r2), x * (5 * z * z - r2), y * (5 * z * z - r2), z * (x * x - y * y)]
    terms += [x * y * z, x * (x * x - 3 * y * y), y * (3 * x * x - y * y)]
    return np.stack(terms, -1)


def _forward(chi: Volume, acq: Acquisition) -> Volume:
    """Field of a susceptibility map on a grid with room against its periodic copies."""
    padded = next_fast_shape([2 * n for n in chi.shape])
    volume = np.zeros(padded, np.float32)
    inner = tuple(slice(0, n) for n in chi.shape)
    volume[inner] = chi
    spectrum = rfftn(volume, overwrite=True)
    spectrum *= dipole_kernel(padded, acq.voxel_size_mm, acq.b0_dir)
    return np.ascontiguousarray(irfftn(spectrum, padded)[inner])
