"""What the relaxometry methods share: limits of the result, the log-linear line, the signal at TE = 0."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import jit, slabs
from chimap.results import Relaxation
from chimap.types import Mask, Volume

MAX_T2STAR_S = 1.0
"""T2* is not reported longer than this."""

SINGLE_ECHO = "R2* cannot be had from a single echo"


def check(acq: Acquisition, echoes: int, max_r2star: float, name: str, instead: str) -> None:
    """Raise `InputError` with too few echoes for the method `name`, or a limit that is none."""
    if acq.echoes < echoes:
        raise InputError(f"{name} needs {echoes} echoes; there are {acq.echoes}", fix=instead)
    if not 0 < max_r2star < np.inf:
        raise InputError(f"max_r2star is {max_r2star}", fix="Give a positive rate in 1/s")


def relaxation(magnitude: Volume, mask: Mask, acq: Acquisition, rate: Volume) -> Relaxation:
    """`Relaxation` from the rate in 1/s, with the least-squares signal at TE = 0."""
    t2star = np.zeros_like(rate)
    s0 = np.zeros_like(rate)
    stack = np.moveaxis(magnitude, 3, 0)
    slabs(_finish, rate.shape[0], stack, mask, np.asarray(acq.te_s), MAX_T2STAR_S, rate, t2star, s0)
    return Relaxation(r2star=rate, t2star=t2star, s0=s0)


@jit(
    "void(int64, int64, Array(f4, 4, 'C', readonly=True), Array(b1, 3, 'C', readonly=True), f8[::1], f8,"
    " f4[:,:,::1], f4[:,:,::1], f4[:,:,::1])"
)
def _finish(start, stop, magnitude, mask, te, longest, rate, t2star, s0):
    for x in range(start, stop):
        for y in range(mask.shape[1]):
            for z in range(mask.shape[2]):
                if not mask[x, y, z] or magnitude[0, x, y, z] <= 0:
                    continue
                r = rate[x, y, z]
                t2star[x, y, z] = min(longest, 1 / r) if r > 0 else longest
                top = 0.0
                bottom = 0.0
                for e in range(te.size):
                    decay = np.exp(-r * te[e])
                    top += decay * magnitude[e, x, y, z]
                    bottom += decay * decay
                s0[x, y, z] = top / bottom
