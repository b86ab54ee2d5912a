r"""Drift of the phase from one repeat to another: constant and linear in space, each constant and linear in echo time.

:math:`\phi = a + b \cdot r + 2\pi T_E (f + g \cdot r)`: a and b from coils, pulses and gradient delays, f and g from a
scanner that warms up, breathing, and a shim that is not the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chimap.types import Volume


@dataclass(frozen=True)
class Drift:
    """Phase of a repeat over that of the first; places are in mm along the voxel axes from the middle of the grid.

    Attributes
    ----------
    offset_rad, offset_rad_per_mm : float, 3 float
        At echo time 0.
    frequency_hz, frequency_hz_per_mm : float, 3 float
        What grows with the echo time; 0 for a single echo.
    residual_rad : float
        Root mean square of the phase that this leaves, weighted by the signal.
    """

    offset_rad: float = 0.0
    offset_rad_per_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    frequency_hz: float = 0.0
    frequency_hz_per_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    residual_rad: float = 0.0

    def factors(self, shape: Sequence[int], voxel_mm: Sequence[float], te_s: float) -> list[np.ndarray]:
        """exp(i phase) at an echo time as three factors, one an axis, that broadcast to the volume."""
        slope = np.asarray(self.offset_rad_per_mm) + 2 * np.pi * te_s * np.asarray(self.frequency_hz_per_mm)
        offset = self.offset_rad + 2 * np.pi * te_s * self.frequency_hz
        out = []
        for axis, place in enumerate(places(shape, voxel_mm)):
            out.append(np.exp(1j * (slope[axis] * place + (offset if axis == 0 else 0))).astype(np.complex64))
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {
            name: [float(f"{v:.5g}") for v in value] if isinstance(value, tuple) else float(f"{value:.5g}")
            for name, value in vars(self).items()
        }


def places(shape: Sequence[int], voxel_mm: Sequence[float]) -> list[np.ndarray]:
    """mm from the middle of the grid, one broadcastable array an axis."""
    return [
        ((np.arange(n) - (n - 1) / 2) * h).reshape([-1 if b == a else 1 for b in range(3)])
        for a, (n, h) in enumerate(zip(shape, voxel_mm, strict=True))
    ]


def drift(products: Sequence[np.ndarray], te_s: Sequence[float], voxel_mm: Sequence[float]) -> Drift:
    """The drift from ``repeat * conj(first)`` of each echo: complex volumes that say phase and weight in one."""
    shape = products[0].shape
    place = places(shape, voxel_mm)
    lines = np.array([_line(p, place, voxel_mm) for p in products])
    # Echo by echo the constant may have turned once more than its neighbour's.
    lines[:, 0] = np.unwrap(lines[:, 0])
    te = np.asarray(te_s, float)
    power = np.array([np.sqrt(float((np.abs(p) ** 2).sum(dtype=np.float64))) for p in products])
    if len(te) > 1:
        design = np.stack([np.ones_like(te), 2 * np.pi * te], 1) * np.sqrt(power)[:, None]
        fit = np.linalg.lstsq(design, lines * np.sqrt(power)[:, None], rcond=None)[0]
    else:
        fit = np.stack([lines[0], np.zeros(4)])
    found = Drift(_turned(fit[0, 0]), _triple(fit[0, 1:]), float(fit[1, 0]), _triple(fit[1, 1:]))
    left, total = 0.0, 1e-30
    for p, t in zip(products, te, strict=True):
        for f in found.factors(shape, voxel_mm, float(t)):
            p = p * f.conj()
        weight = np.abs(p)
        left += float((weight * np.angle(p) ** 2).sum(dtype=np.float64))
        total += float(weight.sum(dtype=np.float64))
    return Drift(**{**vars(found), "residual_rad": float(np.sqrt(left / total))})


def _line(product: np.ndarray, place: list[np.ndarray], voxel_mm: Sequence[float]) -> np.ndarray:
    """Constant and slopes in rad and rad/mm of one echo. No unwrapping: neighbours first, then the residual angle."""
    slope = np.zeros(3)
    for axis in range(3):
        n = product.shape[axis]
        if n > 1:
            a, b = (np.take(product, range(s, n - 1 + s), axis) for s in (0, 1))
            slope[axis] = np.angle((b * a.conj()).sum(dtype=np.complex128)) / voxel_mm[axis]
    weight = np.abs(product)
    out = np.array([0.0, *slope])
    for _ in range(4):
        turned = product * np.exp(-1j * sum(s * x for s, x in zip(out[1:], place, strict=True)))
        out[0] = np.angle(turned.sum(dtype=np.complex128))
        angle = np.angle(turned * np.exp(-1j * out[0]))
        out += _plane(angle, weight, place)
    return out


def _plane(angle: Volume, weight: Volume, place: list[np.ndarray]) -> np.ndarray:
    """Weighted straight line through angles."""
    columns: list[Any] = [1.0, *place]
    normal, right = np.empty((4, 4)), np.empty(4)
    for i, a in enumerate(columns):
        right[i] = float((weight * a * angle).sum(dtype=np.float64))
        for j, b in enumerate(columns):
            normal[i, j] = float((weight * a * b).sum(dtype=np.float64))
    return np.linalg.lstsq(normal, right, rcond=1e-12)[0]


def _turned(angle: float) -> float:
    return float(np.angle(np.exp(1j * angle)))


def _triple(v: np.ndarray) -> tuple[float, float, float]:
    return float(v[0]), float(v[1]), float(v[2])
