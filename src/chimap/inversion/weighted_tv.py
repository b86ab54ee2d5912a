"""Total variation that spares the edges of the magnitude."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.inversion._magnitude_edges import edge_weights
from chimap.inversion._total_variation import weighted_tv_map
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference=("10.1002/mrm.25029", "10.1002/mrm.27073"))
def weighted_tv(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    noise: Volume | None = None,
    lam: float = 4.0,
    edges: float = 0.3,
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
    r"""TV that spares the edges of the magnitude, by ADMM.

    .. math::
        \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D\chi - f)^2}{\sigma^2} + \lambda \sum m |\nabla \chi|
        + \tfrac12 \sum_{\mathrm{outside}} \frac{\chi^2}{s^2}

    with the isotropic norm of the gradient per mm and a weight ``m`` of 0.2 to 1 that is small where the magnitude has edges.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, no data are assumed (weight 0).
    acq : Acquisition
        B0 direction and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Without it the method is `tv`.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm.
    lam : float
        Regularisation weight in mm/ppm. Larger is smoother.
    edges : float
        Share of the mask that counts as edge, 0 (none) to below 1.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain (background left over, sub-voxel structure), as a
        multiple of the median noise, added in quadrature.
    outliers : float
        Voxels whose residual passes this many standard deviations lose their weight (see `tv`). 0: never.
    outside_ppm : float
        Standard deviation `s` of the susceptibility outside the mask in ppm (see `tv`).
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

    The solver is that of `tv`, with the shrinkage of each voxel scaled by ``m``: Milovic et al. 2018,
    doi:10.1002/mrm.27073; weights from the magnitude: Bilgic et al. 2014, doi:10.1002/mrm.25029. Helps where magnitude and
    susceptibility share their edges (nuclei, ventricles); edges of the magnitude alone gain texture.
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
        edges=edge_weights(magnitude, mask, acq.voxel_size_mm, edges),
    )
