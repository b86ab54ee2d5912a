"""Susceptibility from the fields of several orientations: in closed form, by conjugate gradients, and with total variation."""

from __future__ import annotations

import numpy as np

from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.orientation._stack import Stack
from chimap.types import Progress, Volume

MU_DATA = 0.2
MU_OUTSIDE = 0.003
RELAX = 1.7
REWEIGHT = (6, 12)
"""Iterations of the splitting after which data weights are made again from the residuals; then they stay."""


def closed_form(stack: Stack, smoothness: float) -> Volume:
    """`least_squares` with the same weight in all voxels of a periodic grid: a division in k-space.

    What no orientation sees (and k = 0) is 0.
    """
    shares = stack.mean_weights()
    power = gradient_power(stack.box.shape, stack.voxel_size)
    power *= np.float32(smoothness)
    power += stack.power(shares)
    spectrum = stack.back([np.float32(w) * f for w, f in zip(shares, stack.fields, strict=True)])
    known = power > np.float32(1e-6) * power.max()
    np.divide(spectrum, power, out=spectrum, where=known)
    spectrum[~known] = 0
    return irfftn(spectrum, stack.box.shape)


def least_squares(
    stack: Stack,
    *,
    smoothness: float,
    outside: float,
    tolerance: float,
    iterations: int,
    progress: Progress,
) -> Volume:
    """Minimise ``sum_i |W_i (D_i x - f_i)|^2 + smoothness |grad x|^2 + outside |x|^2`` (the last outside the masks).

    Preconditioned by its counterpart with one weight for all voxels, which is a division in k-space.
    """
    shape = stack.box.shape
    held = np.where(stack.inside, np.float32(0), np.float32(outside))
    gradient = gradient_power(shape, stack.voxel_size)
    gradient *= np.float32(smoothness)
    scale = stack.power(stack.mean_weights())
    scale += gradient
    scale += np.float32(max(outside, 1e-3 * float(scale.max())))
    np.reciprocal(scale, out=scale)

    def normal(x: Volume) -> Volume:
        spectrum = rfftn(x)
        misfits = []
        for n, w in enumerate(stack.weights):
            y = stack.predicted(spectrum, n)
            y *= w
            misfits.append(y)
        total = stack.back(misfits)
        spectrum *= gradient
        total += spectrum
        y = irfftn(total, shape)
        y += held * x
        return y

    def precondition(r: Volume) -> Volume:
        spectrum = rfftn(r)
        spectrum *= scale
        return irfftn(spectrum, shape)

    right = irfftn(stack.back([w * f for w, f in zip(stack.weights, stack.fields, strict=True)]), shape)
    return conjugate_gradients(
        normal,
        right,
        precondition=precondition,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
    ).x


def total_variation(
    stack: Stack,
    *,
    weight: float,
    outside: float,
    misfit: float,
    tau: float,
    tolerance: float,
    iterations: int,
    progress: Progress,
) -> Volume:
    """Minimise ``1/2 sum_i |W_i (D_i x - f_i)|^2 + weight sum |grad x| + outside/2 |x|^2`` (the last outside the masks).

    The map is split from its gradient, from each of its fields, and from itself outside the masks; its step is a division in
    k-space. Over-relaxed. After the iterations `REWEIGHT` voxels whose weighted residual ``r`` passes `misfit` in ppm lose
    weight: it is divided by ``1 + (r / misfit)^2``. Infinite: never.
    """
    shape, count = stack.box.shape, len(stack.fields)
    inverse_h = (1 / np.asarray(stack.voxel_size)).astype(np.float32)
    mu = np.float32(MU_DATA)
    mu_gradient = np.float32(weight / tau)
    scale = gradient_power(shape, stack.voxel_size)
    scale *= mu_gradient
    scale += mu * stack.power()
    scale += np.float32(MU_OUTSIDE)
    np.reciprocal(scale, out=scale)
    hold = np.where(stack.inside, np.float32(1), np.float32(MU_OUTSIDE / (MU_OUTSIDE + outside)))

    a = [w / (w + mu) for w in stack.weights]
    q = [f.copy() for f in stack.fields]  # z - u of each field, starting from z = f, u = 0
    u = [np.zeros(shape, np.float32) for _ in range(count)]
    p = np.zeros((3, *shape), np.float32)
    r = np.zeros(shape, np.float32)  # the map's own copy plus its dual
    work = np.zeros(shape, np.float32)
    chi = np.zeros(shape, np.float32)
    done, change, least = 0, np.inf, REWEIGHT[-1] + 1
    while done < iterations and (change >= tolerance or done < least):
        spectrum = stack.back(q)
        spectrum *= mu
        if done:
            tv_adjoint(p, tau, inverse_h, work)
            work *= mu_gradient
            work += np.float32(MU_OUTSIDE) * (2 * hold - 1) * r
            spectrum += rfftn(work)
        spectrum *= scale
        new = irfftn(spectrum.copy(), shape)
        done += 1
        for n in range(count):
            fitted = stack.predicted(spectrum, n)
            t = q[n]
            t += u[n]  # z
            t *= np.float32(1 - RELAX)
            t += np.float32(RELAX) * fitted
            t += u[n]
            np.multiply(a[n], t - stack.fields[n], out=u[n])
            np.subtract(t, 2 * u[n], out=q[n])
            if done in REWEIGHT and np.isfinite(misfit):
                w = stack.weights[n] / (
                    1 + stack.weights[n] * ((fitted - stack.fields[n]) / np.float32(misfit)) ** 2
                )
                a[n] = w / (w + mu)
        del spectrum, fitted
        r *= 1 - np.float32(RELAX) * hold
        r += np.float32(RELAX) * new
        step, size = (new - chi)[stack.inside], new[stack.inside]
        change = float(
            np.sqrt(np.sum(step * step, dtype=np.float64) / max(np.sum(size * size, dtype=np.float64), 1e-30))
        )
        chi = new
        tv_update(chi, p, tau, inverse_h, RELAX)
        progress(done, iterations, change=change, converged=change < tolerance and done >= least)
    return chi
