"""Weighted least squares with total variation, by ADMM: what the TV methods share."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError, warn
from chimap.inversion._medi_admm import shared_data_step
from chimap.inversion._outside import quiet_beyond
from chimap.inversion._spheres import LEAST_SHARE, RADII, Filtered, filtered, spheres_of
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.directional import directional_adjoint, directional_update
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import data_weights, repaired
from chimap.numerics.threads import jit, slabs
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.types import Mask, Progress, Volume

MU = (0.2, 0.003)
"""Penalties of the splittings of the field and of the map."""
MU_SPHERES = (0.1, 0.0003)
"""The same where means over spheres are taken off: the second one would hold low frequencies, of which the data then say little, where they are."""
RELAX = 1.7
UNRELIABLE = 25.0
"""Before spheres average over them, voxels whose noise exceeds so many times its median are filled in harmonically."""
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
    smv_mm: float = 0.0,
    edges: Volume | None = None,
    directions: np.ndarray | None = None,
) -> Volume:
    """`minimise_tv` with the parameters of the methods, which are checked: weights and scales from noise and units.

    With `edges` the mean weight over the mask is `lam`, whatever share is spared.
    """
    if (
        min(lam, tau, noise_ppm, tolerance) <= 0
        or min(noise_floor, outliers, outside_ppm, smv_mm) < 0
        or iterations < 1
    ):
        raise InputError(
            "lam, tau, noise_ppm, tolerance and iterations must be positive,"
            " noise_floor, outliers, outside_ppm and smv_mm not negative"
        )
    if smv_mm:
        # Noise 0 says unknown, too.
        doubt = None if noise is None else np.where(noise > 0, noise, np.float32(np.inf))
        local_field = repaired(local_field, doubt, mask, UNRELIABLE, acq.voxel_size_mm)
    w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
    spared = 1.0 if edges is None else float(edges[mask].mean(dtype=np.float64))
    # Everything is scaled by typical^2: weights become at most 1.
    return minimise_tv(
        local_field,
        mask,
        acq,
        w2,
        smv_mm=smv_mm,
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
    smv_mm: float = 0.0,
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
    smv_mm : float
        With a radius in mm, data and model are both taken less their means over spheres of at most this size
        (`chimap.inversion._spheres`). 0: as they are.
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
    if smv_mm:
        data = filtered(field, mask, acq, box, kernel, spheres_of(smv_mm, RADII, acq))
        if data.share < LEAST_SHARE:
            warn(
                f"only {100 * data.share:.0f} % of the mask's voxels have all their neighbours inside it: the field is inverted "
                "without taking means over spheres off (smv_mm 0)"
            )
            smv_mm = 0
    if not smv_mm:
        target = box.crop(field)
        data = Filtered([kernel], [target.copy()], np.ones(box.shape, np.uint8), target)
    mu_data, mu_outside = map(np.float32, MU_SPHERES if smv_mm else MU)
    trust = box.crop(w2)
    for kernel in data.kernels:
        scale += mu_data * kernel * kernel
    scale += mu_outside
    np.reciprocal(scale, out=scale)
    held = np.ones(box.shape, np.float32)  # share of the map that its proximal step keeps

    p = np.zeros((3, *box.shape), np.float32)
    split = data.fields  # of each part z2 - u2, starting from z2 = f, u2 = 0
    u = np.zeros(box.shape, np.float32)
    r = np.zeros(box.shape, np.float32)  # the map's own copy plus its dual
    work = np.zeros(box.shape, np.float32)
    chi = np.zeros(box.shape, np.float32)
    sums = np.empty((box.shape[0], 2))
    done, change = 0, np.inf
    least = REWEIGHT[-1] + 1
    while done < iterations and (change >= tolerance or done < least):
        spectrum = np.zeros(scale.shape, np.complex64)
        for kernel, q in zip(data.kernels, split, strict=True):
            one = rfftn(q)
            one *= kernel
            spectrum += one
            del one
        spectrum *= mu_data
        if done:
            if along is None:
                tv_adjoint(p, radius, inverse_h, work)
            else:
                directional_adjoint(p, along, tau, inverse_h, work)
            slabs(_gather, box.shape[0], work, r, held, mu, mu_outside)
            part = rfftn(work)
            spectrum += part
            del part
        spectrum *= scale
        new = irfftn(spectrum.copy(), box.shape)
        again = done + 1 in REWEIGHT and np.isfinite(misfit)
        for mine, (kernel, q) in enumerate(zip(data.kernels, split, strict=True), 1):
            fitted = irfftn(spectrum * kernel, box.shape)
            slabs(
                shared_data_step, box.shape[0], fitted, q, u, trust, data.target, data.part,
                np.uint8(mine), mu_data, np.float32(RELAX),
            )  # fmt: skip
            if again:
                _reweight(trust, box.crop(w2), fitted, data, mine, misfit)
            del fitted
        del spectrum
        slabs(_map_step, box.shape[0], new, chi, r, held, inside, sums)
        done += 1
        if done == REWEIGHT[0] and quiet_beyond(new, inside, acq.voxel_size_mm):
            held[~inside] = mu_outside / (mu_outside + np.float32(outside))
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


def _reweight(trust: Volume, w2: Volume, fitted: Volume, data: Filtered, mine: int, misfit: float) -> None:
    """The weights that the residuals leave, in the voxels of a part, in place."""
    for out, w, f, t, part in zip(trust, w2, fitted, data.target, data.part, strict=True):
        np.divide(w, 1 + w * ((f - t) / np.float32(misfit)) ** 2, out=out, where=part == mine)


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4, f4)")
def _gather(start, stop, work, r, held, mu, weight):
    """``work <- mu work + weight (v - u)`` of the map's splitting."""
    for i in range(start, stop):
        for j in range(work.shape[1]):
            for k in range(work.shape[2]):
                v = np.float32(2) * held[i, j, k] - np.float32(1)
                work[i, j, k] = mu * work[i, j, k] + weight * v * r[i, j, k]


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], b1[:,:,::1], f8[:,::1])")
def _map_step(start, stop, new, old, r, held, inside, sums):
    """Proximal step of the map's copy, and the sums for the relative change inside the mask."""
    relax = np.float32(RELAX)
    one = np.float32(1)
    for i in range(start, stop):
        d2 = 0.0
        n2 = 0.0
        for j in range(new.shape[1]):
            for k in range(new.shape[2]):
                c = new[i, j, k]
                h = held[i, j, k]
                r[i, j, k] = relax * c + (one - relax * h) * r[i, j, k]
                if inside[i, j, k]:
                    d = c - old[i, j, k]
                    d2 += d * d
                    n2 += c * c
        sums[i, 0] = d2
        sums[i, 1] = n2
