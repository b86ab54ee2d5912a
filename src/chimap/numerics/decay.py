"""The rate of a decay over echoes, for one voxel."""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit


@jit("f8(f8[::1], f8[::1], f8)")
def line(signal, te, highest):
    """Rate in 0..`highest` of the weighted line through the logarithm of the echoes that are above 0.

    The weights are the squared signal, from the second of three passes on that of the fit.
    """
    r = 0.0
    for step in range(3):
        w0 = 0.0
        wt = 0.0
        wtt = 0.0
        wl = 0.0
        wtl = 0.0
        for e in range(te.size):
            m = signal[e]
            if m <= 0:
                continue
            w = m * m if step == 0 else np.exp(-2 * r * (te[e] - te[0]))
            l = np.log(m)
            w0 += w
            wt += w * te[e]
            wtt += w * te[e] * te[e]
            wl += w * l
            wtl += w * te[e] * l
        bottom = w0 * wtt - wt * wt
        if bottom <= 0:
            break
        r = min(highest, max(0.0, (wt * wl - w0 * wtl) / bottom))
    return r
