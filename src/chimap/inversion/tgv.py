"""Dipole inversion regularised with second-order total generalised variation."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.inversion._admm import Problem, require_positive
from chimap.inversion._tgv_solver import minimise_tgv
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference=("10.1137/090769521", "10.1002/mrm.27073"))
def tgv(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    second_mm: float = 2.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outliers: float = 1.0,
    outside_ppm: float = 0.012,
    tau: float = 0.004,
    tolerance: float = 0.002,
    iterations: int = 100,
    progress: Progress = silent,
) -> Volume:
    r"""Inversion with second-order total generalised variation (TGV), by ADMM.

    .. math::
        \min_{\chi, v} \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D\chi - f)^2}{\sigma^2}
        + \lambda \sum |\nabla \chi - v| + \lambda \ell \sum |E v|
        + \tfrac12 \sum_{\mathrm{outside}} \frac{\chi^2}{s^2}

    with the symmetrised gradient :math:`E`. A slope costs only its change, so gradual transitions do not become stairs
    as with total variation.

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
        Weight of the first term in mm/ppm, as in `tv`. Larger is smoother.
    second_mm : float
        Length :math:`\ell` in mm: weight of the second derivative's term over that of the first. Large values approach
        total variation.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    outliers : float
        Residual in standard deviations from which voxels lose their weight, as in `tv`. 0: never.
    outside_ppm : float
        Standard deviation `s` of the susceptibility outside the mask in ppm, used if a first estimate without it has next
        to no sources beyond the mask's edge. 10: always free.
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
    The penalty: Bredies et al. 2010, doi:10.1137/090769521. The splitting of gradient and field: Milovic et al. 2018,
    doi:10.1002/mrm.27073; the slope takes one primal-dual step an iteration in place of transforms.
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
        outliers=1 + outliers,
    )
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    chi = minimise_tgv(
        problem,
        lam=lam,
        second_mm=second_mm,
        outliers=outliers,
        outside_ppm=outside_ppm,
        tau=tau,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
    )
    return problem.result(chi, mask)
