"""R2* by a weighted line through the logarithm of the magnitude."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.decay import line
from chimap.numerics.threads import jit, slabs
from chimap.registry import method
from chimap.relaxometry._common import SINGLE_ECHO, check, relaxation
from chimap.results import Relaxation
from chimap.types import Mask, Progress, Volume


@method("r2star", reference="10.1002/mrm.25137")
def loglinear(
    magnitude: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    max_r2star: float = 1000.0,
    progress: Progress | None = None,
) -> Relaxation:
    """Weighted log-linear fit: R2* from two echoes or more at any spacing.

    Least squares of log m_e = log S_0 - R2* TE_e with the inverse variance m_e^2 of the logarithm as weight. From three
    echoes on the weights are taken again from the fitted signal, since noise in the weights biases R2*. Near the
    noise floor the magnitude no longer falls and R2* comes out too low.

    Parameters
    ----------
    magnitude : (x, y, z, echo) float32
        Magnitude in any unit.
    mask : (x, y, z) bool
        Where R2* is wanted.
    acq : Acquisition
        Echo times, two or more.
    max_r2star : float
        Upper limit of R2* in 1/s; the lower limit is 0.
    progress : callable, optional
        Called at the end.

    Returns
    -------
    Relaxation
        R2* in 1/s within 0..`max_r2star`, T2* = 1 / R2* in s but at most 1 s, and the signal at TE = 0; all 0
        outside the mask and where the first echo has no signal.

    Raises
    ------
    InputError
        With fewer than two echoes.

    References
    ----------
    Compared with other fits in Pei et al., Magn Reson Med 2015, doi 10.1002/mrm.25137.
    """
    check(acq, 2, max_r2star, "loglinear", SINGLE_ECHO)
    rate = np.zeros(mask.shape, np.float32)
    te = np.asarray(acq.te_s)
    slabs(_rate, mask.shape[0], np.moveaxis(magnitude, 3, 0), mask, te, max_r2star, rate)
    out = relaxation(magnitude, mask, acq, rate)
    if progress is not None:
        progress(1, 1)
    return out


@jit(
    "void(int64, int64, Array(f4, 4, 'C', readonly=True), Array(b1, 3, 'C', readonly=True), f8[::1], f8,"
    " f4[:,:,::1])"
)
def _rate(start, stop, magnitude, mask, te, highest, rate):
    signal = np.empty(te.size)
    for x in range(start, stop):
        for y in range(mask.shape[1]):
            for z in range(mask.shape[2]):
                if not mask[x, y, z] or magnitude[0, x, y, z] <= 0:
                    continue
                for e in range(te.size):
                    signal[e] = magnitude[e, x, y, z]
                rate[x, y, z] = line(signal, te, highest)
