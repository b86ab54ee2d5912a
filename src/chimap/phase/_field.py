"""What the methods of the field stage share: unwrapped packed echoes before, the standard deviation after."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.phase._echoes import packed_magnitude
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase._noise import structure
from chimap.phase.bipolar import correct_bipolar, detect_bipolar
from chimap.registry import get
from chimap.results import Field
from chimap.types import Mask, Progress, Volume

PRIOR_WEIGHT = 2.0
"""Degrees of freedom with which the noise of the whole image enters the misfit of one voxel."""


BipolarCorrection = Literal["auto", "yes", "no"]
"""Whether the odd/even echo phase of bipolar readouts is taken off; auto: where it is found."""


@dataclass
class Echoes:
    """Unwrapped phase without offset and magnitude, packed (echo, voxel), and what they came with.

    `facts` are for the progress callback.
    """

    graph: Graph
    phase: np.ndarray
    magnitude: np.ndarray
    rad_per_ppm: np.ndarray
    offset_rad: Volume | None
    unwrapped_rad: Volume | None
    facts: dict[str, float | bool] = field(default_factory=dict)

    def release(self) -> None:
        """Free the echoes, which are as large as the input, once the fit has them."""
        self.phase = self.magnitude = np.empty((0, 0), np.float32)


def not_negative(**values: float) -> None:
    """Raise `InputError` for a parameter that is negative or not finite."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise InputError(f"{name} is {value}", fix="Give 0 or more")


def unwrapped_echoes(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    magnitude: Volume | None,
    unwrapping: str,
    offset: str,
    bipolar: BipolarCorrection,
    keep: bool,
    report: Progress,
) -> Echoes:
    """Odd/even echo phase and offset removed, phase unwrapped by the named methods; `keep` the unwrapped volumes too."""
    unwrap = get("unwrap", unwrapping)
    phase, facts = monopolar(phase, mask, acq, magnitude, bipolar)
    offset_rad = None
    if acq.echoes > 1:
        offset_rad = get("offset", offset)(phase, mask, acq, magnitude=magnitude)
    report(1, 3)
    known = {"magnitude": magnitude, "offset": offset_rad}
    unwrapped = unwrap(phase, mask, acq, **{k: v for k, v in known.items() if k in unwrap.inputs})
    report(2, 3)
    graph = Graph.of(mask)
    free = graph.pack(unwrapped)
    if not keep:
        unwrapped = None
    if offset_rad is not None:
        free -= graph.pack(offset_rad)
    signal = packed_magnitude(graph, magnitude, acq.echoes)
    rad_per_ppm = np.array([acq.rad_per_ppm(t) for t in acq.te_s])
    return Echoes(graph, free, signal, rad_per_ppm, offset_rad, unwrapped, facts)


def monopolar(
    phase: Volume, mask: Mask, acq: Acquisition, magnitude: Volume | None, bipolar: BipolarCorrection
) -> tuple[Volume, dict[str, float | bool]]:
    """The phase as monopolar readouts would give it, and what was found and done."""
    if bipolar not in get_args(BipolarCorrection):
        raise InputError(f"bipolar is {bipolar!r}", fix="Give auto, yes or no")
    if bipolar == "no" or (bipolar == "auto" and acq.echoes < 3):
        return phase, {}
    seen = detect_bipolar(phase, magnitude, mask, acq)
    correct = seen.found or bipolar == "yes"
    if correct:
        phase = correct_bipolar(phase, mask, acq, magnitude=magnitude)
    return phase, {"bipolar_corrected": correct, "bipolar_rad": seen.amplitude_rad}


def with_noise(
    echoes: Echoes, mask: Mask, result: np.ndarray, sigma: float, freedom: int, structure_noise: float
) -> Field:
    """The `Field` of a packed fit: rows field, information sum w (k TE)^2, sum m^2 r^2, sum m^2.

    The variance is sigma^2 / information, times the voxel's own misfit over its `freedom`, plus the square of
    `structure_noise` times the root mean square second difference around the voxel.
    """
    echoes.release()
    mean, information, misfit, weight = result
    thermal = np.float32(sigma**2) / information
    variance = thermal * (PRIOR_WEIGHT + misfit / np.float32(sigma**2 or 1)) / (PRIOR_WEIGHT + freedom)
    if structure_noise > 0:
        variance += np.float32(structure_noise**2) * structure(echoes.graph, mean, thermal)
    # A voxel without any signal is known no better than the first echo's ambiguity.
    noise = np.sqrt(np.minimum(variance, np.float32((TWO_PI / echoes.rad_per_ppm[0]) ** 2)))
    unpack = echoes.graph.unpack
    return Field(
        field_ppm=unpack(mean),
        noise_ppm=unpack(noise),
        mask=mask,
        offset_rad=echoes.offset_rad,
        residual=unpack(np.sqrt(misfit / np.maximum(weight, np.float32(1e-30)))) if freedom > 0 else None,
        unwrapped_rad=echoes.unwrapped_rad,
    )
