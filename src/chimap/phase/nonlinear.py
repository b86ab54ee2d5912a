"""Nonlinear fit of the complex signal over the echoes."""

from __future__ import annotations

import math

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.threads import jit, slabs
from chimap.phase._field import BipolarCorrection, not_negative, unwrapped_echoes, with_noise
from chimap.phase._noise import thermal_sigma
from chimap.registry import method
from chimap.results import Field
from chimap.types import Mask, Progress, Volume, silent


@method("field", reference=("10.1002/mrm.24272", "10.1002/mrm.28563", "10.1002/mrm.26963"))
def nonlinear(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    unwrapping: str = "romeo",
    offset: str = "mcpc3ds",
    bipolar: BipolarCorrection = "auto",
    fit_offset: bool = False,
    structure_noise: float = 0.16,
    keep_unwrapped: bool = False,
    progress: Progress | None = None,
) -> Field:
    """Nonlinear fit of the field to the complex signal of all echoes.

    Minimises sum_e |m_e exp(i phi_e) - m_e exp(i (phi_0 + f k TE_e))|^2 over f, and over phi_0 too where `fit_offset`
    is set, by damped Gauss-Newton steps from the weighted mean of the unwrapped echoes, k = 2 pi gamma B0. The
    residual is periodic: single echoes with a wrong multiple of 2 pi do no harm, and the noise of weak
    signals is Gaussian as it is in the image, not as in its phase. The standard deviation is that of the method
    `weighted`: inverse curvature of the fit, the voxel's own misfit, and structure finer than a voxel.

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
        Method of the stage unwrap, for the start.
    offset : str
        Method of the stage offset.
    bipolar : {"auto", "yes", "no"}
        Take off the phase by which odd and even echoes of bipolar readouts differ; auto: where it is found.
    fit_offset : bool
        Fit what the smooth offset leaves in each voxel, from three echoes on: free of bias where the offset is not
        smooth, at the price of more noise.
    structure_noise : float
        Standard deviation of the field for each ppm of second difference; 0 leaves this part out.
    keep_unwrapped : bool
        Also return the unwrapped phase (of bipolar readouts: the corrected one).
    progress : callable, optional
        Called after offset, unwrapping and fit.

    Returns
    -------
    Field
        `field_ppm`, `noise_ppm` (standard deviation), `offset_rad`, `residual` (root mean square misfit
        over the echoes relative to the signal), all 0 outside `mask`. With one echo the offset is unknown
        and part of the field, and the residual is None.

    References
    ----------
    Liu et al., Magn Reson Med 2013, doi 10.1002/mrm.24272. Wraps in space are resolved by ROMEO, Dymerska et al. 2021,
    doi 10.1002/mrm.28563, after removal of the phase offset, Eckstein et al. 2018, doi 10.1002/mrm.26963.
    """
    not_negative(structure_noise=structure_noise)
    report = progress or silent
    data = unwrapped_echoes(phase, mask, acq, magnitude, unwrapping, offset, bipolar, keep_unwrapped, report)
    both = fit_offset and acq.echoes > 2
    freedom = acq.echoes - 2 if both else acq.echoes - 1
    result = np.empty((4, data.graph.size), np.float32)
    slabs(_fit, data.graph.size, data.phase, data.magnitude, data.rad_per_ppm, int(both), result)
    sigma = thermal_sigma(data.graph, data.phase, data.magnitude, result[2], freedom)
    out = with_noise(data, mask, result, sigma, freedom, structure_noise)
    report(3, 3, sigma=sigma, **data.facts)
    return out


@jit("void(int64, int64, f4[:,::1], f4[:,::1], f8[::1], i8, f4[:,::1])")
def _fit(start, stop, phase, magnitude, rad_per_ppm, both, out):
    """Field, information, sum of m^2 |residual|^2, sum of m^2 of each voxel."""
    echoes = rad_per_ppm.size
    last = rad_per_ppm[echoes - 1]
    for v in range(start, stop):
        top = 0.0
        s0 = 1e-30
        s1 = 0.0
        s2 = 1e-30
        for e in range(echoes):
            w = float(magnitude[e, v]) ** 2
            top += w * rad_per_ppm[e] * phase[e, v]
            s0 += w
            s1 += w * rad_per_ppm[e]
            s2 += w * rad_per_ppm[e] ** 2
        f = top / s2
        p = 0.0
        for _ in range(30):
            g1 = 0.0
            g0 = 0.0
            for e in range(echoes):
                r = math.sin(phase[e, v] - p - f * rad_per_ppm[e]) * float(magnitude[e, v]) ** 2
                g0 += r
                g1 += r * rad_per_ppm[e]
            # The curvature at zero residual bounds the true one: steps never overshoot to another minimum.
            if both:
                det = s0 * s2 - s1 * s1 + 1e-30 * s0 * s2
                step = (s0 * g1 - s1 * g0) / det
                p += (s2 * g0 - s1 * g1) / det
            else:
                step = g1 / s2
            f += step
            if abs(step) * last < 1e-4:
                break
        misfit = 0.0
        for e in range(echoes):
            misfit += 2 * (1 - math.cos(phase[e, v] - p - f * rad_per_ppm[e])) * float(magnitude[e, v]) ** 2
        out[0, v] = f
        out[1, v] = s2 - s1 * s1 / s0 * both
        out[2, v] = misfit
        out[3, v] = s0
