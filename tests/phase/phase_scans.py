"""Simulated scans with a known field, for the tests of unwrapping and echo combination."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition


@dataclass
class Scan:
    """Wrapped phase and magnitude (x, y, z, echo) with the field [ppm] and offset [rad] behind them."""

    phase: np.ndarray
    magnitude: np.ndarray
    mask: np.ndarray
    acq: Acquisition
    field: np.ndarray
    offset: np.ndarray
    sigma: float

    def true_phase(self, echo: int) -> np.ndarray:
        return self.field * self.acq.rad_per_ppm(self.acq.te_s[echo]) + self.offset


def ellipsoid(shape: tuple[int, ...], radius: float = 0.9) -> np.ndarray:
    grid = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    return sum(g**2 for g in grid) < radius**2


def scan(
    te_s: tuple[float, ...] = (0.004, 0.010, 0.016),
    *,
    shape: tuple[int, int, int] = (34, 31, 27),
    voxel: tuple[float, float, float] = (1.0, 1.1, 1.5),
    b0_t: float = 3.0,
    strength: float = 1.0,
    snr: float = 50.0,
    r2star: float = 20.0,
    offset: bool = True,
    mask: np.ndarray | None = None,
    seed: int = 1,
) -> Scan:
    """A head-like scan: a strong field on one side as over the sinuses, a curved offset, noise, decay."""
    acq = Acquisition(te_s=te_s, b0_t=b0_t, voxel_size_mm=voxel)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    field = strength * (0.7 * np.exp(-4 * ((x - 0.6) ** 2 + y**2 + (z - 0.4) ** 2)) - 0.25 * x * y + 0.05 * z)
    field = field - np.median(field)
    off = (-1.5 * (x**2 + y**2) + 0.7 * z + 0.4) if offset else np.zeros(shape)
    rng = np.random.default_rng(seed)
    sigma = 1 / snr
    te = np.array(te_s)
    signal = np.exp(-r2star * te) * np.exp(
        1j * (field[..., None] * acq.rad_per_ppm(1.0) * te + off[..., None])
    )
    noise = rng.standard_normal((2, *signal.shape)) * sigma
    signal = signal + noise[0] + 1j * noise[1]
    inside = ellipsoid(shape) if mask is None else mask
    return Scan(
        np.angle(signal).astype(np.float32),
        np.abs(signal).astype(np.float32),
        inside,
        acq,
        field.astype(np.float32),
        off.astype(np.float32),
        sigma,
    )


def steps(difference: np.ndarray) -> int:
    """Voxels that are nearer to another multiple of 2 pi than to 0, one global multiple apart."""
    turns = np.rint(difference / (2 * np.pi))
    return int((turns != np.median(turns)).sum())
