"""What the stages hand on: small frozen records of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Field:
    """The total field. `field_ppm` and its standard deviation `noise_ppm`, both (x, y, z)."""

    field_ppm: Volume
    noise_ppm: Volume | None
    mask: Mask
    offset_rad: Volume | None = None
    residual: Volume | None = None
    unwrapped_rad: Volume | None = None


@dataclass(frozen=True)
class LocalField:
    """The field of sources inside `mask`, which is where it is valid (at most the input's mask)."""

    field_ppm: Volume
    noise_ppm: Volume | None
    mask: Mask


@dataclass(frozen=True)
class Relaxation:
    """R2* in 1/s and T2* in s, 0 outside the mask."""

    r2star: Volume
    t2star: Volume
    s0: Volume | None = None


@dataclass(frozen=True)
class Susceptibility:
    """Susceptibility in ppm, relative to `reference` (name, mean and SD of the region in ppm)."""

    chi_ppm: Volume
    mask: Mask
    noise_ppm: Volume | None = None
    reference: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Separation:
    """Susceptibility of paramagnetic (0 or more) and of diamagnetic (0 or less) sources in ppm; their sum is the voxel's."""

    paramagnetic_ppm: Volume
    diamagnetic_ppm: Volume
    mask: Mask
