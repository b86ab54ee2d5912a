"""Morphology-enabled dipole inversion."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._grid import working_box
from chimap.inversion._medi_admm import data_step, edge_adjoint, edge_update
from chimap.inversion._medi_edges import smooth_places
from chimap.inversion._weights import data_weights
from chimap.numerics.box import Box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.smv import depth_mm, reach_mm, sphere_weights, symmetric_spectrum
from chimap.numerics.threads import slabs
from chimap.numerics.tv import gradient_power
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

MU_DATA = 0.3
MU_CSF = 0.005
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
    lam: float = 8.0,
    edges: float = 0.3,
    nonlinear: bool = True,
    merit: bool = True,
    smv_radius_mm: float = 0.0,
    lam_csf: float = 0.1,
    noise_ppm: float = 0.0025,
    noise_floor: float = 2.0,
    tau: float = 0.003,
    tolerance: float = 0.008,
    iterations: int = 120,
    progress: Progress = silent,
) -> Volume:
    r"""Morphology-enabled dipole inversion (MEDI): edges only where the magnitude has them.

    .. math:: \min_\chi \; \tfrac12 \sum \frac{|e^{i s D\chi} - e^{i s f}|^2}{s^2 \sigma^2} + \lambda \sum |M
       \nabla \chi| + \frac{\lambda_c}{2\sigma_0^2} \sum_{\mathrm{CSF}} (\chi - \bar\chi_{\mathrm{CSF}})^2

    with :math:`M`, for each of the three directions, 0 across the steepest edges of the magnitude, else 1; the norm is isotropic. The phase scale :math:`s` is
    that of the echo spacing (one echo: its echo time): an error of one wrap there costs nothing.

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
        R2* in 1/s, from which ventricular CSF is found (below 5 1/s, within 30 mm of the centre) for the zero
        reference of MEDI+0.
    csf_mask : (x, y, z) bool, optional
        CSF for that purpose, given.
    lam : float
        Regularisation weight in mm/ppm, as in method tv: the inverse of a typical gradient. Larger is smoother.
    edges : float
        Share of neighbouring voxel pairs, over all directions, that may be edges; those that the magnitude's noise
        explains never are.
    nonlinear : bool
        The data term above; otherwise :math:`(D\chi - f)^2`.
    merit : bool
        Lower the weight of voxels whose residual exceeds six times its standard deviation (model error reduction).
    smv_radius_mm : float
        Take the mean over spheres of this radius from field and model, which removes background left over; data
        nearer to the edge than the radius are not used. 0: not.
    lam_csf : float
        Weight of the zero reference relative to that of the field of a voxel.
    noise_ppm : float
        Standard deviation of the local field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the local field that `noise` does not contain, as a multiple of the median noise, added in
        quadrature.
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
    Solved by ADMM (gradient and field split), started with the linear data term, because the nonlinear one has
    false minima where the first guess is a wrap away. The published Gauss-Newton conjugate gradients minimise the same
    kind of function, but converge slowly for components near the magic angle. Where the magnitude has an edge nothing holds
    back streaks: beside strong sources MERIT is what does.

    Liu et al. 2011, doi:10.1002/mrm.22816; nonlinear data term and MERIT: Liu et al. 2013, doi:10.1002/mrm.24272; MEDI+0: Liu
    et al. 2018, doi:10.1002/mrm.26946.
    """
    if min(lam, tau, noise_ppm, iterations) <= 0 or noise_floor < 0 or lam_csf < 0 or smv_radius_mm < 0:
        raise InputError(
            "lam, tau, noise_ppm and iterations must be positive, noise_floor, lam_csf and smv_radius_mm not negative"
        )
    if not 0 <= edges < 1:
        raise InputError(f"edges {edges:g} is not a share between 0 and 1", fix="Try 0.3")
    box = working_box(mask, acq)
    w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
    w2 = box.crop(w2)
    target = box.crop(local_field)
    smooth = smooth_places(_combined(magnitude, box), box.crop(mask), acq.voxel_size_mm, edges)
    csf = None if lam_csf == 0 else _csf(csf_mask, r2star, mask, acq)
    csf = None if csf is None else box.crop(csf)
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
    if csf is not None:
        scale += np.float32(MU_CSF)
    scale[0, 0, 0] = 1
    np.reciprocal(scale, out=scale)
    scale[0, 0, 0] = 0  # the mean is not determined

    te = acq.te_s[1] - acq.te_s[0] if acq.echoes > 1 else acq.te_s[0]
    rad_per_ppm = np.float32(acq.rad_per_ppm(te))
    p = np.zeros((3, *box.shape), np.float32)
    q = target * (w2 > 0)
    u = np.zeros(box.shape, np.float32)
    work = np.zeros(box.shape, np.float32)
    chi = np.zeros(box.shape, np.float32)
    given = w2
    csf_dual = None if csf is None else np.zeros(np.count_nonzero(csf), np.float32)
    sums = np.empty((box.shape[0], 2))
    done, change, warm, merits = 0, np.inf, 0, 0
    while done < iterations and (change >= tolerance or (nonlinear and not warm)):
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= np.float32(MU_DATA)
        if done:
            edge_adjoint(p, smooth, tau, inverse_h, work)
            if csf is not None and csf_dual is not None:
                work += (MU_CSF / mu) * _csf_step(chi, csf, csf_dual, lam_csf)
            gradient_part = rfftn(work)
            gradient_part *= mu
            spectrum += gradient_part
            del gradient_part
        spectrum *= scale
        new = irfftn(spectrum.copy(), box.shape)
        spectrum *= kernel
        field = irfftn(spectrum, box.shape)
        del spectrum
        if merit and merits < MERIT_TIMES and change < WARM and done % MERIT_EVERY == 0:
            w2 = _merit(given, field, target, rad_per_ppm if warm else np.float32(0))
            merits += 1
        s = rad_per_ppm if warm else np.float32(0)
        slabs(
            data_step, box.shape[0], field, q, u, w2, target,
            np.float32(MU_DATA), s, np.float32(RELAX), new, chi, sums,
        )  # fmt: skip
        del field
        chi = new
        edge_update(chi, p, smooth, tau, inverse_h, RELAX)
        done += 1
        change = float(np.sqrt(sums[:, 0].sum() / max(sums[:, 1].sum(), 1e-30)))
        if nonlinear and not warm and change < WARM:
            warm = done
        progress(done, iterations, change=change, converged=change < tolerance)
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


def _merit(w2: Volume, field: Volume, target: Volume, scale: np.float32) -> Volume:
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


def _csf_step(chi: Volume, csf: Mask, dual: np.ndarray, lam: float) -> Volume:
    """The split copy of `chi` minus its dual: values in CSF drawn to their mean."""
    r = chi[csf] + dual
    mean = r.mean(dtype=np.float64)
    y = (mean + (r - mean) * (MU_CSF / (lam + MU_CSF))).astype(np.float32)
    dual[:] = r - y
    out = chi.copy()
    out[csf] = y - dual
    return out


def _csf(csf_mask: Mask | None, r2star: Volume | None, mask: Mask, acq: Acquisition) -> Mask | None:
    """CSF of the ventricles, or None where it is not known."""
    if csf_mask is not None:
        csf = np.asarray(csf_mask) > 0.5
        csf &= mask
        return csf if csf.any() else None
    if r2star is None:
        return None
    voxel = np.asarray(acq.voxel_size_mm)
    at = np.stack(np.nonzero(mask), 1) * voxel
    near = np.zeros(mask.shape, bool)
    near[mask] = ((at - at.mean(0)) ** 2).sum(1) < 30.0**2
    labels, count = ndimage.label((r2star > 0) & (r2star < 5) & near)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    csf = np.isin(labels, np.flatnonzero((sizes >= 0.1 * sizes.max()) & (sizes * voxel.prod() >= 50)))
    return csf if csf.any() else None
