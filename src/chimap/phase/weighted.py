"""Signal-weighted combination of the echoes to the total field, with its standard deviation."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.threads import jit, slabs
from chimap.phase._field import BipolarCorrection, not_negative, unwrapped_echoes, with_noise
from chimap.phase._noise import thermal_sigma
from chimap.registry import method
from chimap.results import Field
from chimap.types import Mask, Progress, Volume, silent


@method("field", reference=("10.1002/mrm.28563", "10.1002/mrm.26963"))
def weighted(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    unwrapping: str = "romeo",
    offset: str = "mcpc3ds",
    bipolar: BipolarCorrection = "auto",
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
    bipolar : {"auto", "yes", "no"}
        Take off the phase by which odd and even echoes of bipolar readouts differ; auto: where it is found.
    outlier_rad : float
        Misfit in rad beyond which an echo loses weight; 0 keeps the plain weighted mean.
    structure_noise : float
        Standard deviation of the field for each ppm of second difference; 0 leaves this part out.
    keep_unwrapped : bool
        Also return the unwrapped phase (of bipolar readouts: the corrected one).
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
    not_negative(outlier_rad=outlier_rad, structure_noise=structure_noise)
    report = progress or silent
    data = unwrapped_echoes(phase, mask, acq, magnitude, unwrapping, offset, bipolar, keep_unwrapped, report)
    size = data.graph.size
    result = np.empty((4, size), np.float32)
    slabs(combine, size, data.phase, data.magnitude, data.rad_per_ppm, 0.0, 0.0, result)
    sigma = thermal_sigma(data.graph, data.phase, data.magnitude, result[2], acq.echoes - 1)
    if outlier_rad > 0 and acq.echoes > 1:
        slabs(combine, size, data.phase, data.magnitude, data.rad_per_ppm, outlier_rad, sigma, result)
    out = with_noise(data, mask, result, sigma, acq.echoes - 1, structure_noise)
    report(3, 3, sigma=sigma, **data.facts)
    return out


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
