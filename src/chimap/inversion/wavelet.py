"""Dipole inversion that is sparse in wavelets, by ADMM."""

from __future__ import annotations

import numpy as np
from scipy.fft import next_fast_len

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics import wavelets
from chimap.numerics.box import Box, working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import data_weights
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

MU_DATA = 0.2
LEVELS = 3
MOMENTS = 2


@method("inversion", reference="10.1002/mrm.23000")
def wavelet(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 8.0,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    tau: float = 0.006,
    tolerance: float = 0.002,
    iterations: int = 80,
    progress: Progress = silent,
) -> Volume:
    r"""Wavelet-l1: a map of few wavelets, with weighted data, by ADMM.

    .. math:: \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D\chi - f)^2}{\sigma^2} + \lambda \sum |\Psi\chi|

    with Daubechies' wavelets of two vanishing moments on three levels; the coarsest averages are not penalised.

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
        Regularisation weight in 1/ppm. Larger is smoother.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    tau : float
        Shrinkage threshold in ppm of one ADMM step; it changes the path, not the end.
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
    Keeps texture that TV flattens; leaves faint blocks, since the wavelets are not shift-invariant. Sparse wavelets for
    dipole inversion: Wu et al. 2012, doi:10.1002/mrm.23000.
    """
    if min(lam, tau, noise_ppm, tolerance) <= 0 or noise_floor < 0 or iterations < 1:
        raise InputError(
            "lam, tau, noise_ppm, tolerance and iterations must be positive, noise_floor not negative"
        )
    box = _divisible(working_box(mask, acq), 2**LEVELS)
    w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
    mu = np.float32(lam * typical**2 / tau)
    a = box.crop(w2)
    del w2
    a /= a + np.float32(MU_DATA)
    target = box.crop(local_field)
    inside = box.crop(mask)
    kernel = dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)
    scale = np.float32(MU_DATA) * kernel * kernel
    scale += mu
    np.reciprocal(scale, out=scale)
    coarse = tuple(slice(0, n >> LEVELS) for n in box.shape)

    q = target.copy()  # z - u of the field
    u = np.zeros(box.shape, np.float32)
    dual = np.zeros(box.shape, np.float32)  # of the coefficients
    back = np.zeros(box.shape, np.float32)  # the map that the shrunk coefficients less their dual make
    chi = np.zeros(box.shape, np.float32)
    done, change = 0, np.inf
    while done < iterations and change >= tolerance:
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= np.float32(MU_DATA)
        back *= mu
        spectrum += rfftn(back)
        spectrum *= scale
        new = irfftn(spectrum.copy(), box.shape)
        spectrum *= kernel
        fitted = irfftn(spectrum, box.shape)
        del spectrum
        fitted += u
        np.multiply(a, fitted - target, out=u)
        np.subtract(fitted, u, out=q)
        q -= u
        del fitted
        # With p = coefficients + dual, the new dual is p cut to +-tau and the shrunk coefficients are the rest.
        p = wavelets.forward(new, LEVELS, MOMENTS)
        p += dual
        np.clip(p, -tau, tau, out=dual)
        dual[coarse] = 0
        p -= dual
        p -= dual
        back = wavelets.inverse(p, LEVELS, MOMENTS)
        del p
        chi -= new
        chi *= inside
        step = float(np.linalg.norm(chi.ravel()))
        chi = new
        done += 1
        change = step / max(float(np.linalg.norm(chi[inside])), 1e-30)
        progress(done, iterations, change=change, converged=change < tolerance)
    out = box.restore(chi)
    out *= mask
    return out


def _divisible(box: Box, by: int) -> Box:
    """The box on a grid whose axes are multiples of `by` and still transform fast."""
    shape = []
    for n in box.shape:
        m = -(-n // by) * by
        while next_fast_len(m, real=True) != m:
            m += by
        shape.append(m)
    return Box(box.full, box.inner, tuple(shape))
