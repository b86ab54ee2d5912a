"""Morphology-enabled dipole inversion."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._admm import relative_change
from chimap.inversion._medi_admm import edge_adjoint, edge_update
from chimap.inversion._medi_edges import smooth_places
from chimap.inversion._outside import DECIDE, quiet_beyond
from chimap.inversion._proximal import L2, PHASE_L2, gather, proximal
from chimap.numerics.box import Box, working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import data_weights
from chimap.numerics.smv import depth_mm, reach_mm, sphere_weights, symmetric_spectrum
from chimap.numerics.tv import gradient_power
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

MU_DATA = 0.3
MU_MAP = 0.003
RELAX = 1.7
WARM = 0.012
"""Relative change below which the linear start gives way to the nonlinear data term."""
MERIT_TIMES = 5
MERIT_EVERY = 5


@method("inversion", reference=("10.1002/mrm.22816", "10.1002/mrm.24272", "10.1002/mrm.26946"))
def medi(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    magnitude: Volume | None = None,
    r2star: Volume | None = None,
    csf_mask: Mask | None = None,
    lam: float = 6.0,
    edges: float = 0.3,
    nonlinear: bool = True,
    merit: bool = True,
    smv_radius_mm: float = 0.0,
    csf_zero: bool = False,
    lam_csf: float = 0.1,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outside_ppm: float = 0.012,
    tau: float = 0.003,
    tolerance: float = 0.003,
    iterations: int = 120,
    progress: Progress = silent,
) -> Volume:
    r"""Morphology-enabled dipole inversion (MEDI): edges only where the magnitude has them.

    .. math:: \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{|e^{i s D\chi} - e^{i s f}|^2}{s^2 \sigma^2} + \lambda \sum |M
       \nabla \chi| + \frac{\lambda_c}{2\sigma_0^2} \sum_{\mathrm{CSF}} (\chi - \bar\chi_{\mathrm{CSF}})^2

    with :math:`M`, for each of the three directions, 0 across the steepest edges of the magnitude, else 1; the norm is
    isotropic, its gradient per mm. The phase scale :math:`s` is that of the echo spacing (one echo: its echo time), at which
    a wrap in the fit of the field over echoes shows as a whole turn. The last term is that of MEDI+0, used on request.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid. Outside, no data are assumed (weight 0).
    acq : Acquisition
        B0 direction and strength, voxel size, echo times.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Where edges are looked for; echoes are combined as the root of the sum of squares. Without it, there are none.
    r2star : (x, y, z) float32, optional
        R2* in 1/s, needed for `csf_zero` without `csf_mask`.
    csf_mask : (x, y, z) bool, optional
        Cerebrospinal fluid, given; asks for `csf_zero`.
    lam : float
        Regularisation weight in mm/ppm, as in method tv: the inverse of a typical gradient. Larger is smoother.
    edges : float
        Share of neighbouring voxel pairs, over all directions, that may be edges; those that the magnitude's noise
        explains never are.
    nonlinear : bool
        The data term above; otherwise :math:`(D\chi - f)^2`.
    merit : bool
        Lower the weight of outliers (model error reduction through iterative tuning): the standard deviation of the noise is
        multiplied by the square of ``|r| / (6 s)`` where that exceeds 1, with the weighted residual ``r`` and the standard
        deviation ``s`` of its absolute value.
    smv_radius_mm : float
        Take the mean over spheres of this radius from field and model, which removes background left over; data
        nearer to the edge than the radius are not used. 0: not.
    csf_zero : bool
        MEDI+0: hold the CSF of the ventricles uniform, and make it the zero of the map. Without `csf_mask` it is found in
        `r2star`: connected pieces below 5 1/s, within 30 mm of the mask's centre.
    lam_csf : float
        Weight of CSF's uniformity relative to that of the field of a voxel. 0: it is only the zero.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in
        quadrature.
    outside_ppm : float
        Standard deviation of the susceptibility outside the mask in ppm, used if the map after a few iterations without it
        has next to no sources beyond the mask's edge. Where background is left in the field they have to stay free. 1: always.
    tau : float
        Shrinkage threshold in ppm/mm of one ADMM step; it changes the path, not the end.
    tolerance : float
        Stop when the relative change of the map between two iterations falls below this.
    iterations : int
        Most iterations.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; relative to CSF where that is known, otherwise its mean is arbitrary.

    Notes
    -----
    Solved by ADMM (gradient, field and map are split), started with the linear data term, because the nonlinear one has
    false minima where the first guess is a wrap away. The published Gauss-Newton conjugate gradients minimise the same
    kind of function; what differs here is the term outside the mask, and that the norm is not rounded at 0.

    Liu et al. 2011, doi:10.1002/mrm.22816; nonlinear data term and MERIT: Liu et al. 2013, doi:10.1002/mrm.24272; MEDI+0: Liu
    et al. 2018, doi:10.1002/mrm.26946.
    """
    if (
        min(lam, tau, noise_ppm, iterations) <= 0
        or noise_floor < 0
        or lam_csf < 0
        or outside_ppm < 0
        or smv_radius_mm < 0
    ):
        raise InputError(
            "lam, tau, noise_ppm and iterations must be positive, "
            "noise_floor, lam_csf, outside_ppm and smv_radius_mm not negative"
        )
    if not 0 <= edges < 1:
        raise InputError(f"edges {edges:g} is not a share between 0 and 1", fix="Try 0.3")
    box = working_box(mask, acq)
    w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
    w2 = box.crop(w2)
    target = box.crop(local_field)
    inside = box.crop(mask)
    smooth = smooth_places(_combined(magnitude, box), inside, acq.voxel_size_mm, edges)
    csf = None
    if csf_zero or csf_mask is not None:
        csf = box.crop(_csf(csf_mask, r2star, mask, acq))
    weight = np.float32(lam * typical**2)
    inverse_h = (1 / np.asarray(acq.voxel_size_mm)).astype(np.float32)
    mu = weight / np.float32(tau)
    kernel = dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)
    if smv_radius_mm > min(acq.voxel_size_mm):
        depth = depth_mm(mask, acq.voxel_size_mm)
        if smv_radius_mm >= depth.max():
            raise InputError(
                f"no voxel is farther than {smv_radius_mm:g} mm from the mask's edge",
                fix="Take a smaller smv_radius_mm",
            )
        sphere = sphere_weights(smv_radius_mm, acq.voxel_size_mm)
        without_mean = 1 - symmetric_spectrum(sphere, box.shape)
        kernel *= without_mean
        target = irfftn(rfftn(target) * without_mean, box.shape)
        del without_mean
        w2 *= box.crop(depth) > reach_mm(sphere, acq.voxel_size_mm)
        del depth
    scale = gradient_power(box.shape, acq.voxel_size_mm)
    scale *= mu
    scale += np.float32(MU_DATA) * kernel * kernel
    scale += np.float32(MU_MAP)
    np.reciprocal(scale, out=scale)

    te = acq.te_s[1] - acq.te_s[0] if acq.echoes > 1 else acq.te_s[0]
    rad_per_ppm = acq.rad_per_ppm(te)
    p = np.zeros((3, *box.shape), np.float32)
    q = target * (w2 > 0)
    u = np.zeros(box.shape, np.float32)
    own = np.zeros(box.shape, np.float32)  # the map's own copy plus its dual
    work = np.zeros(box.shape, np.float32)
    chi = np.zeros(box.shape, np.float32)
    given = w2
    hold, pull = 1.0, np.float32(MU_MAP / (lam_csf + MU_MAP))
    sums = np.empty((box.shape[0], 2))
    done, change, warm, merits = 0, np.inf, 0, 0
    least = DECIDE + 1
    while done < iterations and (change >= tolerance or done < least or (nonlinear and not warm)):
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= np.float32(MU_DATA)
        pulled = None
        if done:
            edge_adjoint(p, smooth, tau, inverse_h, work)
            gather(work, own, inside, float(mu), MU_MAP, hold)
            if csf is not None:
                t = own[csf]
                pulled = (1 - pull) * (t.mean(dtype=np.float64).astype(np.float32) - t)
                work[csf] += np.float32(2 * MU_MAP) * pulled
            part = rfftn(work)
            spectrum += part
            del part
        spectrum *= scale
        new = irfftn(spectrum.copy(), box.shape)
        spectrum *= kernel
        field = irfftn(spectrum, box.shape)
        del spectrum
        if merit and merits < MERIT_TIMES and change < WARM and done % MERIT_EVERY == 0:
            w2 = _merit(given, field, target, rad_per_ppm if warm else 0.0)
            merits += 1
        proximal(
            PHASE_L2 if warm else L2, field, q, u, w2, target, new, chi, own, inside, sums,
            hold=hold, mu=MU_DATA, relax=RELAX, phase_scale=rad_per_ppm,
        )  # fmt: skip
        del field
        if pulled is not None:
            own[csf] -= np.float32(RELAX) * pulled
        chi = new
        edge_update(chi, p, smooth, tau, inverse_h, RELAX)
        done += 1
        if done == DECIDE and quiet_beyond(chi, inside, acq.voxel_size_mm):
            hold = MU_MAP / (MU_MAP + (typical / max(outside_ppm, 1e-4)) ** 2)
        change = relative_change(sums)
        if nonlinear and not warm and change < WARM:
            warm = done
        progress(
            done,
            iterations,
            change=change,
            converged=change < tolerance and done >= least and (warm > 0 or not nonlinear),
        )
    if csf is not None:
        chi -= chi[csf].mean(dtype=np.float64)
    out = box.restore(chi)
    out *= mask
    return out


def _combined(magnitude: Volume | None, box: Box) -> Volume | None:
    if magnitude is None:
        return None
    if magnitude.ndim == 3:
        return box.crop(magnitude)
    power = np.zeros(box.shape, np.float32)
    for echo in np.moveaxis(magnitude, 3, 0):
        power += box.crop(echo) ** 2
    return np.sqrt(power)


def _merit(w2: Volume, field: Volume, target: Volume, scale: float) -> Volume:
    """Weights with those of outliers lowered by the fourth power of their excess (its square, for the noise)."""
    r = field - target
    if scale > 0:
        r = (2 / scale) * np.sin(r * (scale / 2))
    np.abs(r, out=r)
    r *= np.sqrt(w2)
    limit = 6 * float(r[w2 > 0].std(dtype=np.float64))
    if limit == 0:
        return w2
    return w2 / np.maximum(r / np.float32(limit), 1) ** 4


def _csf(csf_mask: Mask | None, r2star: Volume | None, mask: Mask, acq: Acquisition) -> Mask:
    """CSF of the ventricles, given or found."""
    if csf_mask is not None:
        csf = (np.asarray(csf_mask) > 0.5) & mask
        if not csf.any():
            raise InputError("csf_mask has no voxel in the mask", fix="Give another, or leave it out")
        return csf
    if r2star is None:
        raise InputError("csf_zero finds CSF in an R2* map, and there is none", fix="Give r2star or csf_mask")
    voxel = np.asarray(acq.voxel_size_mm)
    at = np.stack(np.nonzero(mask), 1) * voxel
    near = np.zeros(mask.shape, bool)
    near[mask] = ((at - at.mean(0)) ** 2).sum(1) < 30.0**2
    labels, _ = ndimage.label((r2star > 0) & (r2star < 5) & near)
    sizes = np.bincount(labels.ravel(), minlength=2)
    sizes[0] = 0
    csf = np.isin(labels, np.flatnonzero((sizes >= 0.1 * sizes.max()) & (sizes * voxel.prod() >= 50)))
    if not csf.any():
        raise InputError(
            "no CSF of 50 mm3 or more was found: R2* is nowhere below 5 1/s near the centre",
            fix="Give csf_mask, or leave csf_zero out",
        )
    return csf
