"""Single-step total-variation inversion of the total field with several sphere radii."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._medi_admm import shared_data_step
from chimap.inversion._spheres import filtered, spheres_of
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import data_weights, repaired
from chimap.numerics.threads import slabs
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

MU_DATA = 0.3
RELAX = 1.7


@method("inversion", of="total field", reference="10.1002/nbm.3570")
def sstv(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    lam: float = 4.0,
    radius_mm: float = 24.0,
    radii: int = 5,
    unreliable: float = 25.0,
    noise_ppm: float = 0.0025,
    noise_floor: float = 2.0,
    tau: float = 0.003,
    tolerance: float = 0.002,
    iterations: int = 200,
    progress: Progress = silent,
) -> Volume:
    r"""Single-step inversion of the total field with TV and spherical means of several radii (SS-TV).

    .. math:: \min_\chi \; \tfrac12 \sum_i \sum_{M_i} \frac{((1 - S_i) (D\chi - f))^2}{\sigma^2} + \lambda \sum_a \sum
       |\nabla_a \chi|

    :math:`1 - S_i`, one minus the mean over spheres of radius i, removes the field of all sources outside the mask where the
    sphere lies inside; every voxel belongs to the set :math:`M_i` of the largest radius that fits. Model and data are
    filtered alike, so no deconvolution amplifies what is left.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where it is known.
    acq : Acquisition
        B0 direction and voxel size.
    noise : (x, y, z) float32, optional
        Standard deviation of the total field in ppm.
    lam : float
        Regularisation weight in mm/ppm, as in method tv.
    radius_mm : float
        Largest radius in mm.
    radii : int
        Number of radii, evenly spaced down to two voxels; the six neighbours come in addition. Each costs one transform pair
        an iteration.
    unreliable : float
        Voxels whose noise exceeds this many times the median are replaced by the harmonic function that fits
        around them before spheres average over them. 0: never.
    noise_ppm : float
        Standard deviation of the field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    tau : float
        Shrinkage threshold in ppm/mm of one ADMM step; it changes the path, not the end.
    tolerance : float
        Stop when the relative change of the map between two iterations falls below this.
    iterations : int
        Most iterations.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; its mean is arbitrary. Voxels at the mask's edge, without a sphere that fits,
        follow from their surroundings.

    Notes
    -----
    Solved by ADMM with one split copy of the filtered field for each radius.

    Chatnuntawech et al. 2017, doi:10.1002/nbm.3570.
    """
    voxel = acq.voxel_size_mm
    if min(lam, tau, noise_ppm, iterations) <= 0 or noise_floor < 0 or radii < 1 or radius_mm < min(voxel):
        raise InputError(
            "lam, tau, noise_ppm, radii and iterations must be positive, noise_floor not negative, and "
            "radius_mm at least one voxel"
        )
    box = working_box(mask, acq)
    w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
    w2 = box.crop(w2)
    weight = np.float32(lam * typical**2)
    inverse_h = (1 / np.asarray(voxel)).astype(np.float32)
    mu = weight / np.float32(tau)
    dipole = dipole_kernel(box.shape, voxel, acq.b0_dir)
    scale = gradient_power(box.shape, voxel)
    scale *= mu
    field = repaired(total_field, noise, mask, unreliable, voxel)
    data = filtered(field, mask, acq, box, dipole, spheres_of(radius_mm, radii, acq))
    del field, dipole
    if not data.kernels:
        raise InputError(
            "no voxel of the mask has all its neighbours inside", fix="Give a mask of the whole object"
        )
    for kernel in data.kernels:
        scale += np.float32(MU_DATA) * kernel * kernel
    # Each split field less its dual, starting from the data.
    parts = list(zip(data.kernels, data.fields, strict=True))
    part, target = data.part, data.target
    scale[0, 0, 0] = 1
    np.reciprocal(scale, out=scale)
    scale[0, 0, 0] = 0  # the mean is not determined
    p = np.zeros((3, *box.shape), np.float32)
    u = np.zeros(box.shape, np.float32)
    chi = np.zeros(box.shape, np.float32)
    done, change = 0, np.inf
    while done < iterations and change >= tolerance:
        work = np.empty(box.shape, np.float32)
        tv_adjoint(p, tau, inverse_h, work)
        spectrum = rfftn(work)
        del work
        spectrum *= mu / np.float32(MU_DATA)
        for kernel, q in parts:
            one = rfftn(q)
            one *= kernel
            spectrum += one
            del one
        spectrum *= scale
        spectrum *= np.float32(MU_DATA)
        for mine, (kernel, q) in enumerate(parts, 1):
            predicted = irfftn(spectrum * kernel, box.shape)
            slabs(
                shared_data_step, box.shape[0], predicted, q, u, w2, target, part,
                np.uint8(mine), np.float32(MU_DATA), np.float32(RELAX),
            )  # fmt: skip
            del predicted
        new = irfftn(spectrum, box.shape)
        del spectrum
        change = _change(new, chi)
        chi = new
        tv_update(chi, p, tau, inverse_h, RELAX)
        done += 1
        progress(done, iterations, change=change, converged=change < tolerance)
    out = box.restore(chi)
    out *= mask
    return out


def _change(new: Volume, old: Volume) -> float:
    """Norm of the difference over the norm, plane by plane to spare a volume."""
    step = sum(float(np.square(a - b).sum(dtype=np.float64)) for a, b in zip(new, old, strict=True))
    size = sum(float(np.square(a).sum(dtype=np.float64)) for a in new)
    return float(np.sqrt(step / max(size, 1e-30)))
