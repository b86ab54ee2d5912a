"""Signal-weighted combination of the echoes to the total field, with its standard deviation."""

from __future__ import annotations

import math

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import jit, slabs
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase._noise import structure, thermal_sigma
from chimap.phase.romeo import packed_magnitude
from chimap.registry import get, method
from chimap.results import Field
from chimap.types import Mask, Progress, Volume, silent

PRIOR_WEIGHT = 2.0
"""Degrees of freedom with which the noise of the whole image enters the misfit of one voxel."""


@method("field", reference=("10.1002/mrm.28563", "10.1002/mrm.26963"))
def weighted(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    unwrapping: str = "romeo",
    offset: str = "mcpc3ds",
    outlier_rad: float = 0.2,
    structure_noise: float = 0.16,
    keep_unwrapped: bool = False,
    progress: Progress | None = None,
) -> Field:
    """Mean of the echoes' fields, weighted by signal and echo time, outlying echoes down-weighted.

    With unwrapped phase phi_e, offset phi_0 and k = 2 pi gamma B0 (rad/s/ppm) the field is the minimum of
    sum_e m_e^2 c_e^2 log(1 + (phi_e - phi_0 - f k TE_e)^2 / c_e^2), c_e = `outlier_rad` + 2 sigma / m_e: near the
    optimum the mean of (phi_e - phi_0) / (k TE_e) with the inverse variances (m_e TE_e)^2, but an echo that
    lost its signal or its place among the multiples of 2 pi hardly counts.

    The variance is sigma^2 / sum_e w_e (k TE_e)^2 of thermal noise, times the voxel's own misfit over its echoes
    (a scaled chi^2 with two degrees of freedom of the whole image's noise mixed in, since few echoes make a
    poor estimate), plus the square of `structure_noise` times the root mean square second difference of the field
    among the voxel's neighbours: where the field bends between voxels it also bends inside them, and the phase of
    the voxel's signal is not its mean field. sigma, the noise of the complex image, is estimated from the misfit of all voxels.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where the field is wanted.
    acq : Acquisition
        Echo times and field strength.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit. Without it all voxels and echoes weigh the same.
    unwrapping : str
        Method of the stage unwrap.
    offset : str
        Method of the stage offset.
    outlier_rad : float
        Misfit in rad beyond which an echo loses weight; 0 keeps the plain weighted mean.
    structure_noise : float
        Standard deviation of the field for each ppm of second difference; 0 leaves this part out.
    keep_unwrapped : bool
        Also return the unwrapped phase.
    progress : callable, optional
        Called after offset, unwrapping and combination.

    Returns
    -------
    Field
        `field_ppm`, `noise_ppm` (standard deviation), `offset_rad`, `residual` (root mean square misfit
        over the echoes in rad, weighted by signal), all 0 outside `mask`. With one echo the offset is unknown and
        part of the field, and the residual is None.

    References
    ----------
    Dymerska et al., Magn Reson Med 2021, doi 10.1002/mrm.28563; Eckstein et al., Magn Reson Med 2018,
    doi 10.1002/mrm.26963.
    """
    for name, value in (("outlier_rad", outlier_rad), ("structure_noise", structure_noise)):
        if not 0 <= value < math.inf:
            raise InputError(f"{name} is {value}", fix="Give 0 or more")
    report = progress or silent
    offset_rad = None
    if acq.echoes > 1:
        offset_rad = get("offset", offset)(phase, mask, acq, magnitude=magnitude)
    report(1, 3)
    unwrap = get("unwrap", unwrapping)
    known = {"magnitude": magnitude, "offset": offset_rad}
    unwrapped = unwrap(phase, mask, acq, **{k: v for k, v in known.items() if k in unwrap.inputs})
    report(2, 3)
    graph = Graph.of(mask)
    free = graph.pack(unwrapped)
    if not keep_unwrapped:
        unwrapped = None
    if offset_rad is not None:
        free -= graph.pack(offset_rad)
    signal = packed_magnitude(graph, magnitude, acq.echoes)
    rad_per_ppm = np.array([acq.rad_per_ppm(t) for t in acq.te_s])
    result = np.empty((4, graph.size), np.float32)
    slabs(combine, graph.size, free, signal, rad_per_ppm, 0.0, 0.0, result)
    sigma = thermal_sigma(graph, free, signal, result[2])
    if outlier_rad > 0 and acq.echoes > 1:
        slabs(combine, graph.size, free, signal, rad_per_ppm, outlier_rad, sigma, result)
    mean, information, misfit, weight = result
    thermal = np.float32(sigma**2) / information
    freedom = acq.echoes - 1
    variance = thermal * (PRIOR_WEIGHT + misfit / np.float32(sigma**2 or 1)) / (PRIOR_WEIGHT + freedom)
    if structure_noise > 0:
        variance += np.float32(structure_noise**2) * structure(graph, mean, thermal)
    # A voxel without any signal is known no better than the first echo's ambiguity.
    noise = np.sqrt(np.minimum(variance, np.float32((TWO_PI / rad_per_ppm[0]) ** 2)))
    report(3, 3, sigma=sigma)
    return Field(
        field_ppm=graph.unpack(mean),
        noise_ppm=graph.unpack(noise),
        mask=mask,
        offset_rad=offset_rad,
        residual=graph.unpack(np.sqrt(misfit / np.maximum(weight, np.float32(1e-30)))) if freedom else None,
        unwrapped_rad=unwrapped,
    )


@jit("void(int64, int64, f4[:,::1], f4[:,::1], f8[::1], f8, f8, f4[:,::1])")
def combine(start, stop, phase, magnitude, rad_per_ppm, outlier, sigma, out):
    """Robust weighted mean field per voxel: field, information, sum of m^2 r^2, sum of m^2.

    Iteratively reweighted least squares from the plain weighted mean; `outlier` 0 stops there.
    """
    echoes = rad_per_ppm.size
    for v in range(start, stop):
        f = 0.0
        information = 1e-30
        for step in range(11):
            top = 0.0
            bottom = 1e-30
            for e in range(echoes):
                m = float(magnitude[e, v])
                w = m * m * rad_per_ppm[e]
                if step > 0 and m > 0:
                    r = (phase[e, v] - f * rad_per_ppm[e]) / (outlier + 2 * sigma / m)
                    w /= 1 + r * r
                top += w * phase[e, v]
                bottom += w * rad_per_ppm[e]
            last = f
            f = top / bottom
            information = bottom
            if outlier == 0.0 or (step > 0 and abs(f - last) * rad_per_ppm[echoes - 1] < 1e-3):
                break
        misfit = 0.0
        weight = 0.0
        for e in range(echoes):
            m = float(magnitude[e, v])
            misfit += (m * (phase[e, v] - f * rad_per_ppm[e])) ** 2
            weight += m * m
        out[0, v] = f
        out[1, v] = information
        out[2, v] = misfit
        out[3, v] = weight
