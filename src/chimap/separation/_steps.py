"""The element-wise steps of the joint fit of two kinds of sources to field and R2', fused.

Both maps have a copy that is 0 or more and fits R2'; the copy and its scaled dual are stored as one volume ``t``, because the
copy is the proximal point of ``t``.
"""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit


@jit("UniTuple(f4, 2)(f4, f4, f4, f4, f4, f4, f4)")
def nearest(ta, tb, strength, rate, ga, gb, mu):
    """The a, b >= 0 that minimise ``strength (ga a + gb b - rate)^2 + mu ((a - ta)^2 + (b - tb)^2)``."""
    excess = strength * (ga * ta + gb * tb - rate) / (mu + strength * (ga * ga + gb * gb))
    a = ta - excess * ga
    b = tb - excess * gb
    if a >= 0 and b >= 0:
        return a, b
    # One of them is 0: the better of the two edges.
    zero = np.float32(0)
    a = max(zero, (mu * ta + strength * ga * rate) / (mu + strength * ga * ga))
    b = max(zero, (mu * tb + strength * gb * rate) / (mu + strength * gb * gb))
    da, db = ga * a - rate, gb * b - rate
    if strength * da * da + mu * ((a - ta) ** 2 + tb * tb) <= strength * db * db + mu * (
        (b - tb) ** 2 + ta * ta
    ):
        return a, zero
    return zero, b


@jit(
    "void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4, f4, f4, f4)"
)
def gather(start, stop, wa, wb, ta, tb, strength, rate, ga, gb, mu, own):
    """Sum and difference, in place of `wa` and `wb`, of what both maps are pulled to: ``mu w + own (copy - dual)``."""
    for i in range(start, stop):
        for j in range(wa.shape[1]):
            for k in range(wa.shape[2]):
                t, s = ta[i, j, k], tb[i, j, k]
                a, b = nearest(t, s, strength[i, j, k], rate[i, j, k], ga, gb, own)
                x = mu * wa[i, j, k] + own * (a + a - t)
                y = mu * wb[i, j, k] + own * (b + b - s)
                wa[i, j, k] = x + y
                wb[i, j, k] = x - y


@jit(
    "void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1],"
    " f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], b1[:,:,::1],"
    " f4, f4, f4, f4, f4, f8[:,::1])"
)
def advance(
    start, stop, a, b, total, difference, field, q, u, weight, target, ta, tb, strength, rate, inside,
    ga, gb, own, mu, relax, sums,
):  # fmt: skip
    """Over-relaxed steps of the field's and the maps' copies; `a`, `b` become the new maps.

    `sums` (x, 2) receives per plane the squared norms of their change and of themselves inside the mask.
    """
    keep = np.float32(1) - relax
    half = np.float32(0.5)
    for i in range(start, stop):
        d2 = 0.0
        n2 = 0.0
        for j in range(a.shape[1]):
            for k in range(a.shape[2]):
                r = relax * field[i, j, k] + keep * (q[i, j, k] + u[i, j, k]) + u[i, j, k]
                z = (weight[i, j, k] * target[i, j, k] + mu * r) / (weight[i, j, k] + mu)
                u[i, j, k] = r - z
                q[i, j, k] = z - (r - z)
                x = half * (total[i, j, k] + difference[i, j, k])
                y = half * (total[i, j, k] - difference[i, j, k])
                if inside[i, j, k]:
                    d2 += (x - a[i, j, k]) ** 2 + (y - b[i, j, k]) ** 2
                    n2 += x * x + y * y
                a[i, j, k] = x
                b[i, j, k] = y
                t, s = ta[i, j, k], tb[i, j, k]
                va, vb = nearest(t, s, strength[i, j, k], rate[i, j, k], ga, gb, own)
                ta[i, j, k] = relax * x + keep * va + (t - va)
                tb[i, j, k] = relax * y + keep * vb + (s - vb)
        sums[i, 0] = d2
        sums[i, 1] = n2
