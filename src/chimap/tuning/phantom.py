"""The rule that tries the values on a simulated object of known susceptibility."""

from __future__ import annotations

import functools

import numpy as np

from chimap.acquisition import Acquisition
from chimap.metrics import nrmse
from chimap.numerics.dipole import forward_field
from chimap.numerics.noise import median_noise
from chimap.simulate import head_phantom
from chimap.simulate.scan import ernst_signal
from chimap.simulate.tissue import LABELS, TISSUES
from chimap.tuning.problem import Problem, with_field
from chimap.tuning.rules import Curve, minimum, rule
from chimap.types import Volume

FINEST_MM = 0.7
"""Voxels below this take the phantom of this voxel size, as if its head were larger: a finer one takes too long."""
CENTRE = (0.5, 0.48, 0.53)
"""Middle of the deep nuclei, as shares of the phantom's grid."""
_SEED = 1984


@rule(
    score="NRMSE in % on the simulated object",
    best="min",
    runs=10,
    reference=("10.1002/cmr.b.10083", "10.1002/mrm.28754"),
)
def phantom(problem: Problem, values: list[float] | None = None) -> Curve:
    """Search on a simulated head of the same grid, mask, field direction and noise: the smallest error of the map.

    The middle of `chimap.simulate.head_phantom` at the scan's voxel size and field strength is put into the scan's mask; its field
    (Salomir et al. 2003, doi:10.1002/cmr.b.10083) gets Gaussian noise whose standard deviation has the scan's median, and
    goes up where the simulated signal is weak. Calcifications and bleeds are left out. A search on simulated heads is how parameters were chosen
    in the QSM challenge 2.0 (doi:10.1002/mrm.28754). Tells nothing about errors that only the scan has.
    """
    problem.expected = 11
    truth, test = simulated(problem)
    inside = np.ones(truth.shape, bool)

    def score(value: float) -> float:
        return nrmse(test.run(value), truth, inside)

    curve = minimum(test, score, values)
    problem.runs += test.runs
    return curve


def simulated(problem: Problem) -> tuple[Volume, Problem]:
    """True susceptibility in the mask, (n,), and the problem with the field of it."""
    acq = problem.acq
    shape = problem.mask.shape
    chi, weights, combined, brain = _piece(acq, shape)
    mask = problem.mask & brain
    if mask.sum() < 0.5 * problem.mask.sum():  # a mask that the phantom's brain does not fill
        mask = problem.mask
    chi = np.where(mask, chi, np.float32(0))
    field = forward_field(chi, acq)
    typical = median_noise(problem.noise, problem.mask) or 1e-3
    noise = np.float32(typical * np.median(weights[mask])) / np.maximum(weights, np.float32(1e-6))
    noise = np.minimum(noise, np.float32(20 * typical))
    rng = np.random.default_rng(_SEED)
    field += noise * rng.standard_normal(shape, dtype=np.float32)
    field *= mask
    arrays = {"noise": noise * mask, "magnitude": combined * mask}
    return chi[mask], with_field(problem, field, mask, (noise * mask).astype(np.float32), arrays)


@functools.lru_cache(maxsize=1)
def _piece(acq: Acquisition, shape: tuple[int, ...]) -> tuple[Volume, Volume, Volume, np.ndarray]:
    """Of the middle of the head: susceptibility, inverse noise of the field, combined magnitude, brain."""
    voxel = [min(max(v, FINEST_MM), 6.0) for v in acq.voxel_size_mm]
    head = head_phantom(voxel, b0_t=acq.b0_t)
    full = head.labels.shape
    start = [round(c * n - s / 2) for c, n, s in zip(CENTRE, full, shape, strict=True)]
    inner = tuple(slice(max(a, 0), min(a + s, n)) for a, s, n in zip(start, shape, full, strict=True))
    at = tuple(slice(i.start - a, i.stop - a) for i, a in zip(inner, start, strict=True))

    def cut(volume: np.ndarray) -> np.ndarray:
        out = np.zeros(shape, volume.dtype)
        out[at] = volume[inner]
        return out

    labels = cut(head.labels)
    chi = cut(head.chi_ppm)
    lesions = np.isin(labels, [LABELS["calcification"], LABELS["microbleed"]])
    chi[lesions] = TISSUES["white matter"].chi_ppm
    s0 = ernst_signal(cut(head.m0), np.maximum(cut(head.r1), np.float32(0.1)), acq.te_s[-1] + 0.007, 15.0)
    decay = cut(head.r2star)
    square, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for te in acq.te_s:
        signal = s0 * np.exp(np.float32(-te) * decay)
        square += signal * signal
        weight += np.float32(te * te) * signal * signal
    return chi, np.sqrt(weight), np.sqrt(square), cut(head.mask)
