"""Nonlinear inversion with total generalised variation (FANSI-TGV)."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.inversion._admm import (
    MU_NONLINEAR,
    MU_OUTSIDE,
    Problem,
    hold_outside,
    phase_scale,
    relative_change,
    require_positive,
)
from chimap.inversion._outside import DECIDE
from chimap.inversion._proximal import PHASE_L2, gather, proximal
from chimap.inversion._tgv_splitting import tgv_adjoint, tgv_step
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.tv import gradient_power
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference=("10.1002/mrm.27073", "10.1137/090769521"))
def fansi_tgv(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    second_mm: float = 2.0,
    phase_te_s: float = 0.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outside_ppm: float = 0.012,
    tau: float = 0.004,
    tolerance: float = 0.001,
    iterations: int = 300,
    progress: Progress = silent,
) -> Volume:
    r"""Nonlinear inversion with total generalised variation (FANSI-TGV), by ADMM.

    .. math:: \min_{\chi, v} \; \tfrac12 \sum_{\mathrm{mask}} \frac{|e^{i s D\chi} - e^{i s f}|^2}{s^2 \sigma^2}
              + \lambda \sum |\nabla \chi - v| + \lambda \ell \sum |E v|

    with the symmetrised gradient :math:`E` and the phase :math:`s` in rad of a field of 1 ppm. A slope costs only its
    change, so gradual transitions do not become stairs as with total variation.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, no data are assumed (weight 0).
    acq : Acquisition
        B0 direction and strength, voxel size and echo times.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm.
    lam : float
        Weight of the first term in mm/ppm, as in `tv`. Larger is smoother.
    second_mm : float
        Length :math:`\ell` in mm: weight of the second derivative's term over that of the first. Large values approach
        total variation.
    phase_te_s : float
        Echo time in s at which the field is turned into phase. 0: the mean of the scan's echo times.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    outside_ppm : float
        Standard deviation of the susceptibility outside the mask in ppm, used if the map after a few iterations without it
        has next to no sources beyond the mask's edge. Where background is left in the field they have to stay free. 1: always.
    tau : float
        Shrinkage threshold in ppm/mm of one ADMM step; it changes the path, not the end.
    tolerance : float
        Stop when the relative change of the map between two iterations falls below this.
    iterations : int
        Most iterations.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; its mean is arbitrary.

    Notes
    -----
    Milovic et al. 2018, doi:10.1002/mrm.27073; the penalty: Bredies et al. 2010, doi:10.1137/090769521. The slope takes one
    primal-dual step an iteration in place of the paper's transforms.
    """
    require_positive(
        lam=lam,
        second_mm=second_mm,
        noise_ppm=noise_ppm,
        tau=tau,
        outside_ppm=outside_ppm,
        tolerance=tolerance,
        iterations=iterations,
        noise_floor=1 + noise_floor,
    )
    scale = phase_scale(acq, phase_te_s)
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    shape, kernel, inside = problem.field.shape, problem.kernel, problem.inside
    inverse_h = (1 / np.asarray(problem.voxel_size)).astype(np.float32)
    mu = np.float32(MU_NONLINEAR)
    mu_gradient = np.float32(lam * problem.typical**2 / tau)
    # Penalty of the second term: the first's times the squared voxel size, so both move at one pace.
    ratio = float(np.min(problem.voxel_size)) ** 2
    tau2 = tau * second_mm / ratio
    hold = 1.0
    inverse = gradient_power(shape, problem.voxel_size)
    inverse *= mu_gradient
    inverse += mu * kernel * kernel
    inverse += np.float32(MU_OUTSIDE)
    np.reciprocal(inverse, out=inverse)

    p, v = (np.zeros((3, *shape), np.float32) for _ in range(2))
    w = np.zeros((6, *shape), np.float32)
    q, u = problem.field.copy(), np.zeros(shape, np.float32)
    own = np.zeros(
        shape, np.float32
    )  # without over-relaxation, in the mask this is the map of the last iteration
    sums = np.empty((shape[0], 2))
    done, change = 0, np.inf
    while done < iterations and (change >= tolerance or done <= DECIDE):
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= mu
        if done:
            work = np.empty(shape, np.float32)
            tgv_adjoint(p, v, tau, inverse_h, work)
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
        proximal(
            PHASE_L2,
            predicted,
            q,
            u,
            problem.weights,
            problem.field,
            new,
            own,
            own,
            inside,
            sums,
            hold=hold,
            mu=float(mu),
            relax=1.0,
            phase_scale=scale,
        )
        del predicted
        tgv_step(new, p, v, w, tau, tau2, ratio, inverse_h)
        done += 1
        if done == DECIDE:
            hold = hold_outside(new, inside, problem.voxel_size, problem.outside(outside_ppm))
        del new
        change = relative_change(sums)
        progress(done, iterations, change=change, converged=change < tolerance and done > DECIDE)
    return problem.result(own, mask)
