"""Total-variation regularised dipole inversion by ADMM."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._grid import working_box
from chimap.inversion._weights import data_weights
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.threads import jit, slabs
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

MU_DATA = 0.3
RELAX = 1.7


@method("inversion", reference=("10.1002/mrm.25029", "10.1002/mrm.27073"))
def tv(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    noise_ppm: float = 0.0025,
    noise_floor: float = 2.0,
    tau: float = 0.003,
    tolerance: float = 0.008,
    iterations: int = 100,
    progress: Progress = silent,
) -> Volume:
    r"""Total-variation (TV) regularised inversion with signal weighting, by ADMM.

    .. math:: \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D\chi - f)^2}{\sigma^2} + \lambda \sum |\nabla \chi|

    with the isotropic norm of the gradient per mm. Dividing by the variance of the field makes :math:`\lambda` a
    property of the tissue (the inverse of its typical gradient), so one value holds over field strengths, echo times
    and resolutions.

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
    Splitting of both the gradient and the field as in Milovic et al. 2018, doi:10.1002/mrm.27073; TV by variable
    splitting for this problem: Bilgic et al. 2014, doi:10.1002/mrm.25029. Over-relaxed by 1.7. Texture finer than the
    noise allows is flattened into plateaus.
    """
    if lam <= 0 or tau <= 0 or noise_ppm <= 0 or noise_floor < 0 or iterations < 1:
        raise InputError("lam, tau, noise_ppm and iterations must be positive, noise_floor not negative")
    box = working_box(mask, acq)
    w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
    # Everything is scaled by typical^2: weights become at most 1.
    weight = np.float32(lam * typical**2)
    a = box.crop(w2)
    del w2
    a /= a + np.float32(MU_DATA)
    target = box.crop(local_field)
    b = a * target
    inverse_h = (1 / np.asarray(acq.voxel_size_mm)).astype(np.float32)
    mu = weight / np.float32(tau)
    kernel = dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)
    scale = gradient_power(box.shape, acq.voxel_size_mm)
    scale *= mu
    scale += np.float32(MU_DATA) * kernel * kernel
    scale[0, 0, 0] = 1
    np.reciprocal(scale, out=scale)
    scale[0, 0, 0] = 0  # the mean is not determined

    p = np.zeros((3, *box.shape), np.float32)
    q = target  # z2 - u2, starting from z2 = f, u2 = 0
    u = np.zeros(box.shape, np.float32)
    work = np.zeros(box.shape, np.float32)
    chi = np.zeros(box.shape, np.float32)
    sums = np.empty((box.shape[0], 2))
    done, change = 0, np.inf
    while done < iterations and change >= tolerance:
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= np.float32(MU_DATA)
        if done:
            tv_adjoint(p, tau, inverse_h, work)
            gradient_part = rfftn(work)
            gradient_part *= mu
            spectrum += gradient_part
            del gradient_part
        spectrum *= scale
        new = irfftn(spectrum.copy(), box.shape)
        spectrum *= kernel
        field = irfftn(spectrum, box.shape)
        del spectrum
        slabs(_data_step, box.shape[0], field, q, u, a, b, new, chi, sums)
        del field
        chi = new
        tv_update(chi, p, tau, inverse_h, RELAX)
        done += 1
        change = float(np.sqrt(sums[:, 0].sum() / max(sums[:, 1].sum(), 1e-30)))
        progress(done, iterations, change=change, converged=change < tolerance)
    out = box.restore(chi)
    out *= mask
    return out


@jit(
    "void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f8[:,::1])"
)
def _data_step(start, stop, field, q, u, a, b, new, old, sums):
    """Proximal step of the data term and its dual, and the sums for the relative change."""
    relax = np.float32(RELAX)
    keep = np.float32(1) - relax
    for i in range(start, stop):
        d2 = 0.0
        n2 = 0.0
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                z = q[i, j, k] + u[i, j, k]
                r = relax * field[i, j, k] + keep * z + u[i, j, k]
                v = a[i, j, k] * r - b[i, j, k]
                u[i, j, k] = v
                q[i, j, k] = r - np.float32(2) * v
                d = new[i, j, k] - old[i, j, k]
                d2 += d * d
                n2 += new[i, j, k] * new[i, j, k]
        sums[i, 0] = d2
        sums[i, 1] = n2
