"""Total variation along the edges of magnitude and R2*."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._total_variation import weighted_tv_map
from chimap.numerics.guides import edge_directions, log_magnitude
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@method("inversion", reference=("10.1137/15M1047325", "10.1002/mrm.27073"))
def guided(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    r2star: Volume | None = None,
    noise: Volume | None = None,
    lam: float = 5.0,
    contrast: float = 0.4,
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
    r"""Directional total variation: edges may run where those of the magnitude and of R2* do.

    .. math::
        \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D\chi - f)^2}{\sigma^2}
        + \lambda \sum |(I - v v^T) \nabla \chi| + \tfrac12 \sum_{\mathrm{outside}} \frac{\chi^2}{s^2}

    with the gradient per mm. The vector ``v`` (``|v| < 1``) points along the common gradient of the guides: a change of
    susceptibility in that direction costs little, one across it the full price, and without edges nearby this is `tv`.
    Only position and direction of edges are taken from the guides, neither sign nor size of the change.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, no data are assumed (weight 0).
    acq : Acquisition
        B0 direction and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Echoes are combined as the root of their sum of squares; the logarithm is a guide.
    r2star : (x, y, z) float32, optional
        R2* in 1/s, the better guide: iron and myelin make both. Without either guide the method is `tv`.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm.
    lam : float
        Regularisation weight in mm/ppm. Larger is smoother.
    contrast : float
        Gradients of a guide count as edges from about this share of its median gradient on. Smaller trusts the guides more.
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

    Directional total variation by a structural prior: Ehrhardt and Betcke 2016, doi:10.1137/15M1047325; the splitting
    is that of `tv`: Milovic et al. 2018, doi:10.1002/mrm.27073. Edges that susceptibility alone has are kept as well as `tv`
    keeps them. Guides have to lie on the field's grid and be free of motion between them and the phase.
    """
    if contrast <= 0:
        raise InputError(f"contrast is {contrast:g}; it must be positive", fix="Try 0.4")
    guides = [] if r2star is None else [r2star]
    if magnitude is not None:
        guide = log_magnitude(magnitude, mask)
        if guide is not None:
            guides.append(guide)
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
        directions=edge_directions(guides, mask, acq.voxel_size_mm, contrast) if guides else None,
    )
