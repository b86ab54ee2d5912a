"""Rapid two-step inversion (RTS)."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._admm import RELAX, Problem, require_positive
from chimap.inversion._dipole_lsq import least_squares
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference="10.1016/j.neuroimage.2017.11.018")
def rts(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    threshold: float = 0.15,
    first_iterations: int = 15,
    lam: float = 4.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    tau: float = 0.003,
    tolerance: float = 0.01,
    iterations: int = 60,
    progress: Progress = silent,
) -> Volume:
    r"""Rapid two-step inversion (RTS): least squares where the dipole is large, sparse gradients where it is not.

    A few steps of weighted least squares give :math:`\chi_1`, right where :math:`|D|` is large. The second step
    keeps those frequencies and fills the others in with the smallest total variation,

    .. math:: \min_\chi \; \frac{1}{2 \sigma_\chi^2} \| M F (\chi - \chi_1) \|^2 + \lambda \sum |\nabla\chi|,
              \qquad M = [\,|D| \ge \delta\,],

    where :math:`\sigma_\chi` is the field's standard deviation over the root mean square of :math:`D` in :math:`M`.

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
        Size :math:`\delta` of the dipole from which on the first step is kept, 0 to 2/3.
    first_iterations : int
        Conjugate-gradient iterations of the first step; more bring noise into the frequencies kept.
    lam : float
        Weight of the total variation in mm/ppm. Larger is smoother.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    tau : float
        Shrinkage threshold in ppm/mm of one ADMM step; it changes the path, not the end.
    tolerance : float
        Stop the second step when the relative change of the map between two iterations falls below this.
    iterations : int
        Most iterations of the second step.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; its mean is arbitrary.

    Notes
    -----
    Kames et al. 2018, doi:10.1016/j.neuroimage.2017.11.018. The second step knows nothing of the mask or of where the
    noise is, which makes it fast: one transform there and back an iteration.
    """
    require_positive(
        lam=lam,
        noise_ppm=noise_ppm,
        tau=tau,
        tolerance=tolerance,
        iterations=iterations,
        noise_floor=1 + noise_floor,
    )
    if not 0 < threshold < 2 / 3:
        raise InputError(f"RTS threshold {threshold:g} is outside 0 to 2/3", fix="Try 0.15")
    if first_iterations < 1:
        raise InputError("first_iterations must be at least 1")
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    shape, most = problem.field.shape, first_iterations + iterations

    before = 0

    def first(done: int, total: int, **facts: Any) -> None:
        nonlocal before
        before = done
        progress(done, most, **{**facts, "converged": False})

    chi = least_squares(
        problem.kernel, problem.field, problem.weights, problem.inside, first_iterations, 1e-6, first
    )
    weak = np.abs(problem.kernel) < np.float32(threshold)
    weak[0, 0, 0] = True
    strong_power = float(np.mean(problem.kernel[~weak] ** 2, dtype=np.float64))
    weight = np.float32(lam * problem.typical**2 / strong_power)
    del problem.field, problem.weights, problem.kernel
    known = rfftn(chi)
    known[weak] = 0
    mu = np.float32(weight / tau)
    scale = gradient_power(shape, problem.voxel_size)
    scale *= mu
    scale += ~weak
    del weak
    scale[0, 0, 0] = 1
    np.reciprocal(scale, out=scale)
    scale[0, 0, 0] = 0
    inverse_h = (1 / np.asarray(problem.voxel_size)).astype(np.float32)
    p = np.zeros((3, *shape), np.float32)
    tv_update(chi, p, tau, inverse_h, 1.0)
    work = np.empty(shape, np.float32)
    done, change = 0, np.inf
    while done < iterations and change >= tolerance:
        tv_adjoint(p, tau, inverse_h, work)
        spectrum = rfftn(work)
        spectrum *= mu
        spectrum += known
        spectrum *= scale
        new = irfftn(spectrum, shape)
        del spectrum
        tv_update(new, p, tau, inverse_h, RELAX)
        done += 1
        change = _change(new, chi)
        chi = new
        progress(before + done, most, change=change, converged=change < tolerance)
    return problem.result(chi, mask)


def _change(new: Volume, old: Volume) -> float:
    d2 = sum(float(np.square(a - b).sum(dtype=np.float64)) for a, b in zip(new, old, strict=True))
    n2 = sum(float(np.square(a).sum(dtype=np.float64)) for a in new)
    return float(np.sqrt(d2 / max(n2, 1e-30)))
