"""Nonlinear total variation beside a weakly harmonic field (WH-QSM)."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.inversion._admm import (
    MU_NONLINEAR,
    MU_OUTSIDE,
    RELAX_NONLINEAR,
    Problem,
    phase_scale,
    relative_change,
    require_positive,
)
from chimap.inversion._proximal import PHASE_L2, gather, proximal
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.threads import jit, slabs
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

MU_HARMONIC = 1.0
"""Penalty of the split Laplacian, as a share of `beta`; it changes the path, not the end."""


@method("inversion", reference="10.1002/mrm.27483")
def weak_harmonic(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    beta: float = 1000.0,
    phase_te_s: float = 0.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outside_ppm: float = 0.2,
    tau: float = 0.004,
    tolerance: float = 0.005,
    iterations: int = 100,
    progress: Progress = silent,
) -> Volume:
    r"""Weak-harmonic inversion (WH-QSM): nonlinear total variation beside what background removal left.

    .. math:: \min_{\chi, h} \; \tfrac12 \sum_{\mathrm{mask}} \frac{|e^{i s (D\chi + h)} - e^{i s f}|^2}{s^2 \sigma^2}
              + \frac{\beta}{2} \sum_{\mathrm{mask}} \frac{|\nabla^2 h|^2}{\sigma^2} + \lambda \sum |\nabla \chi|

    with the phase :math:`s` in rad of a field of 1 ppm. A field that is harmonic in the mask is free; sources in the
    mask explain the rest.

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
        Weight of the total variation in mm/ppm. Larger is smoother.
    beta : float
        Weight of the Laplacian in mm^4. Large values leave `h` little more than what is smooth; 50 takes out more background,
        and some of the tissue's field with it.
    phase_te_s : float
        Echo time in s at which the field is turned into phase. 0: the mean of the scan's echo times.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    outside_ppm : float
        Standard deviation of the susceptibility outside the mask in ppm. It is to leave the background to `h`: the smaller,
        the more so, but what the mask's edge cuts off of the tissue needs some freedom.
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
    Milovic et al. 2019, doi:10.1002/mrm.27483. Map and harmonic field are found together, by a 2 x 2 system at each
    frequency, where the paper alternates.
    """
    require_positive(
        lam=lam,
        beta=beta,
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
    mu_laplacian = np.float32(MU_HARMONIC * beta)
    hold = MU_OUTSIDE / (MU_OUTSIDE + problem.outside(outside_ppm))
    laplacian = gradient_power(shape, problem.voxel_size)
    # Normal matrix [[a, mu D], [mu D, b]] of map and harmonic field at each frequency, and its determinant's inverse.
    a = mu_gradient * laplacian
    a += mu * kernel * kernel
    a += np.float32(MU_OUTSIDE)
    b = mu_laplacian * laplacian * laplacian
    b += mu
    inverse = a * b
    inverse -= (mu * kernel) ** 2
    np.reciprocal(inverse, out=inverse)

    p = np.zeros((3, *shape), np.float32)
    q, u = problem.field.copy(), np.zeros(shape, np.float32)
    own, work = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    split = np.zeros(shape, np.float32)  # of the Laplacian: its copy plus its dual
    chi = np.zeros(shape, np.float32)
    sums = np.empty((shape[0], 2))
    done, change = 0, np.inf
    while done < iterations and change >= tolerance:
        data = rfftn(q)
        data *= mu
        first = kernel * data
        if done:
            tv_adjoint(p, tau, inverse_h, work)
            gather(work, own, inside, float(mu_gradient), MU_OUTSIDE, hold)
            first += rfftn(work)
            slabs(_laplacian_target, shape[0], split, inside, work)
            second = rfftn(work)
            second *= mu_laplacian * laplacian
            second += data
        else:
            second = data
        new_spectrum = b * first
        new_spectrum -= mu * kernel * second
        new_spectrum *= inverse
        second *= a
        second -= mu * kernel * first
        second *= inverse  # the harmonic field
        del first, data
        new = irfftn(new_spectrum.copy(), shape)
        new_spectrum *= kernel
        new_spectrum += second
        predicted = irfftn(new_spectrum, shape)
        del new_spectrum
        second *= laplacian
        slabs(_laplacian_step, shape[0], irfftn(second, shape), split, inside)
        del second
        proximal(
            PHASE_L2,
            predicted,
            q,
            u,
            problem.weights,
            problem.field,
            new,
            chi,
            own,
            inside,
            sums,
            hold=hold,
            mu=float(mu),
            relax=RELAX_NONLINEAR,
            phase_scale=scale,
        )
        chi = new
        tv_update(chi, p, tau, inverse_h, RELAX_NONLINEAR)
        done += 1
        change = relative_change(sums)
        progress(done, iterations, change=change, converged=change < tolerance)
    return problem.result(chi, mask)


# The copy v of y = Lap h minimises 1/2 [in the mask] v^2 + MU/2 (v - t)^2, with t = y + dual: v = MU t / (1 + MU) in the
# mask and v = t outside. `split` holds t; copy minus dual is then 2 v - t.


@jit("void(i8, i8, f4[:,:,::1], b1[:,:,::1], f4[:,:,::1])")
def _laplacian_target(start, stop, split, inside, out):
    share = np.float32(2 * MU_HARMONIC / (1 + MU_HARMONIC) - 1)
    for i in range(start, stop):
        for j in range(split.shape[1]):
            for k in range(split.shape[2]):
                t = split[i, j, k]
                out[i, j, k] = share * t if inside[i, j, k] else t


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], b1[:,:,::1])")
def _laplacian_step(start, stop, value, split, inside):
    relax = np.float32(RELAX_NONLINEAR)
    v_share = np.float32(MU_HARMONIC / (1 + MU_HARMONIC))
    for i in range(start, stop):
        for j in range(split.shape[1]):
            for k in range(split.shape[2]):
                t = split[i, j, k]
                v = v_share * t if inside[i, j, k] else t
                split[i, j, k] = relax * value[i, j, k] + (np.float32(1) - relax) * v + (t - v)
