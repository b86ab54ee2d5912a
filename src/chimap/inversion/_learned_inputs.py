"""What a learned inversion is given: a first map, weights, guides and the scale of it all. Training uses the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.inversion._spheres import without_means
from chimap.inversion.guided import guided
from chimap.numerics.dipole import forward_field
from chimap.numerics.guides import log_magnitude, standardised
from chimap.numerics.noise import data_weights
from chimap.types import Mask, Volume

STEPS_INPUT = "step"
"""Name of the network's second input: a vector with a 1 at the number of the step."""
CHANNELS = 9
"""Map, gradient of the data term, what the residual stands for, residual, weights, two guides, level of the noise, mask."""
SPHERES = {"lam": 6.0}
"""Of `guided` with spheres, as in the presets."""
RIDGE = 0.01
"""Of the closed-form inversion that turns a residual field into the susceptibility it stands for."""
NOISE_PPM = 0.004
"""Standard deviation of the field that is assumed without a noise map."""
NOISE_FLOOR = 2.0
START_ITERATIONS = 60
"""Most iterations of `guided` for the first map. Training starts from fewer, so that the network meets unfinished maps, too."""
PAD = 1.3
"""Enlargement of the grid for the field of the first map."""
MEDIAN_OF_NORMAL = 0.6745
"""Median absolute value of a standard normal variable."""
GAIN = 10.0
"""Residuals and gradients are about a tenth of the map: the factor brings them to its size."""


@dataclass(frozen=True)
class Inputs:
    """Everything in units of `scale`.

    Attributes
    ----------
    start, field, weights : (x, y, z) float32
        First map and local field over `scale`; squared weights of the field, 0 to 1.
    guides : (2, x, y, z) float32
        Logarithm of the magnitude, and R2*, each with mean 0 and standard deviation 1 over the mask; 0 if missing.
    level : float
        Logarithm of what the first map leaves unexplained over `scale`: mostly noise, whether the scan states it or not.
    scale : float
        Mean absolute deviation of the first map in ppm, so that a stronger object of the same form gives the same input.
    mean_ppm : float
        Mean of the first map inside the mask, taken off `start`.
    """

    start: Volume
    field: Volume
    weights: Volume
    guides: np.ndarray
    level: float
    scale: float
    mean_ppm: float


def learned_inputs(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    magnitude: Volume | None = None,
    r2star: Volume | None = None,
    iterations: int = START_ITERATIONS,
    smv_mm: float = 0.0,
) -> Inputs:
    """Prepare a scan; arguments as of `guided`, which makes the first map in `iterations`.

    With `smv_mm` what the first map leaves of the field loses its means over spheres, too: the network corrects structure,
    and is not misled by background that was left over.
    """
    settings = {"smv_mm": smv_mm, **SPHERES} if smv_mm else {}
    start = guided(
        local_field,
        mask,
        acq,
        noise=noise,
        magnitude=magnitude,
        r2star=r2star,
        iterations=iterations,
        **settings,
    )
    if smv_mm:
        explained = forward_field(start, acq, pad=PAD) * mask
        local_field = explained + without_means(local_field - explained, mask, acq, smv_mm)
    mean = float(start[mask].mean(dtype=np.float64))
    start = np.where(mask, start - np.float32(mean), np.float32(0))
    scale = max(float(np.abs(start[mask]).mean(dtype=np.float64)), 1e-4)
    weights, _ = data_weights(mask, noise, NOISE_PPM, NOISE_FLOOR)
    left = forward_field(start, acq, pad=PAD) - local_field
    deviation = float(np.median(np.abs(left[mask] - np.median(left[mask])))) / MEDIAN_OF_NORMAL
    guides = np.zeros((2, *mask.shape), np.float32)
    if magnitude is not None:
        guide = log_magnitude(magnitude, mask)
        if guide is not None:
            guides[0] = standardised(guide, mask)
    if r2star is not None:
        guides[1] = standardised(r2star, mask)
    return Inputs(
        (start / np.float32(scale)).astype(np.float32, copy=False),
        local_field / np.float32(scale),
        weights,
        guides,
        float(np.log(max(deviation, 1e-6) / scale)),
        scale,
        mean,
    )


def residual_filter(kernel: Volume) -> Volume:
    """Half-spectrum of the closed-form inversion of a residual field, ``D / (D^2 + RIDGE)``."""
    return kernel / (kernel * kernel + np.float32(RIDGE))
