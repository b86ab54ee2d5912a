"""R2* by a nonlinear fit that knows the noise floor of the magnitude."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.registry import method
from chimap.relaxometry._common import SINGLE_ECHO, check
from chimap.relaxometry._decay import fit_decay
from chimap.results import Relaxation
from chimap.types import Mask, Progress, Volume, silent


@method("r2star", reference="10.1002/mrm.24607")
def nonlinear(
    magnitude: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    sigma: float | None = None,
    max_r2star: float = 1000.0,
    progress: Progress = silent,
) -> Relaxation:
    """Nonlinear least squares with the Rician noise floor: R2* that stays right where late echoes are noise.

    Minimum of sum_e (m_e - E(S_0 exp(-R2* TE_e)))^2, where E(S) = sigma sqrt(pi/2) L(-S^2 / (2 sigma^2)), with the
    Laguerre polynomial of order 1/2, is the mean of a magnitude of true signal S: S where S >> sigma, and 1.25
    sigma where there is no signal. By Levenberg and Marquardt's steps from the weighted log-linear fit.

    Parameters
    ----------
    magnitude : (x, y, z, echo) float32
        Magnitude in any unit, of one coil or an optimal combination (a root of sum of squares of many has a
        higher floor).
    mask : (x, y, z) bool
        Where R2* is wanted.
    acq : Acquisition
        Echo times, two or more.
    sigma : float or None
        Standard deviation of the noise in the real (and the imaginary) part of the images, in units of the magnitude;
        0 fits without a floor. By default from the lower quartile of the misfits of the fit without
        one, which needs three echoes; with two there is no floor.
    max_r2star : float
        Upper limit of R2* in 1/s; the lower limit is 0.
    progress : callable, optional
        Called after the estimate of the noise and at the end, with `sigma`.

    Returns
    -------
    Relaxation
        R2* in 1/s within 0..`max_r2star`, T2* = 1 / R2* in s but at most 1 s, and the signal at TE = 0; all 0
        outside the mask and where the first echo has no signal.

    Raises
    ------
    InputError
        With fewer than two echoes, or a parameter out of its range.

    References
    ----------
    The first-moment model of Feng et al., Magn Reson Med 2013, doi 10.1002/mrm.24607, for one coil.
    """
    check(acq, 2, max_r2star, "nonlinear", SINGLE_ECHO)
    turns = np.zeros((0, *mask.shape), np.float32)
    return fit_decay(magnitude, mask, acq, turns, sigma, max_r2star, progress)
