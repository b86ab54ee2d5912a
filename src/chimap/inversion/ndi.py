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
    hidden: int = 4,
    tolerance: float = 0.0005,
    discrepancy: float = 0.0,
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
    grow noise: when the map no longer gets better at predicting voxels that it was not shown.

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
    hidden : float
        Of each axis, every so many-th voxel: where three such meet (2 % of the voxels with 4) the field has no weight, and
        tells when to stop. 0: nothing is hidden and all voxels tell, which goes on for longer.
    tolerance : float
        Stop when a step of length 1 improves the mean absolute error of the hidden voxels' field by less than this share.
        Smaller is sharper and noisier.
    discrepancy : float
        Stop, too, when the weighted residual's root mean square falls to this many standard deviations of the field
        (Morozov's principle). It needs a noise map that is right, and a field without other errors. 0: not used.
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
    streaks, they do not converge to a better map. Weak sources stay underestimated where the dipole is small. The paper
    takes a fixed number of steps; the hidden voxels make it follow the noise, with a noise map or without.
    """
    require_positive(
        tolerance=tolerance, iterations=iterations, noise_ppm=noise_ppm, noise_floor=1 + noise_floor
    )
    if not 0 < step < 4.5:
        raise InputError(f"NDI step {step:g} is outside 0 to 4.5", fix="Try 2")
    if hidden != 0 and not 2 <= hidden <= 10:
        raise InputError(f"hidden is {hidden}; 0 or 2 to 10 are possible", fix="Try 4")
    if discrepancy < 0:
        raise InputError(f"discrepancy is {discrepancy:g}; it must not be negative", fix="Try 0")
    scale = phase_scale(acq, phase_te_s)
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    shape = problem.field.shape
    watched, strength = _hide(problem, hidden)
    data = problem.field.ravel()[watched]
    weighed = float(sum(plane.sum(dtype=np.float64) for plane in problem.weights))
    aim = discrepancy * problem.typical
    # chi is step * D * (sum of the gradients' spectra), so the sum is all that is kept.
    total = np.zeros((*shape[:2], shape[2] // 2 + 1), np.complex64)
    square = problem.kernel * problem.kernel
    square *= np.float32(step)
    field = np.zeros(shape, np.float32)
    before = np.zeros(shape, np.float32)
    sums = np.empty((shape[0], 3))
    done, converged, error = 0, False, np.inf
    while not converged:
        last, error = error, _chord(data - field.ravel()[watched], strength, scale)
        # Misfit and change of the current field, and the next gradient (overwrites `before`).
        signal_gradient(field, problem.field, problem.weights, before, sums, scale)
        residual = float(np.sqrt(sums[:, 2].sum() / weighed))
        if done:  # one step at least: a field below its noise is no map of zeros
            converged = last - error < tolerance * step * last or residual <= aim
            progress(
                done,
                iterations,
                residual_ppm=residual,
                hidden_ppm=error,
                change=relative_change(sums),
                converged=converged,
            )
        if converged or done == iterations:
            break
        total += rfftn(before)
        before = field
        field = irfftn(total * square, shape)
        done += 1
    total *= problem.kernel
    total *= np.float32(step)
    return problem.result(irfftn(total, shape), mask)


def _hide(problem: Problem, every: int) -> tuple[np.ndarray, Volume]:
    """Voxels that tell when to stop, as flat indices, and what they count. The hidden ones among them lose their weight."""
    weights = problem.weights
    known = weights > 0
    chosen = np.zeros_like(known)
    if every:
        chosen[::every, ::every, ::every] = known[::every, ::every, ::every]
    alone = chosen.any() and (known & ~chosen).any()
    watched = np.flatnonzero(chosen if alone else known)
    strength = np.sqrt(weights.ravel()[watched])
    if alone:
        weights[chosen] = 0
    return watched, strength


def _chord(difference: Volume, strength: Volume, scale: float) -> float:
    """Weighted mean distance in ppm of two signals whose fields differ: whole turns are no difference."""
    distance = np.abs(np.sin(np.float32(scale / 2) * difference)) * np.float32(2 / scale)
    return float(np.dot(strength.astype(np.float64), distance) / max(strength.sum(dtype=np.float64), 1e-30))
