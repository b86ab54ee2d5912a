"""Nonlinear total-variation inversion (FANSI)."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.inversion._admm import MU_NONLINEAR, RELAX_NONLINEAR, Problem, phase_scale, require_positive
from chimap.inversion._proximal import PHASE_L2
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference="10.1002/mrm.27073")
def fansi_tv(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    phase_te_s: float = 0.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outside_ppm: float = 0.012,
    tau: float = 0.004,
    tolerance: float = 0.005,
    iterations: int = 150,
    progress: Progress = silent,
) -> Volume:
    r"""Nonlinear total-variation inversion (FANSI), by ADMM.

    .. math:: \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{|e^{i s D\chi} - e^{i s f}|^2}{s^2 \sigma^2}
              + \lambda \sum |\nabla \chi|

    where :math:`s` is the phase in rad of a field of 1 ppm. The noise of the complex signal is Gaussian even where
    that of the phase is not, and a residual of any size counts no more than one of half a
    turn. An error of unwrapping is free only if it is a whole turn of the phase at `phase_te_s`.

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
        Regularisation weight in mm/ppm, as in the linear method `tv`. Larger is smoother.
    phase_te_s : float
        Echo time in s at which the field is turned into phase. 0: the mean of the scan's echo times, about where a
        weighted combination of echoes has its information. The longer, the more outliers are forgiven.
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
    Milovic et al. 2018, doi:10.1002/mrm.27073. Each voxel's data step is solved by Newton's method; its penalty is as
    large as the largest weight, which keeps that step convex. Not linear: twice the field does not give twice the map.
    """
    require_positive(
        lam=lam,
        noise_ppm=noise_ppm,
        tau=tau,
        outside_ppm=outside_ppm,
        tolerance=tolerance,
        iterations=iterations,
        noise_floor=1 + noise_floor,
    )
    scale = phase_scale(acq, phase_te_s)
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    solver = problem.solver(lam=lam, tau=tau, mu=MU_NONLINEAR, outside_ppm=outside_ppm)
    chi, _, _ = solver.run(
        PHASE_L2,
        problem.weights,
        phase_scale=scale,
        relax=RELAX_NONLINEAR,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
    )
    return problem.result(chi, mask)
