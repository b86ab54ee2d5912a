"""Strong sources first, then the rest (STAR-QSM)."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.inversion._admm import MU_L2, Problem, require_positive
from chimap.inversion._proximal import L2
from chimap.numerics.fft import convolve
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference="10.1002/nbm.3383")
def star(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    strong: float = 10.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outside_ppm: float = 0.012,
    tau: float = 0.004,
    tolerance: float = 0.005,
    iterations: int = 100,
    progress: Progress = silent,
) -> Volume:
    r"""Streak reduction for strong sources (STAR-QSM): total variation at two levels.

    With :math:`E_\lambda(g) = \arg\min_\chi \tfrac12 \sum (D\chi - g)^2 / \sigma^2 + \lambda \sum |\nabla\chi|`:

    1. the strong sources (veins, blood, calcification), strongly regularised:
       :math:`\chi_s = E_{k\lambda}(f)`;
    2. the weak ones from the field that is left: :math:`\chi_w = E_\lambda(f - D\chi_s)`.

    The map is :math:`\chi_s + \chi_w`. The total variation that holds back the weak sources does not flatten the strong
    ones, which the first step has taken out.

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
        Weight of the total variation of the weak sources in mm/ppm. Larger is smoother.
    strong : float
        Factor :math:`k` by which the first step regularises more. The larger, the fewer sources count as strong.
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
        Stop either step when the relative change of its map between two iterations falls below this.
    iterations : int
        Most iterations of either step.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; its mean is arbitrary.

    Notes
    -----
    Wei et al. 2015, doi:10.1002/nbm.3383. The paper sets its two weights by hand and applies a mask to the strong map;
    here the second is a multiple of the first, and the first map is kept whole.
    """
    require_positive(
        lam=lam,
        strong=strong,
        noise_ppm=noise_ppm,
        tau=tau,
        outside_ppm=outside_ppm,
        tolerance=tolerance,
        iterations=iterations,
        noise_floor=1 + noise_floor,
    )
    problem = Problem.of(local_field, mask, acq, noise, noise_ppm, noise_floor)
    chi, before = None, 0
    for factor in (strong, 1.0):
        solver = problem.solver(lam=lam * factor, tau=tau, mu=MU_L2, outside_ppm=outside_ppm)
        found, done, _ = solver.run(
            L2,
            problem.weights,
            tolerance=tolerance,
            iterations=iterations,
            progress=progress,
            before=before,
            total=2 * iterations,
        )
        before += done
        del solver
        if chi is None:
            chi = found
            left = problem.field - convolve(found, problem.kernel)
            problem.field = np.where(problem.weights > 0, left, np.float32(0))
            del left
        else:
            chi = chi + found
    assert chi is not None
    return problem.result(chi, mask)
