"""χ-separation without R2: R2' is guessed from R2*."""

from __future__ import annotations

from typing import Literal

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.registry import method
from chimap.results import Separation
from chimap.separation._joint import REFERENCE_T, Settings, separate
from chimap.types import Mask, Progress, Volume, silent


@method("separation", reference=("10.1016/j.neuroimage.2021.118371", "10.3390/tomography8030127"))
def chi_separation_r2star(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    r2star: Volume | None = None,
    magnitude: Volume | None = None,
    noise: Volume | None = None,
    model: Literal["share", "constant"] = "share",
    share: float = 0.4,
    r2: float = 12.0,
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
    r"""χ-separation from the local field and R2* alone, with an assumed R2.

    The function is that of `chi_separation`; R2' is replaced by

    .. math:: \hat R_2' = q(B_0)\, R_2^* \;\;\mathrm{(share)} \qquad \mathrm{or} \qquad \hat R_2' = \max(R_2^* - R_2, 0)
       \;\;\mathrm{(constant)}

    with the share :math:`q` at 3 T, and :math:`1/q(B_0) = 1 + (1/q - 1)\,3\,\mathrm{T} / B_0` elsewhere: R2' grows with the field, R2 is
    taken not to. What is assumed here is not measured: where R2 differs from it (lesions, oedema, age) both maps are wrong by
    half of the error divided by the relaxometric constant, with the same size and opposite signs.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, no data are assumed.
    acq : Acquisition
        B0 strength and direction, voxel size.
    r2star : (x, y, z) float32
        R2* in 1/s, needed.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Where edges are expected, and which way they run.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm.
    model : {"share", "constant"}
        What is assumed: R2' is a share of R2*, or R2 is the same in all tissue. Share is the better one in grey and white matter and
        too low in nuclei rich in iron; constant is the model of Dimov et al., and right in CSF.
    share : float
        R2' over R2* at 3 T, of model share; 0.4 is about that of grey and white matter.
    r2 : float
        R2 in 1/s, of model constant.
    dr_pos, dr_neg : float
        R2' in 1/s that 1 ppm makes at 3 T; proportional to B0.
    lam : float
        Regularisation weight in mm/ppm. Larger is smoother.
    r2prime_sd : float
        Standard deviation in 1/s by which R2' may miss the line. Larger is smoother.
    outliers : float
        Voxels whose R2' misses by more than this many `r2prime_sd` lose their weight. 0: never.
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
        As of `chi_separation`.

    Raises
    ------
    InputError
        Without R2*, or if a parameter is out of range.

    Notes
    -----
    Shin et al. 2021, doi:10.1016/j.neuroimage.2021.118371; separation from gradient echoes alone with a constant R2: Dimov et al. 2022,
    doi:10.3390/tomography8030127.
    """
    if r2star is None:
        raise InputError(
            "chi_separation_r2star needs R2*, and there is none",
            fix="Give r2star, which chimap r2star maps from the magnitude of three echoes or more",
        )
    if not 0 < share <= 1:
        raise InputError(f"share is {share:g}; it must be above 0 and at most 1", fix="Try 0.4")
    if not 0 <= r2 < np.inf:
        raise InputError(f"r2 is {r2:g}", fix="Give a rate in 1/s, such as 12")
    if model == "share":
        r2prime = r2star * np.float32(1 / (1 + (1 / share - 1) * REFERENCE_T / acq.b0_t))
    else:
        r2prime = r2star - np.float32(r2)
    return separate(
        local_field,
        np.maximum(r2prime, np.float32(0)) * mask,
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
