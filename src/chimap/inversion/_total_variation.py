"""Weighted least squares with total variation, by ADMM: what the TV methods share."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._outside import quiet_beyond
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.directional import directional_adjoint, directional_update
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import data_weights
from chimap.numerics.threads import jit, slabs
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.types import Mask, Progress, Volume

MU_DATA = 0.2
MU_OUTSIDE = 0.003
RELAX = 1.7
REWEIGHT = (6, 12)
"""Iterations after which the data weights are made again from the residuals; then they stay."""


def weighted_tv_map(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None,
    lam: float,
    noise_ppm: float,
    noise_floor: float,
    outliers: float,
    outside_ppm: float,
    tau: float,
    tolerance: float,
    iterations: int,
    progress: Progress,
    edges: Volume | None = None,
    directions: np.ndarray | None = None,
) -> Volume:
    """`minimise_tv` with the parameters of the methods, which are checked: weights and scales from noise and units.

    With `edges` the mean weight over the mask is `lam`, whatever share is spared.
    """
    if (
        min(lam, tau, noise_ppm, tolerance) <= 0
        or min(noise_floor, outliers, outside_ppm) < 0
        or iterations < 1
    ):
        raise InputError(
            "lam, tau, noise_ppm, tolerance and iterations must be positive,"
            " noise_floor, outliers and outside_ppm not negative"
        )
    w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
    spared = 1.0 if edges is None else float(edges[mask].mean(dtype=np.float64))
    # Everything is scaled by typical^2: weights become at most 1.
    return minimise_tv(
        local_field,
        mask,
        acq,
        w2,
        misfit=outliers * typical or np.inf,
        weight=lam * typical**2 / spared,
        edges=edges,
        directions=directions,
        outside=(typical / max(outside_ppm, 1e-4)) ** 2,
        tau=tau,
        tolerance=tolerance,
        iterations=iterations,
        progress=progress,
    )


def minimise_tv(
    field: Volume,
    mask: Mask,
    acq: Acquisition,
    w2: Volume,
    *,
    misfit: float,
    weight: float,
    edges: Volume | None = None,
    directions: np.ndarray | None = None,
    outside: float,
    tau: float,
    tolerance: float,
    iterations: int,
    progress: Progress,
) -> Volume:
    r"""Minimise ``1/2 |W (D x - f)|^2 + weight TV(x) + 1/2 |V x|^2``, the last sum over what lies outside the mask.

    Parameters
    ----------
    field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        The object.
    acq : Acquisition
        B0 direction and voxel size.
    w2 : (x, y, z) float32
        Squared data weights, 0 to 1.
    misfit : float
        After the iterations `REWEIGHT` the weights of voxels with a weighted residual ``r`` in ppm are divided by
        ``1 + (r / misfit)^2``. Infinite: never.
    weight : float
        Of the total variation, whose gradient is per mm.
    edges : (x, y, z) float32, optional
        Factor of `weight` in each voxel of the mask, 0 to 1.
    directions : (3, x, y, z) float32, optional
        Where edges are expected and which way they run (`edge_directions`): the total variation is then directional.
    outside : float
        ``V^2``, the weight of the squared susceptibility outside the mask. It starts at 0, and stays there if the map after
        the first iterations has sources beyond the mask (`quiet_beyond`): the field then is not one of sources inside alone.
    tau : float
        ``weight`` over the penalty of the gradient's splitting, in ppm/mm.
    tolerance, iterations, progress
        As of the methods.

    Notes
    -----
    Three splittings, of the gradient, of the field, and of the map (for what lies outside the mask), each solved in closed
    form: Milovic et al. 2018, doi:10.1002/mrm.27073, with the third added. Each splitting is stored as one volume a
    component, since its dual is a function of it. Over-relaxed (Eckstein and Bertsekas 1992, doi:10.1007/BF01581204).
    """
    box = working_box(mask, acq)
    a = box.crop(w2)
    a /= a + np.float32(MU_DATA)
    target = box.crop(field)
    inside = box.crop(mask)
    inverse_h = (1 / np.asarray(acq.voxel_size_mm)).astype(np.float32)
    mu = np.float32(weight / tau)
    radius: float | Volume = tau
    if edges is not None:
        radius = box.crop(np.where(mask, edges, np.float32(1)))
        radius[~inside] = 1
        radius *= np.float32(tau)
    along = None if directions is None else np.stack([box.crop(d) for d in directions])
    kernel = dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)
    scale = gradient_power(box.shape, acq.voxel_size_mm)
    scale *= mu
    scale += np.float32(MU_DATA) * kernel * kernel
    scale += np.float32(MU_OUTSIDE)
    np.reciprocal(scale, out=scale)
    held = np.ones(box.shape, np.float32)  # share of the map that its proximal step keeps

    p = np.zeros((3, *box.shape), np.float32)
    q = target.copy()  # z2 - u2, starting from z2 = f, u2 = 0
    u = np.zeros(box.shape, np.float32)
    r = np.zeros(box.shape, np.float32)  # the map's own copy plus its dual
    work = np.zeros(box.shape, np.float32)
    chi = np.zeros(box.shape, np.float32)
    sums = np.empty((box.shape[0], 2))
    done, change = 0, np.inf
    least = REWEIGHT[-1] + 1
    while done < iterations and (change >= tolerance or done < least):
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= np.float32(MU_DATA)
        if done:
            if along is None:
                tv_adjoint(p, radius, inverse_h, work)
            else:
                directional_adjoint(p, along, tau, inverse_h, work)
            slabs(_gather, box.shape[0], work, r, held, mu)
            part = rfftn(work)
            spectrum += part
            del part
        spectrum *= scale
        new = irfftn(spectrum.copy(), box.shape)
        spectrum *= kernel
        fitted = irfftn(spectrum, box.shape)
        del spectrum
        slabs(_step, box.shape[0], fitted, q, u, a, target, new, chi, r, held, inside, sums)
        done += 1
        if done in REWEIGHT and np.isfinite(misfit):
            _reweight(a, box.crop(w2), fitted, target, misfit)
        if done == REWEIGHT[0] and quiet_beyond(new, inside, acq.voxel_size_mm):
            held[~inside] = MU_OUTSIDE / (MU_OUTSIDE + outside)
        del fitted
        chi = new
        if along is None:
            tv_update(chi, p, radius, inverse_h, RELAX)
        else:
            directional_update(chi, p, along, tau, inverse_h, RELAX)
        change = float(np.sqrt(sums[:, 0].sum() / max(sums[:, 1].sum(), 1e-30)))
        progress(done, iterations, change=change, converged=change < tolerance and done >= least)
    out = box.restore(chi)
    out *= mask
    return out


def _reweight(a: Volume, w2: Volume, fitted: Volume, target: Volume, misfit: float) -> None:
    """``a <- w / (w + MU_DATA)`` in place, with the weights ``w`` that the residuals leave."""
    for share, w, f, t in zip(a, w2, fitted, target, strict=True):
        w /= 1 + w * ((f - t) / np.float32(misfit)) ** 2
        np.divide(w, w + np.float32(MU_DATA), out=share)


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4)")
def _gather(start, stop, work, r, held, mu):
    """``work <- mu work + MU_OUTSIDE (v - u)`` of the map's splitting."""
    weight = np.float32(MU_OUTSIDE)
    for i in range(start, stop):
        for j in range(work.shape[1]):
            for k in range(work.shape[2]):
                v = np.float32(2) * held[i, j, k] - np.float32(1)
                work[i, j, k] = mu * work[i, j, k] + weight * v * r[i, j, k]


@jit(
    "void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1],"
    " f4[:,:,::1], f4[:,:,::1], b1[:,:,::1], f8[:,::1])"
)
def _step(start, stop, field, q, u, a, target, new, old, r, held, inside, sums):
    """Proximal steps of the data term and of the map, and the sums for the relative change inside the mask."""
    relax = np.float32(RELAX)
    one = np.float32(1)
    keep = one - relax
    for i in range(start, stop):
        d2 = 0.0
        n2 = 0.0
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                z = q[i, j, k] + u[i, j, k]
                t = relax * field[i, j, k] + keep * z + u[i, j, k]
                v = a[i, j, k] * (t - target[i, j, k])
                u[i, j, k] = v
                q[i, j, k] = t - np.float32(2) * v
                c = new[i, j, k]
                h = held[i, j, k]
                r[i, j, k] = relax * c + (one - relax * h) * r[i, j, k]
                if inside[i, j, k]:
                    d = c - old[i, j, k]
                    d2 += d * d
                    n2 += c * c
        sums[i, 0] = d2
        sums[i, 1] = n2
