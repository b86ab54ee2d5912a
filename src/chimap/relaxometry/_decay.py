"""Least squares of a decay with a Rician noise floor and dephasing, voxel by voxel."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaincinv

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.decay import line
from chimap.numerics.threads import jit, slabs
from chimap.relaxometry._common import MAX_T2STAR_S
from chimap.results import Relaxation
from chimap.types import Mask, Progress, Volume

_SAMPLE = 50_000
_QUANTILE = 0.25
"""The lower misfits tell the noise: the higher ones hold what the model does not know of."""


def fit_decay(
    magnitude: Volume,
    mask: Mask,
    acq: Acquisition,
    turns_per_s: np.ndarray,
    sigma: float | None,
    max_r2star: float,
    report: Progress,
) -> Relaxation:
    """Fit S0 exp(-TE R2*) sinc(TE g_a) ... with the mean of a Rician variable as noise floor.

    `turns_per_s` (axis, x, y, z), C-contiguous, holds the field's change across the voxel in Hz along as many axes as
    dephase. `sigma` None is estimated, from three echoes on.
    """
    if sigma is not None and not 0 <= sigma < np.inf:
        raise InputError(f"sigma is {sigma}", fix="Give the noise in units of the magnitude, 0 or more")
    stack = np.moveaxis(magnitude, 3, 0)
    te = np.asarray(acq.te_s)
    rate, t2star, s0, misfit = (np.zeros(mask.shape, np.float32) for _ in range(4))

    def run(where: Mask, noise: float) -> None:
        given = (te, turns_per_s, noise, max_r2star, MAX_T2STAR_S)
        slabs(_fit, mask.shape[0], stack, where, *given, rate, t2star, s0, misfit)

    if sigma is None:
        sigma = 0.0
        freedom = acq.echoes - 2
        if freedom > 0:
            # As many voxels as are needed for one number, spread over the mask.
            some = np.zeros(mask.shape, bool)
            index = np.flatnonzero(mask & (stack[0] > 0))
            some.ravel()[index[:: max(1, index.size // _SAMPLE)]] = True
            run(some, 0.0)
            if some.any():
                chi2 = 2 * gammaincinv(freedom / 2, _QUANTILE)
                sigma = float(np.sqrt(np.quantile(misfit[some], _QUANTILE) / chi2))
        report(1, 2)
    run(mask, sigma)
    report(2, 2, sigma=sigma)
    return Relaxation(r2star=rate, t2star=t2star, s0=s0)


@jit("UniTuple(f8, 2)(f8, f8)")
def _rician(s, sigma):
    """Mean of the magnitude of a signal `s` with noise `sigma`, and its derivative to `s`.

    sigma sqrt(pi/2) L(-s^2 / (2 sigma^2)) with the Laguerre polynomial of order 1/2, by the Bessel functions
    I0 and I1 (Abramowitz and Stegun 9.8.1 to 9.8.4, relative error below 3e-7).
    """
    if s >= 300 * sigma:
        return s, 1.0
    q = s * s / (4 * sigma * sigma)
    if q < 3.75:
        t = (q / 3.75) ** 2
        i0 = 1 + t * (3.5156229 + t * (3.0899424 + t * (1.2067492 + t * (0.2659732 + t * 0.0360768))))
        i0 += 0.0045813 * t**6
        i1 = 0.5 + t * (0.87890594 + t * (0.51498869 + t * (0.15084934 + t * (0.02658733 + t * 0.00301532))))
        i1 = q * (i1 + 0.00032411 * t**6)
        scale = np.exp(-q)
    else:
        t = 3.75 / q
        i0 = 0.00916281 + t * (-0.02057706 + t * (0.02635537 + t * (-0.01647633 + t * 0.00392377)))
        i0 = 0.39894228 + t * (0.01328592 + t * (0.00225319 + t * (-0.00157565 + t * i0)))
        i1 = -0.01031555 + t * (0.02282967 + t * (-0.02895312 + t * (0.01787654 - t * 0.00420059)))
        i1 = 0.39894228 + t * (-0.03988024 + t * (-0.00362018 + t * (0.00163801 + t * i1)))
        scale = 1 / np.sqrt(q)
    top = sigma * 1.2533141373155003 * scale
    mean = top * ((1 + 2 * q) * i0 + 2 * q * i1)
    slope = 0.6266570686577501 * scale * (i0 + i1) * s / sigma
    return mean, slope


@jit(
    "void(int64, int64, Array(f4, 4, 'C', readonly=True), Array(b1, 3, 'C', readonly=True), f8[::1],"
    " f4[:,:,:,::1], f8, f8, f8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1])",
    error_model="numpy",
)
def _fit(start, stop, magnitude, mask, te, turns, sigma, highest, longest, rate, t2star, s0, misfit):
    """Levenberg-Marquardt in the signal at the first echo and the rate, from the log-linear fit."""
    echoes = te.size
    m = np.empty(echoes)
    kept = np.empty(echoes)
    level = np.empty(echoes)
    for x in range(start, stop):
        for y in range(mask.shape[1]):
            for z in range(mask.shape[2]):
                if not mask[x, y, z] or magnitude[0, x, y, z] <= 0:
                    continue
                for e in range(echoes):
                    m[e] = magnitude[e, x, y, z]
                    kept[e] = 1.0
                    for a in range(turns.shape[0]):
                        angle = np.pi * turns[a, x, y, z] * te[e]
                        if abs(angle) > 1e-6:
                            kept[e] *= abs(np.sin(angle) / angle)
                    # Echoes that have dephased are no start.
                    level[e] = m[e] / kept[e] if kept[e] > 0.2 else 0.0
                r = line(level, te, highest)
                top = 0.0
                bottom = 1e-30
                for e in range(echoes):
                    d = kept[e] * np.exp(-r * (te[e] - te[0]))
                    top += d * m[e]
                    bottom += d * d
                a0 = top / bottom
                cost = 1e300
                damping = 1e-3
                old_a, old_r = a0, r
                haa = har = hrr = ga = gr = 0.0
                for _ in range(40):
                    new = 0.0
                    naa = nar = nrr = na = nr = 0.0
                    for e in range(echoes):
                        d = kept[e] * np.exp(-r * (te[e] - te[0]))
                        mean, slope = _rician(a0 * d, sigma)
                        miss = m[e] - mean
                        ja = slope * d
                        jr = -slope * a0 * d * (te[e] - te[0])
                        new += miss * miss
                        naa += ja * ja
                        nar += ja * jr
                        nrr += jr * jr
                        na += ja * miss
                        nr += jr * miss
                    if new <= cost:
                        done = cost - new <= 1e-9 * new or new == 0.0
                        cost = new
                        old_a, old_r = a0, r
                        haa, har, hrr, ga, gr = naa, nar, nrr, na, nr
                        damping = max(0.1 * damping, 1e-9)
                        if done:
                            break
                    else:
                        damping *= 10
                        if damping > 1e6:
                            break
                    paa = haa * (1 + damping) + 1e-30
                    prr = hrr * (1 + damping)
                    if (old_r <= 0 and gr <= 0) or (old_r >= highest and gr >= 0) or hrr <= 0:
                        a0 = old_a + ga / paa
                        r = old_r
                    else:
                        det = paa * prr - har * har
                        a0 = old_a + (prr * ga - har * gr) / det
                        r = min(highest, max(0.0, old_r + (paa * gr - har * ga) / det))
                    a0 = max(a0, 0.0)
                r = old_r
                rate[x, y, z] = r
                t2star[x, y, z] = min(longest, 1 / r) if r > 0 else longest
                s0[x, y, z] = old_a * np.exp(r * te[0])
                misfit[x, y, z] = cost
