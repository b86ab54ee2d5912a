"""A calibration phantom: a round container of water or gel with vials of known susceptibility."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.simulate.phantom import Phantom
from chimap.simulate.scan import SimulatedScan
from chimap.simulate.tissue import AIR_PPM

COLUMNS = {
    "label": ("", "number of the vial in the label image dseg"),
    "concentration_mm": ("mmol/L", "concentration"),
    "chi_ppm": ("ppm", "susceptibility against water"),
    "x_mm": ("mm", "middle of the vial along the first voxel axis, from voxel 0"),
    "y_mm": ("mm", "likewise, second axis"),
    "z_mm": ("mm", "likewise, third axis"),
}
"""What the table of the vials' truth says; `chimap calibrate fit --vials` reads it."""

_AXES = {"x": 0, "y": 1, "z": 2}


def vials(
    shape: Sequence[int],
    acq: Acquisition,
    *,
    concentration_mm: Sequence[float],
    molar_ppm_per_mm: float = 0.3256,
    radius_mm: float = 7.0,
    ring_mm: float | None = None,
    length_mm: float | None = None,
    container_mm: float | None = None,
    wall_mm: float = 0.5,
    axis: str = "z",
    r1_per_mm: float = 4.0,
    r2_per_mm: float = 5.0,
    r2star: float = 15.0,
) -> Phantom:
    """A container of water with upright vials on a ring, something to scan and to calibrate with.

    Container and vials are closed cylinders along `axis`. Every surface is anti-aliased: a voxel that it cuts gets its
    share. Vial n has label n, in the order of `concentration_mm`, the first on the first voxel axis across, the others
    one after the other around the ring; the water has the label behind the last vial's.

    Parameters
    ----------
    shape : 3 int
        Grid (finer than the image's).
    acq : Acquisition
        The fine grid's voxel size, and the field strength.
    concentration_mm : sequence of float
        Concentration of each vial in mmol/L, 1 to 60 vials; 0 is water.
    molar_ppm_per_mm : float
        Susceptibility per concentration in ppm per mmol/L, SI.
    radius_mm : float
        Inner radius of a vial.
    ring_mm : float, optional
        Radius of the ring that the vials' axes stand on (default: 0.6 of the container's radius).
    length_mm, container_mm : float, optional
        Length of the vials (default: 0.6 of the grid along `axis`); radius of the container (default: 0.44 of the
        grid's shorter side across). The container is as long as 0.84 of the grid.
    wall_mm : float
        Thickness of the vials' walls, which give no signal and have the susceptibility of water.
    axis : {"x", "y", "z"}
        Voxel axis of the cylinders.
    r1_per_mm, r2_per_mm : float
        Relaxivities in 1/s per mmol/L: R1 = 0.8/s and R2* = `r2star`, and this much more in a vial.
    r2star : float
        R2* of the water or gel in 1/s.

    Returns
    -------
    Phantom
        `mask` holds the container's inside.

    Raises
    ------
    InputError
        If the vials do not fit into the container, or into each other's way.
    """
    values = [float(c) for c in concentration_mm]
    if not 1 <= len(values) <= 60 or not all(math.isfinite(c) and c >= 0 for c in values):
        raise InputError(f"concentrations {values} are not 1 to 60 numbers from 0", fix="Give them in mmol/L")
    if axis not in _AXES:
        raise InputError(f"axis {axis!r} is none of x, y, z")
    n = _AXES[axis]
    across = [a for a in range(3) if a != n]
    side = [s * d for s, d in zip(shape, acq.voxel_size_mm, strict=True)]
    container = container_mm or 0.44 * min(side[a] for a in across)
    ring = (0.6 * container if len(values) > 1 else 0.0) if ring_mm is None else ring_mm
    length = length_mm or 0.6 * side[n]
    gap = 2 * ring * math.sin(math.pi / len(values)) if len(values) > 1 else math.inf
    outer = radius_mm + wall_mm
    if not radius_mm > 0 or ring + outer >= container or gap <= 2 * outer or length >= 0.84 * side[n]:
        raise InputError(
            f"{len(values)} vials of {radius_mm:g} mm radius and {length:g} mm length do not fit on a ring of {ring:g} mm "
            f"in a container of {container:g} mm",
            fix="Give smaller vials, or a larger grid",
        )
    p = np.meshgrid(
        *((np.arange(s) - (s - 1) / 2) * d for s, d in zip(shape, acq.voxel_size_mm)),
        indexing="ij",
        sparse=True,
    )
    h = float(np.prod(acq.voxel_size_mm)) ** (1 / 3)

    def share(centre: tuple[float, float], radius: float, long_mm: float) -> np.ndarray:
        """Part of each voxel inside a closed cylinder, to first order."""
        rho = np.sqrt((p[across[0]] - centre[0]) ** 2 + (p[across[1]] - centre[1]) ** 2)
        round_, flat = (
            np.clip(0.5 + (radius - rho) / h, 0, 1),
            np.clip(0.5 + (long_mm / 2 - np.abs(p[n])) / h, 0, 1),
        )
        return np.asarray(round_ * flat, np.float32)

    water = share((0.0, 0.0), container, 0.84 * side[n])
    chi = (1 - water) * np.float32(AIR_PPM)
    m0 = water.copy()
    r1, r2 = np.full(shape, 0.8, np.float32), np.full(shape, r2star, np.float32)
    mask = water > 0.999
    labels = np.where(mask, len(values) + 1, 0).astype(np.uint8)
    table = {"air": (0, AIR_PPM)}
    for i, c in enumerate(values):
        angle = 2 * math.pi * i / len(values)
        centre = (ring * math.cos(angle), ring * math.sin(angle))
        inside = share(centre, radius_mm, length)
        m0 -= share(centre, outer, length + 2 * wall_mm) - inside
        chi += inside * np.float32(molar_ppm_per_mm * c)
        r1 += inside * np.float32(r1_per_mm * c)
        r2 += inside * np.float32(r2_per_mm * c)
        labels[inside >= 0.5] = i + 1
        table[f"vial {i + 1}: {c:g} mmol/L"] = (i + 1, molar_ppm_per_mm * c)
    table["water"] = (len(values) + 1, 0.0)
    return Phantom(chi, np.maximum(m0, 0), r1, r2, labels, table, mask, acq.voxel_size_mm, acq.b0_t)


def vial_rows(
    scan: SimulatedScan, concentration_mm: Sequence[float], molar_ppm_per_mm: float
) -> list[dict[str, Any]]:
    """One row of `COLUMNS` a vial of a scanned phantom, in the order of the labels."""
    numbers = range(1, len(concentration_mm) + 1)
    places = ndimage.center_of_mass(np.ones(scan.labels.shape, np.uint8), scan.labels, numbers)
    rows = []
    for n, c, place in zip(numbers, concentration_mm, places, strict=True):
        row: dict[str, Any] = {"label": n, "concentration_mm": float(c), "chi_ppm": molar_ppm_per_mm * c}
        for axis, index, size in zip("xyz", place, scan.acq.voxel_size_mm, strict=True):
            row[f"{axis}_mm"] = round(float(index) * size, 2)
        rows.append(row)
    return rows
