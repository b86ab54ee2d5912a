"""Sums over volumes that are the same for any number of threads."""

from __future__ import annotations

import numpy as np

from chimap.types import Volume


def dot(a: Volume, b: Volume) -> float:
    """Sum of the products, plane by plane in float64: float32 sums drift, and BLAS sums depend on its threads."""
    return float(sum(np.multiply(p, q, dtype=np.float64).sum() for p, q in zip(a, b, strict=True)))


def weighted_energy(a: Volume, weight: Volume) -> float:
    """Weighted sum of squares, likewise."""
    return float(sum((np.multiply(p, p, dtype=np.float64) * q).sum() for p, q in zip(a, weight, strict=True)))
