"""Nonlinear dipole inversion by gradient descent (NDI)."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._admm import Problem, phase_scale, relative_change, require_positive
from chimap.inversion._proximal import signal_gradient
from chimap.numerics.fft import irfftn, rfftn
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference="10.1002/nbm.4271")
def ndi(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    step: float = 2.0,
    discrepancy: float = 0.5,
    tolerance: float = 0.002,
    iterations: int = 200,
    phase_te_s: float = 0.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    progress: Progress = silent,
) -> Volume:
    r"""Nonlinear dipole inversion (NDI): gradient descent on the signal's misfit, stopped early.

    .. math:: \chi \leftarrow \chi - \tau\, D^T \left[ w \sin(s (D\chi - f)) / s \right], \qquad \chi_0 = 0

    with weights :math:`w \le 1` and the phase :math:`s` in rad of a field of 1 ppm. There is no penalty: what keeps
    the noise out is the end. Frequencies near the cone of the dipole grow slowly, and the descent stops before they
    grow noise.

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
    step : float
        Length :math:`\tau` of a step, 0 to 4.5 (stable below 2 / max D^2).
    discrepancy : float
        Stop when the weighted residual's root mean square falls to this many standard deviations of the field
        (Morozov's principle). Smaller is sharper and noisier.
    tolerance : float
        Stop, too, when a step changes the predicted field by less than this share.
    iterations : int
        Most iterations.
    phase_te_s : float
        Echo time in s at which the field is turned into phase. 0: the mean of the scan's echo times.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in quadrature.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; its mean is arbitrary.

    Notes
    -----
    Polak et al. 2020, doi:10.1002/nbm.4271. The method is defined by stopping early: many more iterations fit noise and
    streaks, they do not converge to a better map. Weak sources stay underestimated where the dipole is small.
    """
    require_positive(
        discrepancy=discrepancy,
        tolerance=tolerance,
        iterations=iterations,
        noise_ppm=noise_ppm,
        noise_floor=1 + noise_floor,
    )
    if not 0 < step < 4.5:
        raise InputError(f"NDI step {step:g} is outside 0 to 4.5", fix="Try 2")
    scale = phase_scale(acq, phase_te_s)
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    shape = problem.field.shape
    weighed = float(sum(plane.sum(dtype=np.float64) for plane in problem.weights))
    aim = discrepancy * problem.typical
    # chi is step * D * (sum of the gradients' spectra), so the sum is all that is kept.
    total = np.zeros((*shape[:2], shape[2] // 2 + 1), np.complex64)
    square = problem.kernel * problem.kernel
    square *= np.float32(step)
    field = np.zeros(shape, np.float32)
    before = np.zeros(shape, np.float32)
    sums = np.empty((shape[0], 3))
    done, converged = 0, False
    while not converged:
        # Misfit and change of the current field, and the next gradient (overwrites `before`).
        signal_gradient(field, problem.field, problem.weights, before, sums, scale)
        residual = float(np.sqrt(sums[:, 2].sum() / weighed))
        if done:  # one step at least: a field below its noise is no map of zeros
            change = relative_change(sums)
            converged = residual <= aim or change < tolerance
            progress(done, iterations, residual_ppm=residual, change=change, converged=converged)
        if converged or done == iterations:
            break
        total += rfftn(before)
        before = field
        field = irfftn(total * square, shape)
        done += 1
    total *= problem.kernel
    total *= np.float32(step)
    return problem.result(irfftn(total, shape), mask)
