"""Total-variation inversion with any voxelwise data term, by ADMM: the loop that several methods share.

The map is split from its gradient, from its field ``D chi`` (whose copy ``z`` alone meets the data), and from itself (to
hold it near 0 outside the mask). The map's step is then a division in k-space, and the data's a problem of one unknown a
voxel (`proximal`), linear or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._outside import DECIDE, quiet_beyond
from chimap.inversion._proximal import gather, proximal
from chimap.numerics.box import Box, working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import data_weights
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.types import Mask, Progress, Volume, silent

RELAX = 1.7
MU_L2 = 0.3
"""Penalty of the split field in a problem whose data weights are at most 1; it changes the path, not the end."""
MU_L1 = 0.3
MU_OUTSIDE = 0.003
RELAX_NONLINEAR = 1.3
MU_NONLINEAR = 1.0
"""Nonlinear data terms have curvatures down to minus their weight: these keep each voxel's step convex."""


@dataclass
class Problem:
    """Field and squared weights (at most 1, ``(typical/s)^2``) on the working grid, and what belongs to the grid."""

    box: Box
    kernel: Volume
    field: Volume
    weights: Volume
    inside: Mask
    typical: float
    voxel_size: tuple[float, float, float]

    @classmethod
    def of(
        cls,
        local_field: Volume,
        mask: Mask,
        acq: Acquisition,
        noise: Volume | None,
        noise_ppm: float,
        noise_floor: float,
    ) -> Problem:
        """The problem of a local field with the weights of `data_weights`."""
        box = working_box(mask, acq)
        w2, typical = data_weights(mask, noise, noise_ppm, noise_floor)
        return cls(
            box,
            dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir),
            box.crop(local_field),
            box.crop(w2),
            box.crop(mask),
            typical,
            acq.voxel_size_mm,
        )

    def solver(self, *, lam: float, tau: float, mu: float, outside_ppm: float) -> TotalVariation:
        """The iteration for a weight `lam` in mm/ppm and a susceptibility of `outside_ppm` outside the mask.

        The latter holds from iteration `DECIDE` on, and only if the map then has no sources there.
        """
        return TotalVariation(
            self.kernel,
            self.field,
            self.inside,
            self.voxel_size,
            weight=lam * self.typical**2,
            tau=tau,
            mu=mu,
            outside=self.outside(outside_ppm),
        )

    def outside(self, outside_ppm: float) -> float:
        """Weight of the squared map outside the mask in an objective multiplied by ``typical^2``."""
        return (self.typical / max(outside_ppm, 1e-4)) ** 2

    def l1_strength(self) -> Volume:
        """``typical^2 / s``, the weight of an L1 term in an objective multiplied by ``typical^2``."""
        strength = np.sqrt(self.weights)
        strength *= np.float32(self.typical)
        return strength

    def result(self, chi: Volume, mask: Mask) -> Volume:
        """A map on the full grid, 0 outside the mask."""
        out = self.box.restore(chi)
        out *= mask
        return out


class TotalVariation:
    r"""ADMM for ``sum data(D chi) + weight sum |grad chi| + outside/2 sum_outside chi^2``; `run` goes on where it stopped.

    Parameters
    ----------
    kernel : half-spectrum of the dipole
    field : (x, y, z) float32
        The data in ppm; the field the iteration starts from.
    inside : (x, y, z) bool
        The mask.
    voxel_size : 3 float
        In mm.
    weight : float
        Weight of the gradient's norm, in the units of the data term.
    tau : float
        Shrinkage threshold in ppm/mm; sets the penalty ``weight / tau``.
    mu : float
        Penalty of the split field.
    outside : float
        Weight of the squared map outside the mask. It starts at 0, and stays there unless the map after `DECIDE` iterations
        is quiet beyond the mask: otherwise the field is not one of sources inside alone, and they have to go somewhere.
    """

    def __init__(
        self,
        kernel: Volume,
        field: Volume,
        inside: Mask,
        voxel_size: tuple[float, float, float],
        *,
        weight: float,
        tau: float,
        mu: float,
        outside: float,
    ):
        shape = field.shape
        self.kernel, self.field, self.shape, self.tau = kernel, field, shape, tau
        self.voxel_size, self.inside = voxel_size, inside
        self.outside, self.hold, self.done = outside, 1.0, 0
        self.inverse_h = (1 / np.asarray(voxel_size)).astype(np.float32)
        self.p = np.zeros((3, *shape), np.float32)
        self.q = field.copy()  # z - u, starting from z = f, u = 0
        self.u = np.zeros(shape, np.float32)
        self.chi = np.zeros(shape, np.float32)
        self.r = np.zeros(shape, np.float32)  # the map's own copy plus its dual
        self.work = np.zeros(shape, np.float32)
        self._penalties(weight, mu)

    def _penalties(self, weight: float, mu: float) -> None:
        self.mu = np.float32(mu)
        self.mu_gradient = np.float32(weight / self.tau)
        scale = gradient_power(self.shape, self.voxel_size)
        scale *= self.mu_gradient
        scale += self.mu * self.kernel * self.kernel
        scale += np.float32(MU_OUTSIDE)
        np.reciprocal(scale, out=scale)
        self.scale = scale

    def change(self, *, weight: float, mu: float) -> None:
        """Go on with another weight and penalty: multipliers keep their meaning, ``u`` is rescaled."""
        z = self.q + self.u
        self.u *= np.float32(float(self.mu) / mu)
        np.subtract(z, self.u, out=self.q)
        self._penalties(weight, mu)

    def run(
        self,
        term: int,
        strength: Volume,
        *,
        phase_scale: float = 0.0,
        relax: float = RELAX,
        tolerance: float,
        iterations: int,
        progress: Progress = silent,
        before: int = 0,
        total: int = 0,
    ) -> tuple[Volume, int, bool]:
        """Iterate until the map's relative change falls below `tolerance`; map, iterations and convergence.

        `term`, `strength` and `phase_scale` are those of `proximal`. `before` of `total` iterations that progress
        speaks of were done by an earlier stage.
        """
        done, change = 0, np.inf
        sums = np.empty((self.shape[0], 2))
        while done < iterations and (change >= tolerance or self.done <= DECIDE):
            new, predicted = self._map_step()
            proximal(
                term,
                predicted,
                self.q,
                self.u,
                strength,
                self.field,
                new,
                self.chi,
                self.r,
                self.inside,
                sums,
                hold=self.hold,
                mu=float(self.mu),
                relax=relax,
                phase_scale=phase_scale,
            )
            del predicted
            self.chi = new
            tv_update(self.chi, self.p, self.tau, self.inverse_h, relax)
            done += 1
            self.done += 1
            if self.done == DECIDE:
                self.hold = hold_outside(self.chi, self.inside, self.voxel_size, self.outside)
            change = relative_change(sums)
            converged = change < tolerance and self.done > DECIDE
            progress(before + done, total or iterations, change=change, converged=converged)
        return self.chi, done, change < tolerance

    def _map_step(self) -> tuple[Volume, Volume]:
        spectrum = rfftn(self.q)
        spectrum *= self.kernel
        spectrum *= self.mu
        if self.done:
            tv_adjoint(self.p, self.tau, self.inverse_h, self.work)
            gather(self.work, self.r, self.inside, float(self.mu_gradient), MU_OUTSIDE, self.hold)
            spectrum += rfftn(self.work)
        spectrum *= self.scale
        new = irfftn(spectrum.copy(), self.shape)
        spectrum *= self.kernel
        return new, irfftn(spectrum, self.shape)


def hold_outside(chi: Volume, inside: Mask, voxel_size: tuple[float, float, float], outside: float) -> float:
    """Share that the map keeps outside the mask in its proximal step: all of it, where it has sources there."""
    return MU_OUTSIDE / (MU_OUTSIDE + outside) if quiet_beyond(chi, inside, voxel_size) else 1.0


def relative_change(sums: np.ndarray) -> float:
    """Norm of the difference over the norm, from sums per plane."""
    return float(np.sqrt(sums[:, 0].sum() / max(sums[:, 1].sum(), 1e-30)))


def phase_scale(acq: Acquisition, phase_te_s: float) -> float:
    """Phase in rad of a field of 1 ppm at `phase_te_s`, or at the mean echo time where that is 0."""
    if phase_te_s < 0 or phase_te_s > 0.5:
        raise InputError(f"phase_te_s {phase_te_s:g} is no echo time in s", fix="Give it in seconds, or 0")
    return acq.rad_per_ppm(phase_te_s or float(np.mean(acq.te_s)))


def require_positive(**values: float) -> None:
    """`InputError` that names the first value that is not a finite positive number."""
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value:g}; it must be positive")
