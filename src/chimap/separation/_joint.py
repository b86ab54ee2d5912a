"""Paramagnetic and diamagnetic susceptibility from field and R2' together: the solver that the methods share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.directional import directional_adjoint, directional_update
from chimap.numerics.echoes import root_sum_of_squares
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.guides import edge_directions
from chimap.numerics.noise import data_weights
from chimap.numerics.threads import slabs
from chimap.numerics.tv import gradient_power, tv_adjoint, tv_update
from chimap.results import Separation
from chimap.separation._steps import advance, gather
from chimap.types import Mask, Progress, Volume

MU_FIELD = np.float32(0.2)
MU_OWN = np.float32(0.05)
RELAX = np.float32(1.7)
REWEIGHT = (4, 8, 12, 16, 20)
"""Iterations after which the weights of R2' are made again from its residuals; then they stay."""
REFERENCE_T = 3.0
"""Field strength in T that the relaxometric constants are given for."""


@dataclass(frozen=True)
class Settings:
    """The parameters that the methods have in common, checked; see `chi_separation`."""

    dr_pos: float
    dr_neg: float
    lam: float
    r2prime_sd: float
    outliers: float
    contrast: float
    noise_ppm: float
    noise_floor: float
    tau: float
    tolerance: float
    iterations: int

    def __post_init__(self) -> None:
        positive = ("dr_pos", "dr_neg", "lam", "r2prime_sd", "contrast", "noise_ppm", "tau", "tolerance")
        for name in positive:
            if not 0 < getattr(self, name) < np.inf:
                raise InputError(f"{name} is {getattr(self, name):g}", fix="Give a positive number")
        if self.iterations < 1 or min(self.outliers, self.noise_floor) < 0:
            raise InputError("iterations must be 1 or more, outliers and noise_floor not negative")


def guide_of(magnitude: Volume | None, mask: Mask) -> Volume | None:
    """Logarithm of the magnitude of all echoes, or None."""
    if magnitude is None:
        return None
    magnitude = root_sum_of_squares(magnitude)
    largest = float(magnitude[mask].max())
    return np.log(np.maximum(magnitude, np.float32(1e-3 * largest))) if largest > 0 else None


def separate(
    field: Volume,
    r2prime: Volume,
    mask: Mask,
    acq: Acquisition,
    s: Settings,
    *,
    magnitude: Volume | None,
    noise: Volume | None,
    progress: Progress,
) -> Separation:
    r"""Minimise the function of `chi_separation` for maps a (paramagnetic) and b (minus the diamagnetic one).

    Notes
    -----
    ADMM with copies of both gradients, of the field, and of both maps, each step in closed form: the quadratic step couples the
    maps by the field of their difference alone, so that their sum and their difference are two divisions in k-space; the copy of the
    maps is a least-squares problem of two numbers that are 0 or more. Outside the mask both maps are free (but not negative): there
    they stand for background that was left in the field. Three pairs of transforms an iteration.
    """
    w2, typical = data_weights(mask, noise, s.noise_ppm, s.noise_floor)
    rates = [dr * acq.b0_t / REFERENCE_T for dr in (s.dr_pos, s.dr_neg)]
    mean_rate = (rates[0] + rates[1]) / 2
    ga, gb = (np.float32(r / mean_rate) for r in rates)
    box = working_box(mask, acq)
    shape = box.shape
    weight, target, inside = box.crop(w2), box.crop(field), box.crop(mask)
    del w2
    rate = box.crop(r2prime)
    rate /= np.float32(mean_rate)
    # All is scaled by the square of the field's typical error: weights of the field are at most 1.
    belief = np.float32((typical * mean_rate / s.r2prime_sd) ** 2)
    strength = inside * belief
    inverse_h = (1 / np.asarray(acq.voxel_size_mm)).astype(np.float32)
    mu = np.float32(s.lam * typical**2 / s.tau)
    guide = guide_of(magnitude, mask)
    along = None
    if guide is not None:
        directions = edge_directions([guide], mask, acq.voxel_size_mm, s.contrast)
        along = np.stack([box.crop(v) for v in directions])
        del guide, directions
    kernel = dipole_kernel(shape, acq.voxel_size_mm, acq.b0_dir)
    of_sum = gradient_power(shape, acq.voxel_size_mm)
    of_sum *= mu
    of_sum += MU_OWN
    of_difference = of_sum + 2 * MU_FIELD * kernel * kernel
    np.reciprocal(of_sum, out=of_sum)
    np.reciprocal(of_difference, out=of_difference)

    pa, pb = (np.zeros((3, *shape), np.float32) for _ in range(2))
    a, b, u, wa, wb = (np.zeros(shape, np.float32) for _ in range(5))
    # A field that is not believed is no start either: its copy forgets it slowly.
    q = target * np.minimum(4 * weight, np.float32(1))
    # Half of the sources of either kind, until the field tells.
    ta = rate * np.float32(1 / (ga + gb))
    tb = ta.copy()
    sums = np.empty((shape[0], 2))
    done, change = 0, np.inf
    least = REWEIGHT[-1] + 1
    while done < s.iterations and (change >= s.tolerance or done < least):
        if done:
            for p, out in ((pa, wa), (pb, wb)):
                if along is None:
                    tv_adjoint(p, s.tau, inverse_h, out)
                else:
                    directional_adjoint(p, along, s.tau, inverse_h, out)
        slabs(gather, shape[0], wa, wb, ta, tb, strength, rate, ga, gb, mu, MU_OWN)
        spectrum = rfftn(wa)
        spectrum *= of_sum
        total = irfftn(spectrum, shape)
        spectrum = rfftn(q)
        spectrum *= kernel
        spectrum *= 2 * MU_FIELD
        spectrum += rfftn(wb)
        spectrum *= of_difference
        difference = irfftn(spectrum.copy(), shape)
        spectrum *= kernel
        fitted = irfftn(spectrum, shape)
        del spectrum
        slabs(
            advance, shape[0], a, b, total, difference, fitted, q, u, weight, target, ta, tb, strength, rate, inside,
            ga, gb, MU_OWN, MU_FIELD, RELAX, sums,
        )  # fmt: skip
        del total, difference, fitted
        for x, p in ((a, pa), (b, pb)):
            if along is None:
                tv_update(x, p, s.tau, inverse_h, float(RELAX))
            else:
                directional_update(x, p, along, s.tau, inverse_h, float(RELAX))
        done += 1
        if done in REWEIGHT and s.outliers:
            _reweight(strength, belief, a, b, rate, inside, ga, gb, s.outliers * s.r2prime_sd / mean_rate)
        change = float(np.sqrt(sums[:, 0].sum() / max(sums[:, 1].sum(), 1e-30)))
        progress(done, s.iterations, change=change, converged=change < s.tolerance and done >= least)
    para, dia = (box.restore(np.maximum(x, np.float32(0))) * mask for x in (a, b))
    return Separation(paramagnetic_ppm=para, diamagnetic_ppm=0 - dia, mask=mask)


def _reweight(
    strength: Volume, belief: np.float32, a: Volume, b: Volume, rate: Volume, inside: Mask,
    ga: np.float32, gb: np.float32, limit: float,
) -> None:  # fmt: skip
    """Voxels whose R2' is far from what the maps explain lose weight, plane by plane."""
    for k, x, y, r, m in zip(strength, a, b, rate, inside, strict=True):
        miss = (ga * x + gb * y - r) / np.float32(limit)
        k[:] = m * (belief / (1 + miss * miss))
