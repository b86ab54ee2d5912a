"""The rule that compares zones of k-space."""

from __future__ import annotations

import numpy as np

from chimap.numerics.fft import frequencies
from chimap.tuning.problem import Problem
from chimap.tuning.rules import Curve, crossing, rule

ZONES = ((0.0, 0.08), (0.15, 0.30), (0.35, 0.60))
"""Ranges of the dipole kernel's modulus: the magic cone, its surroundings, where data are good."""
RADII = (0.65, 0.95)
"""Range of the spatial frequency as a share of the lowest axis' Nyquist frequency: where noise shows."""

DROP = 0.3
"""Where the zones never balance (the object itself has less power near the cone): the fall of the logarithm that counts instead."""


@rule(
    score="logarithm of the power near the cone over the power far from it",
    best="zero",
    runs=13,
    reference="10.1002/mrm.28435",
)
def frequency(problem: Problem, values: list[float] | None = None) -> Curve:
    """Frequency analysis: as much power of the map near the magic cone as far from it.

    With too little regularisation noise is amplified near the cone, with too much the map's power is missing there. Power is averaged
    over the zones 0.15 to 0.30 and 0.35 to 0.60 of the dipole kernel's modulus, at high spatial frequencies. Milovic
    et al. 2021, doi:10.1002/mrm.28435. Total variation and anatomy can keep the power near the cone lower whatever the
    value: then the value counts where the ratio has fallen by a quarter from its largest.
    """
    values = values or problem.grid()
    problem.expected = len(values)
    f = frequencies(problem.box.shape, problem.acq.voxel_size_mm)
    radius = np.sqrt(f[0] ** 2 + f[1] ** 2 + f[2] ** 2) * np.float32(2 * max(problem.acq.voxel_size_mm))
    ring = (radius > RADII[0]) & (radius < RADII[1])
    modulus = np.abs(problem.kernel)
    zones = [ring & (modulus >= a) & (modulus < b) for a, b in ZONES]
    powers: list[list[float]] = [[] for _ in zones]
    for v in values:
        power = problem.power(problem.run(v))
        for column, zone in zip(powers, zones, strict=True):
            column.append(float(power[zone].mean(dtype=np.float64)) if zone.any() else float("nan"))
    scores = np.log(np.asarray(powers[1]) / np.maximum(powers[2], 1e-30)).tolist()
    value, note = crossing(problem, values, scores)
    if note:
        level = max(scores) - DROP
        value, _ = crossing(problem, values, scores, level)
        note = f"the zones never balance; taken where their ratio has fallen by a factor {np.exp(-DROP):.2f} from its largest"
    columns = {"power_cone": powers[0], "power_near": powers[1], "power_far": powers[2]}
    return Curve(value, values, scores, columns, note)
