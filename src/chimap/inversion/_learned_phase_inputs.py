"""What the network that starts from wrapped phase is given. Training uses the same."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.inversion._admm import Problem
from chimap.inversion._from_phase import outside_field, phase_field
from chimap.inversion._learned_inputs import NOISE_FLOOR, NOISE_PPM, Inputs, learned_inputs
from chimap.types import Mask, Volume

OUTSIDE_ITERATIONS = 25
START_ITERATIONS = 16
"""Iterations of `guided` for the first map."""


def phase_inputs(
    phase: Volume,
    magnitude: Volume | None,
    mask: Mask,
    acq: Acquisition,
) -> tuple[Inputs, Volume | None]:
    """Prepare wrapped phase (x, y, z, echo); also the standard deviation of the field's noise in ppm, if there is a magnitude.

    The field comes from the wrapped differences of neighbours, its background from sources outside the mask, and the first
    map from what remains. The decay over the echoes is the guide that R2* would be.
    """
    total, noise = phase_field(phase, magnitude, mask, acq)
    problem = Problem.of(total, mask, acq, noise, NOISE_PPM, NOISE_FLOOR)
    local = problem.box.restore(problem.field - outside_field(problem, OUTSIDE_ITERATIONS)) * mask
    prepared = learned_inputs(
        local,
        mask,
        acq,
        noise=noise,
        magnitude=magnitude,
        r2star=None if magnitude is None else _decay(magnitude, mask, acq),
        iterations=START_ITERATIONS,
    )
    return prepared, noise


def _decay(magnitude: Volume, mask: Mask, acq: Acquisition) -> Volume | None:
    """Rate of decay in 1/s between the first and the last echo; None for a single echo."""
    if acq.echoes < 2:
        return None
    first, last = (np.maximum(magnitude[..., e], np.float32(1e-20)) for e in (0, -1))
    rate = np.log(first / last) / np.float32(acq.te_s[-1] - acq.te_s[0])
    return np.where(mask, np.clip(rate, 0, 400), np.float32(0))
