"""Simulated scans of a small phantom with six vials."""

from __future__ import annotations

import functools

import numpy as np

from chimap.acquisition import Acquisition
from chimap.simulate import SimulatedScan, simulate_scan
from chimap.simulate.vials import vials

CONCENTRATION_MM = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
MOLAR_PPM = 0.3256
RADIUS_MM, LENGTH_MM = 7.0, 44.0
_TE_S = {1.5: (0.006, 0.012, 0.018), 3.0: (0.004, 0.008, 0.012), 7.0: (0.003, 0.006, 0.009)}


@functools.cache
def vial_scan(
    b0_t: float = 3.0, b0_dir: tuple[float, float, float] = (1.0, 0.0, 0.0), seed: int = 0
) -> tuple[Acquisition, SimulatedScan]:
    """Six vials of 14 mm across in water, voxels of 2 mm, SNR 80 in the first echo."""
    acq = Acquisition(_TE_S[b0_t], b0_t, b0_dir, (2.0, 2.0, 2.0))
    fine = acq.with_(voxel_size_mm=(4 / 3,) * 3)
    phantom = vials(
        (84, 84, 84),
        fine,
        concentration_mm=CONCENTRATION_MM,
        molar_ppm_per_mm=MOLAR_PPM,
        radius_mm=RADIUS_MM,
        ring_mm=26.0,
        length_mm=LENGTH_MM,
    )
    return acq, simulate_scan(phantom, acq, snr=80, seed=seed)


def combined(scan: SimulatedScan) -> np.ndarray:
    """Magnitude of all echoes."""
    return np.sqrt((scan.magnitude**2).sum(-1))
