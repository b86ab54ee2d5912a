"""Values that lie far from those of the other scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LIMIT = 3.5
"""Robust z-score from which on a value is flagged (Iglewicz and Hoaglin 1993)."""

LEAST = 8
"""Fewer values than these are not judged: their MAD says too little about the spread."""


def robust_z(values: Sequence[float | None]) -> np.ndarray:
    r"""Distance of each value from the median in robust standard deviations.

    .. math:: z_i = (x_i - \mathrm{median}) / (1.4826\, \mathrm{MAD})

    with the median absolute deviation MAD, which up to half of the values cannot spoil.

    Parameters
    ----------
    values : sequence of n float or None
        None or NaN: missing.

    Returns
    -------
    (n,) float64
        NaN where a value is missing; all NaN with fewer than 8 values or a MAD of 0 (half of the values are equal): there is
        then no scale to judge by.
    """
    x = np.array([np.nan if v is None else v for v in values], float)
    known = np.isfinite(x)
    if known.sum() < LEAST:
        return np.full(x.shape, np.nan)
    median = np.median(x[known])
    mad = np.median(np.abs(x[known] - median))
    # Rounding must not make a scale out of equal values.
    if not mad > 1e-9 * max(1.0, abs(float(median))):
        return np.full(x.shape, np.nan)
    return (x - median) / (1.4826 * mad)
