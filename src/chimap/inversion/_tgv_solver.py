"""Weighted least squares with total generalised variation, by ADMM: what the TGV methods of the linear field share."""

from __future__ import annotations

import numpy as np

from chimap.inversion._admm import MU_OUTSIDE, Problem, relative_change
from chimap.inversion._outside import quiet_beyond
from chimap.inversion._proximal import L2, gather, proximal
from chimap.inversion._tgv_splitting import EVERYWHERE, counted_inside, tgv_adjoint, tgv_step
from chimap.inversion._total_variation import REWEIGHT
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.tv import gradient_power
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
    mu_data: float = MU_DATA,
    mu_own: float = MU_OUTSIDE,
) -> Volume:
    """Minimise ``1/2 |W (D x - f)|^2 + lam sum |grad x - v| + lam second_mm sum |E v| + 1/2 |x / outside_ppm|^2``.

    The last sum is over what lies outside the mask, and there only if a first map without it is quiet beyond the mask's
    edge. With None for `outside_ppm`, sources outside the mask cost nothing at all, and the other sums are over the mask
    alone; `outliers` is as in method `tv`. The splittings are those of `minimise_tv`, with the slope `v` moved by one
    primal-dual step an iteration (`_tgv_splitting`). `mu_data` and `mu_own` are the penalties of the split field and of the
    map's own copy: they change the path, not the end.

    Returns
    -------
    (x, y, z) float32
        The map on the problem's grid, right in the mask. The problem's weights end as those of the last iteration.
    """
    shape, kernel, inside, voxel = problem.field.shape, problem.kernel, problem.inside, problem.voxel_size
    inverse_h = (1 / np.asarray(voxel)).astype(np.float32)
    mu = np.float32(mu_data)
    mu_gradient = np.float32(lam * problem.typical**2 / tau)
    # Penalty of the second term: the first's times the squared voxel size, so both move at one pace.
    ratio = float(np.min(voxel)) ** 2
    tau2 = tau * second_mm / ratio
    hold = 1.0
    inverse = gradient_power(shape, voxel)
    inverse *= mu_gradient
    inverse += mu * kernel * kernel
    inverse += np.float32(mu_own)
    np.reciprocal(inverse, out=inverse)

    # With free sources outside, a derivative that leaves the mask costs nothing.
    counted = counted_inside(inside) if outside_ppm is None else EVERYWHERE
    weights = problem.weights
    p, v = (np.zeros((3, *shape), np.float32) for _ in range(2))
    w = np.zeros((6, *shape), np.float32)
    q, u = problem.field.copy(), np.zeros(shape, np.float32)
    own = np.zeros(
        shape, np.float32
    )  # without over-relaxation, in the mask this is the map of the last iteration
    sums = np.empty((shape[0], 2))
    done, change, least = 0, np.inf, REWEIGHT[-1] + 1
    while done < iterations and (change >= tolerance or done < least):
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= mu
        if done:
            work = np.empty(shape, np.float32)
            tgv_adjoint(p, v, tau, inverse_h, work, counted)
            gather(work, own, inside, float(mu_gradient), mu_own, hold)
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
            weights = _reweighted(problem, predicted, outliers)
            if done == REWEIGHT[-1]:
                problem.weights = weights
        if outside_ppm is not None and done == REWEIGHT[0] and quiet_beyond(new, inside, voxel):
            hold = mu_own / (mu_own + (problem.typical / max(outside_ppm, 1e-4)) ** 2)
        proximal(
            L2,
            predicted,
            q,
            u,
            weights,
            problem.field,
            new,
            own,
            own,
            inside,
            sums,
            hold=hold,
            mu=mu_data,
            relax=1.0,
        )
        del predicted
        tgv_step(new, p, v, w, tau, tau2, ratio, inverse_h, counted)
        del new
        change = relative_change(sums)
        progress(done, iterations, change=change, converged=change < tolerance and done >= least)
    return own


def _reweighted(problem: Problem, predicted: Volume, outliers: float) -> Volume:
    """The problem's weights, smaller where the residual is beyond `outliers` standard deviations."""
    out = np.empty_like(predicted)
    for to, w, z, f in zip(out, problem.weights, predicted, problem.field, strict=True):
        np.divide(w, 1 + w * ((z - f) / np.float32(outliers * problem.typical)) ** 2, out=to)
    return out
