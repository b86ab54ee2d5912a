"""What a simulated scanner scans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.simulate.sources import Sources
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Phantom:
    """An object to scan.

    Attributes
    ----------
    chi_ppm : (x, y, z) float32
        Susceptibility in ppm against water.
    m0, r1, r2star : (x, y, z) float32
        Proton density (water = 1), 1/T1 and R2* in 1/s at `b0_t`. R2* holds what happens below the voxel; the field's own
        gradients between voxels come on top in the simulation.
    labels : (x, y, z) uint8
        Tissue numbers.
    table : dict
        Tissue name to (number, mean susceptibility in ppm).
    mask : (x, y, z) bool
        Inside of the skull, with cerebrospinal fluid, down to the foramen magnum.
    voxel_size_mm : 3 float
    b0_t : float
        Field strength that the relaxation rates are for.
    sources : Sources, optional
        Paramagnetic part of the susceptibility, and the R2' that both parts make. Then R2* = R2 + R2'.
    """

    chi_ppm: Volume
    m0: Volume
    r1: Volume
    r2star: Volume
    labels: np.ndarray
    table: dict[str, tuple[int, float]]
    mask: Mask
    voxel_size_mm: tuple[float, float, float]
    b0_t: float
    sources: Sources | None = None
