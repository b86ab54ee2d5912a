"""Total-variation regularised dipole inversion by ADMM."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.inversion._total_variation import weighted_tv_map
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference=("10.1002/mrm.25029", "10.1002/mrm.27073"))
def tv(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outliers: float = 1.0,
    outside_ppm: float = 0.012,
    smv_mm: float = 0.0,
    tau: float = 0.004,
    tolerance: float = 0.004,
    iterations: int = 60,
    progress: Progress = silent,
) -> Volume:
    r"""Total-variation (TV) regularised inversion with signal weighting, by ADMM.

    .. math::
        \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D\chi - f)^2}{\sigma^2} + \lambda \sum |\nabla \chi|
        + \tfrac12 \sum_{\mathrm{outside}} \frac{\chi^2}{s^2}

    with the isotropic norm of the gradient per mm. Dividing by the variance of the field makes
    :math:`\lambda` a property of the tissue, so one value holds over field strengths, echo times and resolutions.

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
        Regularisation weight in mm/ppm. Larger is smoother.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain (background left over, sub-voxel structure), as a
        multiple of the median noise, added in quadrature.
    outliers : float
        Voxels whose residual passes this many standard deviations lose their weight: veins and calcifications finer than
        a voxel, and wrong phase, fit no map and would streak. Their weights are divided by ``1 + (r / outliers)^2`` after
        a few iterations, and then stay. 0: never.
    outside_ppm : float
        Standard deviation `s` of the susceptibility outside the mask in ppm, used if a first estimate without it has next
        to no sources beyond the mask's edge. Where background is left in the field they have to stay free. 10: always.
    smv_mm : float
        With a radius in mm, field and model are compared after their means over spheres of at most this size are taken off, which
        what background removal left over hardly passes: worth it on measured fields. 0: as they are, best for exact local fields.
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
    With `smv_mm` the data term is that of SS-TV (Chatnuntawech et al. 2017, doi:10.1002/nbm.3570).

    Splitting of both the gradient and the field as in Milovic et al. 2018, doi:10.1002/mrm.27073; TV by variable
    splitting for this problem: Bilgic et al. 2014, doi:10.1002/mrm.25029. Texture finer than the noise allows is
    flattened into plateaus.
    """
    return weighted_tv_map(
        local_field,
        mask,
        acq,
        noise=noise,
        lam=lam,
        noise_ppm=noise_ppm,
        noise_floor=noise_floor,
        outliers=outliers,
        outside_ppm=outside_ppm,
        smv_mm=smv_mm,
        tau=tau,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
    )
