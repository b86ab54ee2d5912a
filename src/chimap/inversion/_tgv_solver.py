"""Weighted least squares with total generalised variation, by ADMM: what the TGV methods of the linear field share."""

from __future__ import annotations

import numpy as np

from chimap.inversion._admm import MU_OUTSIDE, Problem, relative_change
from chimap.inversion._outside import quiet_beyond
from chimap.inversion._proximal import L2, gather, proximal
from chimap.inversion._tgv_splitting import add_divergence, dual_step, slope_step
from chimap.inversion._total_variation import REWEIGHT
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.tv import gradient_power, tv_adjoint
from chimap.types import Progress, Volume

MU_DATA = 0.2
"""Penalty of the split field in a problem whose data weights are at most 1; it changes the path, not the end."""


def minimise_tgv(
    problem: Problem,
    *,
    lam: float,
    second_mm: float,
    outliers: float,
    outside_ppm: float | None,
    tau: float,
    tolerance: float,
    iterations: int,
    progress: Progress,
) -> Volume:
    """Minimise ``1/2 |W (D x - f)|^2 + lam sum |grad x - v| + lam second_mm sum |E v| + 1/2 |x / outside_ppm|^2``.

    The last sum is over what lies outside the mask, and there only if a first map without it is quiet beyond the mask's
    edge. With None for `outside_ppm`, sources outside the mask cost nothing at all, and the other sums are over the mask
    alone; `outliers` is as in method `tv`. The splittings are those of `minimise_tv`, with the slope `v` moved by one
    primal-dual step an iteration (`_tgv_splitting`).

    Returns
    -------
    (x, y, z) float32
        The map on the problem's grid.
    """
    shape, kernel, inside, voxel = problem.field.shape, problem.kernel, problem.inside, problem.voxel_size
    inverse_h = (1 / np.asarray(voxel)).astype(np.float32)
    mu = np.float32(MU_DATA)
    mu_gradient = np.float32(lam * problem.typical**2 / tau)
    # Penalty of the second term: the first's times the squared voxel size, so both move at one pace.
    ratio = float(np.min(voxel)) ** 2
    tau2 = tau * second_mm / ratio
    hold = 1.0
    inverse = gradient_power(shape, voxel)
    inverse *= mu_gradient
    inverse += mu * kernel * kernel
    inverse += np.float32(MU_OUTSIDE)
    np.reciprocal(inverse, out=inverse)

    radius: float | Volume = tau
    if outside_ppm is None:
        # Where a derivative leaves the mask it is free: no slope, no duals.
        first = inside.astype(np.float32)
        for axis in range(3):
            first *= np.roll(inside, -1, axis)
        second = first.copy()
        for axis in range(3):
            second *= np.roll(first, 1, axis)
        radius = first * np.float32(tau)

    weights = problem.weights
    p, v, bar = (np.zeros((3, *shape), np.float32) for _ in range(3))
    w = np.zeros((6, *shape), np.float32)
    q, u = problem.field.copy(), np.zeros(shape, np.float32)
    own, chi = (np.zeros(shape, np.float32) for _ in range(2))
    sums = np.empty((shape[0], 2))
    done, change, least = 0, np.inf, REWEIGHT[-1] + 1
    while done < iterations and (change >= tolerance or done < least):
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= mu
        if done:
            work = np.empty(shape, np.float32)
            tv_adjoint(p, radius, inverse_h, work)
            add_divergence(v, inverse_h, work)
            gather(work, own, inside, float(mu_gradient), MU_OUTSIDE, hold)
            part = rfftn(work)
            del work
            spectrum += part
            del part
        spectrum *= inverse
        new = irfftn(spectrum.copy(), shape)
        spectrum *= kernel
        predicted = irfftn(spectrum, shape)
        del spectrum
        done += 1
        if done in REWEIGHT and outliers:
            weights = problem.weights / (
                1
                + problem.weights
                * ((predicted - problem.field) / np.float32(outliers * problem.typical)) ** 2
            )
        if outside_ppm is not None and done == REWEIGHT[0] and quiet_beyond(new, inside, voxel):
            hold = MU_OUTSIDE / (MU_OUTSIDE + (problem.typical / max(outside_ppm, 1e-4)) ** 2)
        proximal(
            L2,
            predicted,
            q,
            u,
            weights,
            problem.field,
            new,
            chi,
            own,
            inside,
            sums,
            hold=hold,
            mu=MU_DATA,
            relax=1.0,
        )
        del predicted
        chi = new
        slope_step(chi, p, v, bar, w, tau, ratio, inverse_h)
        if outside_ppm is None:
            for volumes in (p, v, bar):
                volumes *= first
        dual_step(chi, p, v, bar, w, tau, tau2, inverse_h)
        if outside_ppm is None:
            w *= second
        change = relative_change(sums)
        progress(done, iterations, change=change, converged=change < tolerance and done >= least)
    return chi
