"""Single-step inversion of the wrapped phase with total generalised variation."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._admm import Problem, require_positive
from chimap.inversion._from_phase import outside_field, phase_field
from chimap.inversion._tgv_solver import minimise_tgv
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

START_ITERATIONS = 40
MU_DATA, MU_OWN = 0.05, 0.003
"""Penalties for a field with sources outside: what is free moves by as much as they let it, and it has far to go."""


@method(
    "inversion",
    of="phase",
    untouched=True,
    reference=("10.1016/j.neuroimage.2015.02.041", "10.1137/090769521"),
)
def tgv_phase(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    lam: float = 16.0,
    second_mm: float = 2.0,
    noise_ppm: float = 0.0025,
    noise_floor: float = 2.0,
    outliers: float = 1.0,
    tau: float = 0.032,
    tolerance: float = 0.0003,
    iterations: int = 600,
    progress: Progress = silent,
) -> Volume:
    r"""Single-step inversion of the wrapped phase with total generalised variation (TGV).

    .. math::
        \min_{\chi, v, \psi} \; \tfrac12 \sum_{\mathrm{mask}} \frac{\psi^2}{\sigma^2}
        + \lambda \sum |\nabla \chi - v| + \lambda \ell \sum |E v|
        \quad \text{with} \quad \nabla^2 \psi = \nabla^2 f - \left(\tfrac13 \nabla^2 - \partial_b^2\right) \chi

    in the mask. Differences of the wrapped phase between neighbours give the field's Laplacian, so nothing is unwrapped
    and no background removed before.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Wrapped phase in rad.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        Echo times, B0 strength and direction, voxel size.
    magnitude : (x, y, z, echo) float32, optional
        Weights of echoes and voxels, and the noise of the field. Without it all count the same.
    lam : float
        Weight of the first term in mm/ppm. Larger is smoother. Larger than in `tgv`, as the field also has the error
        of what sources outside the mask do not explain.
    second_mm : float
        Length :math:`\ell` in mm: weight of the second derivative's term over that of the first.
    noise_ppm : float
        Standard deviation of the field in ppm that is assumed without `magnitude`.
    noise_floor : float
        Error of the field beyond its noise, as a multiple of the median noise, added in quadrature.
    outliers : float
        Residual in standard deviations from which voxels lose their weight, as in `tv`. 0: never.
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
    Langkammer et al. 2015, doi:10.1016/j.neuroimage.2015.02.041; the penalty: Bredies et al. 2010,
    doi:10.1137/090769521. The constraint leaves :math:`\psi = f - D\chi - h` with any harmonic `h`. In place of the paper's
    finite differences and primal-dual steps, `f` is integrated from the differences once (weighted least squares), `h` is
    the field of sources outside the mask, which cost nothing, and the residual is split with the dipole kernel in k-space
    as in `tgv`. The sources outside start from a projection onto dipole fields.
    Beyond the paper, several echoes are combined with the weights of their information, without their common phase at
    TE 0.
    """
    require_positive(
        lam=lam,
        second_mm=second_mm,
        noise_ppm=noise_ppm,
        tau=tau,
        tolerance=tolerance,
        iterations=iterations,
        noise_floor=1 + noise_floor,
        outliers=1 + outliers,
    )
    if magnitude is not None and magnitude.shape != phase.shape:
        raise InputError(
            f"magnitude has shape {magnitude.shape} but phase {phase.shape}",
            fix="Give the magnitude of every echo",
        )
    total, noise = phase_field(phase, magnitude, mask, acq)
    problem = Problem.of(total, mask, acq, noise, noise_ppm, noise_floor)
    del total, noise
    problem.field -= outside_field(problem, START_ITERATIONS)
    problem.field *= problem.inside
    chi = minimise_tgv(
        problem,
        lam=lam,
        second_mm=second_mm,
        outliers=outliers,
        outside_ppm=None,
        tau=tau,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
        mu_data=MU_DATA,
        mu_own=MU_OWN,
    )
    return problem.result(chi, mask)
