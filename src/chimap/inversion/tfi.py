"""Preconditioned total field inversion."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._dipole_lsq import curvature
from chimap.inversion._medi_edges import smooth_places
from chimap.numerics.box import working_box
from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.echoes import root_sum_of_squares
from chimap.numerics.fft import convolve
from chimap.numerics.noise import data_weights
from chimap.numerics.tv import gradient_power
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

EPSILON = 0.01
START = 0.1
QUICK = 10
LEAST_CURVATURE = 0.01
FREE = 10.0
"""Standard deviation outside over the peak of the projection, which smears sources over many voxels: a smaller one leaves
background to the map."""
MEAN_D2 = 4 / 45
SHARES = (0.6, 0.15, 0.25)
"""Of data, of edges and of what is left in the spectrum of the preconditioned problem: another part of the preconditioner."""


@method("inversion", of="total field", reference="10.1002/mrm.26331")
def tfi(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    magnitude: Volume | None = None,
    lam: float = 4.0,
    edges: float = 0.3,
    background_ppm: float = 0.0,
    noise_ppm: float = 0.0025,
    noise_floor: float = 2.0,
    steps: int = 3,
    tolerance: float = 0.0002,
    iterations: int = 120,
    progress: Progress = silent,
) -> Volume:
    r"""Preconditioned total field inversion (TFI): sources inside and outside the mask in one problem.

    .. math:: \min_\chi \; \tfrac12 \sum_{\mathrm{mask}} \frac{(D\chi - f)^2}{\sigma^2} + \lambda \sum_a
       \sum_{\mathrm{mask}} M_a \sqrt{(\nabla_a \chi)^2 + \epsilon^2} + \tfrac12 \sum_{\mathrm{outside}}
       \frac{\chi^2}{\sigma_B^2}

    over all of the grid. Background and map are told apart by the regularisation and not by an earlier step, which keeps
    tissue at the edge of the mask.

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
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Where edges are looked for: :math:`M_a = 0` across them.
    lam : float
        Regularisation weight in mm/ppm, as in method tv.
    edges : float
        Share of neighbouring voxel pairs that may be edges.
    background_ppm : float
        Standard deviation :math:`\sigma_B` of the susceptibility outside the mask in ppm, the preconditioner there. 0: from
        the data, as ten times the peak of a projection onto dipole fields (ten iterations).
    noise_ppm : float
        Standard deviation of the field in ppm that is assumed without `noise`.
    noise_floor : float
        Error of the field that `noise` does not contain, as a multiple of the median noise, added in quadrature.
    steps : int
        Gauss-Newton steps: updates of the edge weights.
    tolerance : float
        Each step's conjugate gradients stop when the residual falls below this share of the right-hand side.
    iterations : int
        Most iterations of each step.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; its mean is arbitrary.

    Notes
    -----
    The preconditioner is the inverse of the diagonal of the quadratic problem, which is large far outside the mask as in the
    paper, with the problem's mean spectrum in the middle.

    Liu et al. 2017, doi:10.1002/mrm.26331.
    """
    if min(lam, noise_ppm, steps, iterations) <= 0 or noise_floor < 0 or background_ppm < 0:
        raise InputError(
            "lam, noise_ppm, steps and iterations must be positive, noise_floor and background_ppm not negative"
        )
    voxel = np.asarray(acq.voxel_size_mm)
    box = working_box(mask, acq, 30.0)
    inside = box.crop(mask)
    w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
    w2 = box.crop(w2)
    field = box.crop(total_field)
    kernel = dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)

    def normal(x: Volume) -> Volume:
        y = convolve(x, kernel)
        y *= w2
        return convolve(y, kernel)

    outside = (~inside).astype(np.float32)
    data_curvature = curvature(w2, kernel, LEAST_CURVATURE)
    field *= w2
    right = convolve(field, kernel)
    del field
    chi = conjugate_gradients(
        lambda x: outside * normal(x),
        outside * right,
        precondition=lambda r: outside * r / data_curvature,
        tolerance=0.01,
        iterations=QUICK,
    ).x
    if background_ppm == 0:
        background_ppm = FREE * float(np.abs(chi).max()) or 1.0
    ridge = outside * np.float32((typical / background_ppm) ** 2)

    if magnitude is not None:
        magnitude = root_sum_of_squares(magnitude)
    smooth = smooth_places(
        None if magnitude is None else box.crop(magnitude), inside, acq.voxel_size_mm, edges
    )
    pairs = [inside & np.roll(inside, -1, axis) & ((smooth >> axis) & 1).astype(bool) for axis in range(3)]
    weight = np.float32(lam * typical**2)
    spectrum = gradient_power(box.shape, acq.voxel_size_mm)
    spectrum *= np.float32(SHARES[1] * min(voxel) ** 2 / 6)
    spectrum += np.float32(SHARES[0] / MEAN_D2) * kernel * kernel
    spectrum += np.float32(SHARES[2])
    np.reciprocal(spectrum, out=spectrum)
    epsilon = START
    for step in range(steps):
        epsilon = max(EPSILON, epsilon / 3) if step else epsilon
        lagged = []
        diagonal = data_curvature + ridge
        for axis in range(3):
            g = (np.roll(chi, -1, axis) - chi) / np.float32(voxel[axis])
            g *= g
            g += np.float32(epsilon**2)
            r = pairs[axis] * (weight / np.float32(voxel[axis] ** 2)) / np.sqrt(g)
            diagonal += r
            diagonal += np.roll(r, 1, axis)
            lagged.append(r)
            del g
        root = np.reciprocal(np.sqrt(diagonal, out=diagonal), out=diagonal)

        def precondition(r: Volume, root: Volume = root) -> Volume:
            out = convolve(root * r, spectrum)
            out *= root
            return out

        def hessian(x: Volume, lagged: list[Volume] = lagged) -> Volume:
            out = normal(x)
            out += ridge * x
            for axis, r in enumerate(lagged):
                d = r * (np.roll(x, -1, axis) - x)
                out -= d
                out += np.roll(d, 1, axis)
            return out

        found = conjugate_gradients(
            hessian,
            right,
            start=chi,
            precondition=precondition,
            tolerance=tolerance,
            iterations=iterations,
        )
        norm = float(np.linalg.norm(found.x[inside])) or 1.0
        change = float(np.linalg.norm((found.x - chi)[inside])) / norm
        chi = found.x
        progress(
            step + 1, steps, residual=found.residual, change=change, background_ppm=background_ppm,
            converged=found.converged,
        )  # fmt: skip
    out = box.restore(chi)
    out *= mask
    return out
