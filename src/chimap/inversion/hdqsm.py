"""Hybrid data term: L1 first, then least squares with what L1 learnt (HD-QSM)."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._admm import MU_L1, MU_L2, Problem, require_positive
from chimap.inversion._proximal import L1, L2
from chimap.numerics.fft import irfftn, rfftn
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference="10.1002/mrm.29218")
def hdqsm(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    lam_l1: float = 6.0,
    outlier: float = 2.0,
    first_iterations: int = 25,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outside_ppm: float = 0.012,
    tau: float = 0.004,
    tolerance: float = 0.005,
    iterations: int = 100,
    progress: Progress = silent,
) -> Volume:
    r"""Hybrid data term (HD-QSM): an L1 stage finds the outliers, a weighted least-squares stage uses the rest.

    The first stage minimises :math:`\sum |D\chi - f| / \sigma + \lambda_1 \sum |\nabla\chi|`. Its residual
    :math:`r` in standard deviations, :math:`|D\chi - f| / \sigma`, is large where field and any susceptibility map
    disagree. The second starts from its map, with weights that distrust those voxels,

    .. math:: \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D\chi - f)^2}{\sigma^2 (1 + (r / c)^2)}
              + \lambda \sum |\nabla \chi|.

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
    lam : float
        Regularisation weight of the second stage in mm/ppm, as in `tv`. Larger is smoother.
    lam_l1 : float
        Regularisation weight of the first stage in mm/ppm, as in `l1_data`.
    outlier : float
        Residual :math:`c` in standard deviations at which a voxel's weight is halved.
    first_iterations : int
        Iterations of the first stage at most (the residual settles long before the map does).
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
        Stop either stage when the relative change of the map between two iterations falls below this.
    iterations : int
        Most iterations of the second stage.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; its mean is arbitrary.

    Notes
    -----
    Lambert et al. 2022, doi:10.1002/mrm.29218. The two-stage scheme is theirs; the form of the second stage's weights
    is chosen here, in units of the noise.
    """
    require_positive(
        lam=lam,
        lam_l1=lam_l1,
        outlier=outlier,
        noise_ppm=noise_ppm,
        tau=tau,
        outside_ppm=outside_ppm,
        tolerance=tolerance,
        iterations=iterations,
        noise_floor=1 + noise_floor,
    )
    if first_iterations < 1:
        raise InputError("first_iterations must be at least 1")
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    typical = problem.typical
    solver = problem.solver(lam=lam_l1, tau=tau, mu=MU_L1, outside_ppm=outside_ppm)
    total = first_iterations + iterations
    chi, done, _ = solver.run(
        L1,
        problem.l1_strength(),
        tolerance=tolerance,
        iterations=first_iterations,
        progress=progress,
        total=total,
    )
    spectrum = rfftn(chi)
    spectrum *= problem.kernel
    residual = irfftn(spectrum, problem.field.shape)
    del spectrum
    residual -= problem.field
    residual *= residual
    residual *= problem.weights
    residual *= np.float32(1 / (typical * outlier) ** 2)  # (r / c)^2
    residual += 1
    problem.weights /= residual
    del residual
    solver.change(weight=lam * typical**2, mu=MU_L2)
    chi, _, _ = solver.run(
        L2,
        problem.weights,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
        before=done,
        total=total,
    )
    return problem.result(chi, mask)
