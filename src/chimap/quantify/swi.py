"""Susceptibility-weighted images: magnitude times a mask made from phase or susceptibility, and projections of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy.fft
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.echoes import root_sum_of_squares
from chimap.numerics.threads import get_threads
from chimap.types import Mask, Volume


def high_pass_phase(
    phase: Volume,
    magnitude: Volume,
    acq: Acquisition,
    *,
    filter_mm: float = 8.0,
    slice_axis: int = 2,
) -> Volume:
    r"""Phase of one echo without its slow variation: homodyne filter, slice by slice.

    With S the complex image and H a Hann window in the slice's k-space, :math:`\varphi = \arg(S\,\overline{H S})`. No unwrapping is
    needed, and none of the result is wrapped where the phase left is below pi. Haacke et al. 2004, doi:10.1002/mrm.20198.

    Parameters
    ----------
    phase, magnitude : (x, y, z) float32
        Wrapped phase in rad and magnitude of the echo.
    acq : Acquisition
        Voxel size.
    filter_mm : float
        Wavelength in mm at which the window comes down to zero: 8 is the usual 64 of the 256 lines of a 256 mm field of view. Larger
        values keep more of the slow phase (and of the background near sinuses).
    slice_axis : 0, 1 or 2
        Axis that is not filtered.

    Returns
    -------
    (x, y, z) float32
        Phase in rad.
    """
    if not filter_mm > 0:
        raise InputError(f"filter width {filter_mm} mm is not positive")
    axes = tuple(a for a in range(3) if a != slice_axis)
    image = (magnitude * np.exp(1j * phase.astype(np.float32))).astype(np.complex64)
    spectrum = scipy.fft.fftn(image, axes=axes, workers=get_threads())
    k2 = np.zeros(1, np.float32)
    for a in axes:
        f = scipy.fft.fftfreq(phase.shape[a], acq.voxel_size_mm[a]).astype(np.float32)
        k2 = k2 + (f * f).reshape([-1 if n == a else 1 for n in range(3)])
    k = np.sqrt(k2) * np.float32(filter_mm)
    spectrum *= np.where(k < 1, np.float32(0.5) * (1 + np.cos(np.pi * k)), np.float32(0))
    slow = scipy.fft.ifftn(spectrum, axes=axes, workers=get_threads())
    return np.angle(image * np.conj(slow)).astype(np.float32)


def swi(magnitude: Volume, phase: Volume, *, power: float = 4.0, veins: Literal["+", "-"] = "+") -> Volume:
    r"""Susceptibility-weighted image of one echo: :math:`m\,w^p`.

    The mask w falls from 1 to 0 as the high-pass phase goes from 0 to pi on the side of the veins, and is 1 on the other side.
    Haacke et al. 2004, doi:10.1002/mrm.20198.

    Parameters
    ----------
    magnitude, phase : (x, y, z) float32
        Magnitude, and high-pass phase in rad (`high_pass_phase`).
    power : float
        How often the mask is multiplied in; 4 is usual.
    veins : {"+", "-"}
        Sign of the phase in a vein along B0. "+": phase grows where the field is higher, as everywhere in chimap.
    """
    _positive(power, "power")
    p = phase if veins == "+" else -phase
    w = np.clip(1 - p / np.float32(np.pi), 0, 1)
    return (magnitude * w ** np.float32(power)).astype(np.float32)


def clear_swi(
    magnitude: Volume,
    unwrapped: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    smoothing_mm: float = 4.0,
    homogeneity_mm: float = 12.0,
    power: float = 4.0,
) -> Volume:
    r"""CLEAR-SWI: one susceptibility-weighted image from all echoes, free of the coil's shading.

    - Magnitude: root sum of squares over the echoes, divided by its own smooth part, then
      :math:`\ln(1 + e^{f(m - o)})/f - \ln(1 + e^{-fo})/f` (softplus) with o half of its 80th percentile and f = 2/o, which lowers
      the noise and keeps the bright parts.
    - Phase: each unwrapped echo minus its smooth part in the slice (Gaussian), then their mean with the weights
      :math:`T_{E,j} m_j^2`, each scaled to the mean echo time.
    - Mask: :math:`w = (1 + \tanh(1 - \varphi/\varphi_0))/(1 + \tanh 1)`, at most 1, with :math:`\varphi_0` ten times the mean of
      the positive phase over `power`.

    Eckstein et al. 2021, doi:10.1016/j.neuroimage.2021.118175. The smooth parts are normalised Gaussians inside the mask here; the
    paper finds the shading by another way.

    Parameters
    ----------
    magnitude, unwrapped : (x, y, z, echo) float32
        Magnitude, and phase in rad without 2 pi steps (any multiple of 2 pi per echo is filtered out).
    mask : (x, y, z) bool
        The object; the result is 0 elsewhere.
    acq : Acquisition
        Echo times and voxel size; the third axis is that of the slices.
    smoothing_mm, homogeneity_mm : float
        Standard deviation of the Gaussians for the phase and the magnitude, in mm.
    power : float
        Strength of the mask.
    """
    if magnitude.ndim != 4 or magnitude.shape != unwrapped.shape or magnitude.shape[3] != acq.echoes:
        raise InputError(
            f"CLEAR-SWI takes magnitude and unwrapped phase of {acq.echoes} echoes; they have shapes {magnitude.shape} and {unwrapped.shape}"
        )
    for value, name in ((smoothing_mm, "smoothing"), (homogeneity_mm, "homogeneity"), (power, "power")):
        _positive(value, name)
    d = acq.voxel_size_mm
    inside = mask.astype(np.float32)
    m = root_sum_of_squares(magnitude) * inside
    # Twice: at the mask's edge the mean of one side alone leaves some of the shading over.
    for _ in range(2):
        m = m / np.maximum(_smooth(m, inside, [homogeneity_mm / v for v in d]), np.float32(1e-6 * m.max()))
    offset = np.float32(np.percentile(m[mask], 80) / 2)
    factor = np.float32(2) / offset
    bright = (np.logaddexp(0, factor * (m - offset)) - np.logaddexp(0, -factor * offset)) / factor
    total, weight = np.zeros_like(inside), np.zeros_like(inside)
    mean_te = float(np.mean(acq.te_s))
    sigma = [smoothing_mm / d[0], smoothing_mm / d[1], 0.0]
    for e, te in enumerate(acq.te_s):
        p = np.where(mask, unwrapped[..., e], np.float32(0))
        p = p - _smooth(p, inside, sigma)
        w = np.float32(te) * magnitude[..., e] ** 2
        total += w * p * np.float32(mean_te / te)
        weight += w
    phase = np.where(mask & (weight > 0), total / np.maximum(weight, np.float32(1e-20)), np.float32(0))
    positive = phase[mask & (phase > 0)]
    scale = np.float32((float(positive.mean()) if positive.size else 1.0) * 10 / power)
    w = np.minimum((1 + np.tanh(1 - phase / scale)) / np.float32(1 + np.tanh(1.0)), 1)
    return (bright * w * inside).astype(np.float32)


def true_swi(
    magnitude: Volume, chi_ppm: Volume, *, low_ppm: float = 0.0, high_ppm: float = 0.45, power: float = 2.0
) -> Volume:
    r"""True SWI: magnitude times a mask from susceptibility, so that veins of any direction show alike.

    :math:`m\,w^p` with w falling from 1 at `low_ppm` to 0 at `high_ppm`. Liu et al. 2014, doi:10.1002/jmri.24413.

    Parameters
    ----------
    magnitude, chi_ppm : (x, y, z) float32
        Magnitude, and susceptibility in ppm (reference: tissue or CSF near zero).
    low_ppm, high_ppm : float
        Where the mask begins to fall, and where it is zero.
    power : float
        How often it is multiplied in.
    """
    _positive(power, "power")
    if not high_ppm > low_ppm:
        raise InputError(
            f"the mask would fall from {low_ppm:g} to {high_ppm:g} ppm", fix="Give a higher upper end"
        )
    w = np.clip((np.float32(high_ppm) - chi_ppm) / np.float32(high_ppm - low_ppm), 0, 1)
    return (magnitude * w ** np.float32(power)).astype(np.float32)


def smwi(
    magnitude: Volume,
    chi_ppm: Volume,
    *,
    threshold_ppm: float = 1.0,
    power: float = 4.0,
    sources: Literal["paramagnetic", "diamagnetic"] = "paramagnetic",
) -> Volume:
    r"""Susceptibility map-weighted image: multi-echo magnitude times a mask from susceptibility.

    The mask is :math:`(\chi_t - \chi)/\chi_t` between 0 and the threshold for paramagnetic sources, 1 below and 0 above;
    mirrored for diamagnetic ones. Gho et al. 2014, doi:10.1002/mrm.24920.

    Parameters
    ----------
    magnitude : (x, y, z) or (x, y, z, echo) float32
        Echoes are combined by root sum of squares.
    chi_ppm : (x, y, z) float32
        Susceptibility in ppm.
    threshold_ppm : float
        Where the mask is zero. The paper's 1 ppm with power 4 is for 7 T; smaller values weight more.
    power : float
        How often it is multiplied in.
    sources : {"paramagnetic", "diamagnetic"}
        What is made dark: iron and veins, or calcium and myelin.
    """
    _positive(power, "power")
    _positive(threshold_ppm, "threshold")
    m = root_sum_of_squares(magnitude)
    value = chi_ppm if sources == "paramagnetic" else -chi_ppm
    w = np.clip(1 - value / np.float32(threshold_ppm), 0, 1)
    return (m * w ** np.float32(power)).astype(np.float32)


def projection(
    volume: Volume,
    voxel_size_mm: Sequence[float],
    mask: Mask | None = None,
    *,
    thickness_mm: float = 10.0,
    axis: int = 2,
    kind: Literal["minimum", "maximum", "mean"] = "minimum",
) -> Volume:
    """Projection over a slab that moves slice by slice.

    Parameters
    ----------
    volume : (x, y, z) float32
    voxel_size_mm : 3 float
    mask : (x, y, z) bool, optional
        Voxels that count; without it all do, and the noise outside a head darkens its edge. Outside it the result is 0.
    thickness_mm : float
        Of the slab; an odd number of slices as near to it as can be.
    axis : 0, 1 or 2
        Direction of the projection.
    kind : {"minimum", "maximum", "mean"}
        Minimum for SWI and its like, maximum for susceptibility.

    Returns
    -------
    (x, y, z) float32
        On the same grid. At both ends the slab is thinner.
    """
    _positive(thickness_mm, "thickness")
    size = 2 * round((thickness_mm / voxel_size_mm[axis] - 1) / 2) + 1
    inside = np.ones(volume.shape, bool) if mask is None else mask
    if kind == "mean":
        share = ndimage.uniform_filter1d(inside.astype(np.float64), size, axis, mode="constant")
        total = ndimage.uniform_filter1d(
            np.where(inside, volume, 0).astype(np.float64), size, axis, mode="constant"
        )
        out = total / np.maximum(share, 1e-9)
    elif kind == "minimum":
        out = ndimage.minimum_filter1d(
            np.where(inside, volume, np.inf), size, axis, mode="constant", cval=np.inf
        )
    else:
        out = ndimage.maximum_filter1d(
            np.where(inside, volume, -np.inf), size, axis, mode="constant", cval=-np.inf
        )
    return np.where(inside, out, 0).astype(np.float32)


def _smooth(volume: Volume, inside: Volume, sigma: Sequence[float]) -> Volume:
    """Gaussian mean over what is inside the mask."""
    weight = ndimage.gaussian_filter(inside, sigma, mode="constant", truncate=3.0)
    mean = ndimage.gaussian_filter(volume * inside, sigma, mode="constant", truncate=3.0)
    return np.asarray(mean / np.maximum(weight, np.float32(1e-3)), np.float32)


def _positive(value: float, name: str) -> None:
    if not value > 0:
        raise InputError(f"{name} {value:g} is not positive")
