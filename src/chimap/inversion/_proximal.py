r"""The data term of a voxel against the split field: one pass that all splitting methods share.

For each voxel with residual :math:`d = z - f` the step minimises :math:`\rho(d) + \tfrac{\mu}{2} (z - r)^2` with

========  ===============================================  ==============================
term      :math:`\rho(d)`                                  meaning
========  ===============================================  ==============================
L2        :math:`w d^2 / 2`                                Gaussian noise of the field
PHASE_L2  :math:`w (1 - \cos s d) / s^2`                   Gaussian noise of the signal, :math:`\tfrac{w}{2 s^2}|e^{isz} - e^{isf}|^2`
L1        :math:`w |d|`                                    outliers of the field
PHASE_L1  :math:`2 w |\sin(s d / 2)| / s`                  outliers of the signal, :math:`\tfrac{w}{s}|e^{isz} - e^{isf}|`
========  ===============================================  ==============================

where `w` is the voxel's strength and `s` the phase in rad of a field of 1 ppm. The nonlinear ones agree with the others
for small residuals, and do not mind a field that is wrong by whole turns.
"""

from __future__ import annotations

import numpy as np

from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume

L2, PHASE_L2, L1, PHASE_L1 = range(4)
NEWTON = 3


def proximal(
    term: int,
    predicted: Volume,
    q: Volume,
    u: Volume,
    strength: Volume,
    field: Volume,
    new: Volume,
    old: Volume,
    r: Volume,
    inside: Mask,
    sums: np.ndarray,
    *,
    hold: float,
    mu: float,
    relax: float,
    phase_scale: float = 0.0,
) -> None:
    """Over-relaxed data step in place: `q` (``z - u``) and the scaled dual `u` from the `predicted` field.

    In the same pass the map's own copy (stored with its dual as `r`) is shrunk by `hold` outside the mask. `sums` (x, 2)
    receives per plane the squared norms of ``new - old`` and ``new`` inside it.
    """
    if term in (L2, L1):
        phase_scale = 1.0
    slabs(
        _proximal,
        predicted.shape[0],
        term,
        predicted,
        q,
        u,
        strength,
        field,
        new,
        old,
        r,
        inside,
        np.float32(hold),
        np.float32(mu),
        np.float32(relax),
        np.float32(phase_scale),
        sums,
    )


@jit("f4(f4)", inline="always")
def _sine(x):
    """Sine to 1e-6, without branches so that loops over it vectorise; |x| below some thousand."""
    k = np.rint(x * np.float32(1 / np.pi))
    y = x - k * np.float32(3.140625) - k * np.float32(np.pi - 3.140625)
    odd = k - np.float32(2) * np.floor(k * np.float32(0.5))
    y2 = y * y
    s = np.float32(2.6e-6) * y2 - np.float32(1.98e-4)
    s = s * y2 + np.float32(8.33303e-3)
    s = s * y2 - np.float32(1.6666657e-1)
    s = y + y * y2 * s
    return s - np.float32(2) * odd * s


@jit(
    "void(i8, i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1],"
    " f4[:,:,::1], b1[:,:,::1], f4, f4, f4, f4, f8[:,::1])"
)
def _proximal(
    start, stop, term, predicted, q, u, strength, field, new, old, own, inside, hold, mu, relax, s, sums
):
    one = np.float32(1)
    two = np.float32(2)
    half = np.float32(0.5)
    zero = np.float32(0)
    right = np.float32(0.5 * np.pi)
    turn = np.float32(2 * np.pi) / s
    inverse_turn = one / turn
    keep = one - relax
    outer = one - relax * hold
    inverse = one / s
    for i in range(start, stop):
        d2 = 0.0
        n2 = 0.0
        for j in range(predicted.shape[1]):
            if term == 0:
                for k in range(predicted.shape[2]):
                    w, f = strength[i, j, k], field[i, j, k]
                    r = relax * predicted[i, j, k] + keep * (q[i, j, k] + u[i, j, k]) + u[i, j, k]
                    v = w * (r - f) / (w + mu)
                    u[i, j, k] = v
                    q[i, j, k] = r - two * v
            elif term == 1:
                for k in range(predicted.shape[2]):
                    w, f = strength[i, j, k], field[i, j, k]
                    r = relax * predicted[i, j, k] + keep * (q[i, j, k] + u[i, j, k]) + u[i, j, k]
                    # Newton from where the map puts the field, so a voxel settles on the nearest whole turn.
                    d = r - f
                    near = d - turn * np.rint(d * inverse_turn)
                    v = zero
                    for _ in range(NEWTON):
                        x = s * (near - v)
                        slope = _sine(x) * inverse * w
                        curve = max(_sine(x + right), zero) * w
                        v += (slope - mu * v) / (curve + mu)
                        # The solution lies between the prediction and the data.
                        v = min(max(v, min(near, zero)), max(near, zero))
                    u[i, j, k] = v
                    q[i, j, k] = r - two * v
            elif term == 2:
                for k in range(predicted.shape[2]):
                    t, f = strength[i, j, k] / mu, field[i, j, k]
                    r = relax * predicted[i, j, k] + keep * (q[i, j, k] + u[i, j, k]) + u[i, j, k]
                    v = min(max(r - f, -t), t)
                    u[i, j, k] = v
                    q[i, j, k] = r - two * v
            else:
                for k in range(predicted.shape[2]):
                    t, f = strength[i, j, k] / mu, field[i, j, k]
                    r = relax * predicted[i, j, k] + keep * (q[i, j, k] + u[i, j, k]) + u[i, j, k]
                    d = r - f
                    near = d - turn * np.rint(d * inverse_turn)
                    size = abs(near)
                    v = t
                    for _ in range(NEWTON):
                        v = t * max(_sine(half * s * max(size - v, zero) + right), zero)
                    v = min(v, size)
                    v = v if near > 0 else -v
                    u[i, j, k] = v
                    q[i, j, k] = r - two * v
            for k in range(predicted.shape[2]):
                c = new[i, j, k]
                if inside[i, j, k]:
                    e = c - old[i, j, k]
                    d2 += e * e
                    n2 += c * c
                    own[i, j, k] = relax * c + keep * own[i, j, k]
                else:
                    own[i, j, k] = relax * c + outer * own[i, j, k]
        sums[i, 0] = d2
        sums[i, 1] = n2


def gather(work: Volume, r: Volume, inside: Mask, mu_work: float, mu_own: float, hold: float) -> None:
    """``work <- mu_work work + mu_own (v - u)`` with copy and dual of the map from `r`, see `proximal`."""
    held = mu_own * (2 * hold - 1)
    slabs(_gather, work.shape[0], work, r, inside, np.float32(mu_work), np.float32(mu_own), np.float32(held))


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], b1[:,:,::1], f4, f4, f4)")
def _gather(start, stop, work, r, inside, mu_work, free, held):
    for i in range(start, stop):
        for j in range(work.shape[1]):
            for k in range(work.shape[2]):
                w = free if inside[i, j, k] else held
                work[i, j, k] = mu_work * work[i, j, k] + w * r[i, j, k]


def signal_gradient(
    predicted: Volume,
    field: Volume,
    strength: Volume,
    before: Volume,
    sums: np.ndarray,
    phase_scale: float,
) -> None:
    """Negative gradient of `PHASE_L2` by the predicted field; takes the place of `before`, the field one step ago.

    `sums` (x, 3) receives per plane the squared norms of ``predicted - before`` and ``predicted``, and twice the misfit.
    """
    slabs(_gradient, predicted.shape[0], predicted, field, strength, before, np.float32(phase_scale), sums)


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4, f8[:,::1])")
def _gradient(start, stop, predicted, field, strength, before, s, sums):
    inverse = np.float32(1) / s
    half = np.float32(0.5)
    for i in range(start, stop):
        d2 = 0.0
        n2 = 0.0
        misfit = 0.0
        for j in range(predicted.shape[1]):
            for k in range(predicted.shape[2]):
                w = strength[i, j, k]
                x = s * (field[i, j, k] - predicted[i, j, k])
                h = np.float32(2) * _sine(half * x) * inverse
                e = predicted[i, j, k] - before[i, j, k]
                d2 += e * e
                n2 += predicted[i, j, k] * predicted[i, j, k]
                misfit += w * h * h
                before[i, j, k] = w * _sine(x) * inverse
        sums[i, 0] = d2
        sums[i, 1] = n2
        sums[i, 2] = misfit
