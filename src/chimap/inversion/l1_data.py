"""Total-variation inversion with an L1 data term (L1-QSM, PI-QSM)."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.inversion._admm import MU_L1, RELAX_NONLINEAR, Problem, phase_scale, require_positive
from chimap.inversion._proximal import L1, PHASE_L1
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference="10.1002/mrm.28957")
def l1_data(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 16.0,
    nonlinear: bool = True,
    phase_te_s: float = 0.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outside_ppm: float = 0.012,
    tau: float = 0.004,
    tolerance: float = 0.0015,
    iterations: int = 300,
    progress: Progress = silent,
) -> Volume:
    r"""L1-norm data term with total variation (L1-QSM, also PI-QSM), by ADMM.

    .. math:: \min_\chi \; \sum_{\mathrm{mask}} \frac{|e^{i s D\chi} - e^{i s f}|}{s \sigma} + \lambda \sum |\nabla \chi|

    where :math:`s` is the phase in rad of a field of 1 ppm. An outlier pulls with the same force however far it is
    off, so wrong phase (in haemorrhage and calcification, near flow, at the mask's edge) makes no streaks.

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
        Regularisation weight in mm/ppm. Larger is smoother.
    nonlinear : bool
        Compare the signal (above); otherwise the field, :math:`|D\chi - f| / \sigma`.
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
    Milovic et al. 2022, doi:10.1002/mrm.28957. Where the noise is Gaussian an L1 term makes poorer use of the data
    than a quadratic one; `hdqsm` combines the two.
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
    solver = problem.solver(lam=lam, tau=tau, mu=MU_L1, outside_ppm=outside_ppm)
    chi, _, _ = solver.run(
        PHASE_L1 if nonlinear else L1,
        problem.l1_strength(),
        phase_scale=scale,
        relax=RELAX_NONLINEAR,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
    )
    return problem.result(chi, mask)
