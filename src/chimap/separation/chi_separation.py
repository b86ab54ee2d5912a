"""χ-separation: both kinds of sources from the local field and R2'."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.registry import method
from chimap.results import Separation
from chimap.separation._joint import Settings, separate
from chimap.types import Mask, Progress, Volume, silent


@method("separation", reference=("10.1016/j.neuroimage.2021.118371", "10.1137/15M1047325"))
def chi_separation(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    r2prime: Volume | None = None,
    magnitude: Volume | None = None,
    noise: Volume | None = None,
    dr_pos: float = 137.0,
    dr_neg: float = 137.0,
    lam: float = 5.0,
    r2prime_sd: float = 8.0,
    outliers: float = 0.3,
    contrast: float = 0.4,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    tau: float = 0.004,
    tolerance: float = 0.002,
    iterations: int = 60,
    progress: Progress = silent,
) -> Separation:
    r"""χ-separation: paramagnetic and diamagnetic sources from the local field and R2' together.

    .. math::
        \min_{\chi^+ \ge 0,\ \chi^- \le 0} \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D(\chi^+ + \chi^-) - f)^2}{\sigma^2}
        + \tfrac12 \sum_{\mathrm{mask}} \frac{(D_r^+ |\chi^+| + D_r^- |\chi^-| - R_2')^2}{s^2}
        + \lambda \sum |P \nabla \chi^+| + \lambda \sum |P \nabla \chi^-|

    The field tells the sum of both kinds, R2' the sum of their absolute values. Gradients are per mm; :math:`P` takes most of the price
    off changes along the magnitude's gradient, as in method `guided` of the inversion (without magnitude :math:`P = 1`). Since both
    kinds have a sign, the zero of the maps is not arbitrary.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, no data are assumed.
    acq : Acquisition
        B0 strength and direction, voxel size.
    r2prime : (x, y, z) float32
        R2' = R2* - R2 in 1/s, needed; negative values count as 0. Without R2 see `chi_separation_r2star`.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Where edges are expected, and which way they run.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm.
    dr_pos, dr_neg : float
        R2' in 1/s that 1 ppm makes at 3 T; proportional to B0, so that at 7 T the default is 320. The paper measured 137 Hz/ppm in
        deep grey matter and takes it for both kinds.
    lam : float
        Regularisation weight in mm/ppm. Larger is smoother.
    r2prime_sd : float
        Standard deviation in 1/s by which R2' may miss the line. It sets how R2' counts against the regularisation, so it is several
        times the noise of a voxel. Larger is smoother.
    outliers : float
        Voxels whose R2' misses by more than this many `r2prime_sd` lose their weight (air near by, blood). 0: never.
    contrast : float
        Gradients of the magnitude count as edges from about this share of their median on.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    tau : float
        Shrinkage threshold in ppm/mm of one ADMM step; it changes the path, not the end.
    tolerance : float
        Stop when the relative change of both maps between two iterations falls below this.
    iterations : int
        Most iterations.

    Returns
    -------
    Separation
        Paramagnetic (0 or more) and diamagnetic (0 or less) susceptibility in ppm, 0 outside the mask; their sum is the map
        that an inversion gives, relative to tissue without sources.

    Raises
    ------
    InputError
        Without R2', or if a parameter is out of range.

    Notes
    -----
    Shin et al. 2021, doi:10.1016/j.neuroimage.2021.118371; edges by a structural prior: Ehrhardt and Betcke 2016,
    doi:10.1137/15M1047325. The published solvers are those of MEDI and iLSQR; here it is ADMM (`separation/_joint.py`).
    """
    if r2prime is None:
        raise InputError(
            "chi_separation needs R2', and there is none",
            fix="Give r2prime (R2* minus R2 from spin echoes), or use the method chi_separation_r2star with R2*",
        )
    return separate(
        local_field,
        r2prime.clip(min=0),
        mask,
        acq,
        Settings(
            dr_pos=dr_pos,
            dr_neg=dr_neg,
            lam=lam,
            r2prime_sd=r2prime_sd,
            outliers=outliers,
            contrast=contrast,
            noise_ppm=noise_ppm,
            noise_floor=noise_floor,
            tau=tau,
            tolerance=tolerance,
            iterations=iterations,
        ),
        magnitude=magnitude,
        noise=noise,
        progress=progress,
    )
