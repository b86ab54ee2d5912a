"""ARLO: R2* by auto-regression on linear operations of the echoes."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.threads import jit, slabs
from chimap.registry import method
from chimap.relaxometry._common import SINGLE_ECHO, check, relaxation
from chimap.results import Relaxation
from chimap.types import Mask, Progress, Volume


@method("r2star", reference="10.1002/mrm.25137")
def arlo(
    magnitude: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    max_r2star: float = 1000.0,
    progress: Progress | None = None,
) -> Relaxation:
    """ARLO: R2* in closed form from three echoes or more, as accurate as a nonlinear fit.

    For a mono-exponential decay the area under three successive echoes, S_i = a_i m_i + b_i m_i+1 + c_i m_i+2 by
    Simpson's rule, is T2* times D_i = m_i - m_i+2. Hence T2* = sum S_i (S_i + c_i D_i) / sum D_i (S_i + c_i D_i),
    with c_i = TE spacing / 3 for equal spacing, as in the paper. For unequal spacing the same holds with the rule's
    weights for unequal intervals. Where only the first echo has signal R2* comes out as 3 / (TE spacing), the largest
    that can be told.

    Parameters
    ----------
    magnitude : (x, y, z, echo) float32
        Magnitude in any unit.
    mask : (x, y, z) bool
        Where R2* is wanted.
    acq : Acquisition
        Echo times, three or more.
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
        With fewer than three echoes.

    References
    ----------
    Pei et al., Magn Reson Med 2015, doi 10.1002/mrm.25137.
    """
    instead = "Use the method loglinear, which needs two" if acq.echoes == 2 else SINGLE_ECHO
    check(acq, 3, max_r2star, "arlo", instead)
    te = np.asarray(acq.te_s)
    first, second = np.diff(te)[:-1], np.diff(te)[1:]
    span = first + second
    rule = np.stack(
        [span / 6 * (2 - second / first), span**3 / (6 * first * second), span / 6 * (2 - first / second)]
    )
    rate = np.zeros(mask.shape, np.float32)
    slabs(_rate, mask.shape[0], np.moveaxis(magnitude, 3, 0), mask, rule, max_r2star, rate)
    out = relaxation(magnitude, mask, acq, rate)
    if progress is not None:
        progress(1, 1)
    return out


@jit(
    "void(int64, int64, Array(f4, 4, 'C', readonly=True), Array(b1, 3, 'C', readonly=True), f8[:,::1], f8,"
    " f4[:,:,::1])"
)
def _rate(start, stop, magnitude, mask, rule, highest, rate):
    for x in range(start, stop):
        for y in range(mask.shape[1]):
            for z in range(mask.shape[2]):
                if not mask[x, y, z] or magnitude[0, x, y, z] <= 0:
                    continue
                area = 0.0
                drop = 0.0
                for i in range(rule.shape[1]):
                    last = magnitude[i + 2, x, y, z]
                    s = rule[0, i] * magnitude[i, x, y, z] + rule[1, i] * magnitude[i + 1, x, y, z]
                    s += rule[2, i] * last
                    d = magnitude[i, x, y, z] - last
                    area += s * (s + rule[2, i] * d)
                    drop += d * (s + rule[2, i] * d)
                if drop <= 0:
                    rate[x, y, z] = 0
                elif drop >= highest * area:
                    rate[x, y, z] = highest
                else:
                    rate[x, y, z] = drop / area
