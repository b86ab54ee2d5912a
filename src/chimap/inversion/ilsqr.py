"""Least squares with estimated and subtracted streaks (iLSQR)."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._admm import Problem, require_positive
from chimap.inversion._dipole_lsq import least_squares
from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.fft import convolve, irfftn, rfftn
from chimap.numerics.threads import jit, slabs
from chimap.numerics.tv import gradient_power
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

FLAT, EDGE = 50.0, 70.0
"""Percentiles of the gradient between which a difference of neighbours turns from tissue into an edge."""
SMOOTH, ROUGH = 60.0, 99.9
"""Percentiles of the field's Laplacian between which a voxel's weight falls from 1 to 0."""


@method("inversion", reference="10.1016/j.neuroimage.2014.12.043")
def ilsqr(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    threshold: float = 0.1,
    first_iterations: int = 20,
    tolerance: float = 0.025,
    iterations: int = 60,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    progress: Progress = silent,
) -> Volume:
    r"""Least squares whose streaks are estimated and subtracted (iLSQR).

    1. :math:`\chi_0`: some conjugate-gradient steps on :math:`\min \sum w (D\chi - f)^2`, with less weight where the
       field's Laplacian is extreme.
    2. Edges of susceptibility: gradients of the fast estimate :math:`F^{-1} \mathrm{sign}(D) |D|^{0.001} F f`. Weights
       :math:`w_i` of the three directions fall from 1 to 0 between its 50th and 70th percentile.
    3. The streaks are what lives on :math:`|D| < \delta` and makes gradients where there is no edge,

       .. math:: \chi_s = \arg\min_{\chi_s = P\chi_s} \sum_i \| w_i \partial_i (\chi_0 - \chi_s) \|^2,

       with the projection :math:`P` on those frequencies. The result is :math:`\chi_0 - \chi_s`.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, no data are assumed (weight 0).
    acq : Acquisition
        B0 direction and voxel size.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm.
    threshold : float
        Size :math:`\delta` of the dipole below which a frequency may be a streak, 0 to 2/3.
    first_iterations : int
        Most conjugate-gradient iterations for the first map; more bring out noise.
    tolerance : float
        Stop the last step (and the first, if it gets there) when the residual of its normal equations falls below
        this share of its start.
    iterations : int
        Most iterations of the last step.
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
    Li et al. 2015, doi:10.1016/j.neuroimage.2014.12.043. The map scales with the field (twice the field, twice the map),
    but is not additive, since the edges come from the data. The paper's smoothing of the fast estimate near the cone
    is left out.
    """
    require_positive(
        noise_ppm=noise_ppm, tolerance=tolerance, iterations=iterations, noise_floor=1 + noise_floor
    )
    if not 0 < threshold < 2 / 3:
        raise InputError(f"iLSQR threshold {threshold:g} is outside 0 to 2/3", fix="Try 0.1")
    if first_iterations < 1:
        raise InputError("first_iterations must be at least 1")
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    shape, voxel = problem.field.shape, problem.voxel_size
    inside = problem.inside
    most = first_iterations + iterations

    before = 0

    def first(done: int, total: int, **facts: Any) -> None:
        nonlocal before
        before = done
        progress(done, most, **{**facts, "converged": False})

    def last(done: int, total: int, **facts: Any) -> None:
        progress(before + done, most, **facts)

    laplacian = convolve(problem.field, gradient_power(shape, voxel))
    np.abs(laplacian, out=laplacian)
    problem.weights *= _falling(laplacian, inside, SMOOTH, ROUGH)
    del laplacian
    chi = least_squares(
        problem.kernel, problem.field, problem.weights, problem.inside, first_iterations, tolerance, first
    )
    chi *= inside
    del problem.weights

    spectrum = rfftn(problem.field)
    spectrum *= np.sign(problem.kernel) * np.abs(problem.kernel) ** np.float32(0.001)
    fast = irfftn(spectrum, shape)
    del spectrum, problem.field
    weights = np.empty((3, *shape), np.float32)
    for axis, h in enumerate(voxel):
        # Only differences of two voxels of the mask count: the mask's edge is no edge.
        both = inside & np.roll(inside, -1, axis)
        difference = np.abs(np.roll(fast, -1, axis) - fast)
        weights[axis] = _falling(difference, both, FLAT, EDGE)
        weights[axis] *= both
        weights[axis] *= np.float32(1 / h)
        del difference, both
    weights *= weights
    del fast
    cone = (np.abs(problem.kernel) < np.float32(threshold)).astype(np.float32)
    cone[0, 0, 0] = 0

    def normal(x: Volume) -> Volume:
        return convolve(weighted_laplacian(x, weights), cone)

    streaks = conjugate_gradients(
        normal, normal(chi), tolerance=tolerance, iterations=iterations, progress=last
    )
    chi -= streaks.x
    return problem.result(chi, mask)


def _falling(values: Volume, where: Mask, low: float, high: float) -> Volume:
    """1 below the `low` percentile of the values in `where`, 0 above the `high` one, linear between."""
    if not where.any():
        return np.ones_like(values)
    a, b = np.percentile(values[where], (low, high))
    fall = (np.float32(b) - values) / np.float32(max(b - a, 1e-30))
    return np.clip(fall, 0, 1, out=fall)


def weighted_laplacian(x: Volume, weights: np.ndarray) -> Volume:
    """``sum_i d_i^T weights_i d_i x`` with forward differences between voxels and periodic ends."""
    out = np.empty_like(x)
    slabs(_weighted_laplacian, x.shape[0], x, weights, out)
    return out


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,:,::1], f4[:,:,::1])")
def _weighted_laplacian(start, stop, x, w, out):
    nx, ny, nz = x.shape
    for i in range(start, stop):
        i1 = i + 1 if i + 1 < nx else 0
        i0 = i - 1 if i > 0 else nx - 1
        for j in range(ny):
            j1 = j + 1 if j + 1 < ny else 0
            j0 = j - 1 if j > 0 else ny - 1
            for k in range(nz):
                k1 = k + 1 if k + 1 < nz else 0
                k0 = k - 1 if k > 0 else nz - 1
                c = x[i, j, k]
                s = w[0, i0, j, k] * (c - x[i0, j, k]) - w[0, i, j, k] * (x[i1, j, k] - c)
                s += w[1, i, j0, k] * (c - x[i, j0, k]) - w[1, i, j, k] * (x[i, j1, k] - c)
                s += w[2, i, j, k0] * (c - x[i, j, k0]) - w[2, i, j, k] * (x[i, j, k1] - c)
                out[i, j, k] = s
