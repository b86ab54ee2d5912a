"""The two kinds of susceptibility sources in the head's tissues, and the relaxation that they make.

Iron is paramagnetic, myelin and calcium are diamagnetic; a voxel of tissue holds both, and susceptibility is their sum. R2'
grows with the sum of their absolute values (static dephasing: Yablonskiy and Haacke 1994, doi:10.1002/mrm.1910320610), here with
the constant that Shin et al. 2021, doi:10.1016/j.neuroimage.2021.118371 measured at 3 T.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.simulate.tissue import LABELS, TISSUES, lookup
from chimap.types import Volume

DR_HZ_PER_PPM_3T = 137.0
"""R2' in 1/s that 1 ppm of either kind makes at 3 T."""
MIXTURE = 0.1
"""Standard deviation of the smooth variation of both kinds together, relative to the paramagnetic mean."""
MOST = 1.5
"""R2' ends at this multiple of the part of a tissue's R2* that grows with the field: blood and calcification are no
scattered small sources, and stay below the line."""

PARAMAGNETIC_PPM: dict[str, float] = {
    "caudate": 0.065,
    "globus pallidus": 0.156,
    "putamen": 0.081,
    "red nucleus": 0.123,
    "dentate nucleus": 0.116,
    "substantia nigra": 0.148,
    "thalamus": 0.040,
    "white matter": 0.014,
    "grey matter": 0.032,
    "CSF": 0.004,
    "brain stem": 0.024,
}
"""Means of the paramagnetic part; what a tissue's susceptibility is short of it is diamagnetic. Chosen so that R2' at 3 T is the part of
R2* that grows with the field. Tissues that are not listed hold one kind only."""


@dataclass(frozen=True)
class Sources:
    """Paramagnetic susceptibility (0 or more) in ppm, and R2' in 1/s, (x, y, z) float32 each."""

    paramagnetic_ppm: Volume
    r2prime: Volume


def paramagnetic(labels: np.ndarray, chi: Volume, other: Volume) -> Volume:
    """Paramagnetic part in ppm of `chi`; `other` is a smooth variation of mean 0 and SD 1 that is not chi's."""
    table = np.zeros(256, np.float32)
    for name, value in PARAMAGNETIC_PPM.items():
        table[LABELS[name]] = value
    mean = table[labels]
    half = np.float32(0.5) * (chi - lookup("chi_ppm")[labels])
    part = mean * (1 + np.float32(MIXTURE) * other) + half
    return np.maximum(np.where(mean > 0, part, 0), np.maximum(chi, 0))


def r2prime_of(
    labels: np.ndarray, chi: Volume, para: Volume, b0_t: float, deviation: float, other: Volume
) -> Volume:
    """R2' in 1/s: the line times ``1 + deviation * other``, at most `MOST` times what the tissue has."""
    sources = 2 * para - chi
    rate = np.float32(DR_HZ_PER_PPM_3T * b0_t / 3) * sources * (1 + np.float32(deviation) * other)
    most = np.zeros(256, np.float32)
    for t in TISSUES.values():
        most[t.label] = MOST * t.r2_field * b0_t / 3
    return np.clip(rate, 0, most[labels])
