"""Low-pass filters that the high-pass methods share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.errors import InputError
from chimap.numerics.fft import frequencies
from chimap.types import Volume


def gaussian_spectrum(fwhm_mm: float, shape: Sequence[int], voxel: Sequence[float]) -> Volume:
    """Half-spectrum of a Gaussian of the given full width at half maximum, with sum 1."""
    sigma = fwhm_mm / np.sqrt(8 * np.log(2))
    x, y, z = (np.exp(-2 * (np.pi * sigma * f) ** 2) for f in frequencies(shape, voxel))
    return (x * y * z).astype(np.float32)


def check_size(size_mm: float, voxel: Sequence[float]) -> None:
    """Raise `InputError` for a filter that averages over less than two voxels."""
    if not size_mm >= 2 * max(voxel):
        raise InputError(
            f"size_mm is {size_mm:g} but voxels are up to {max(voxel):g} mm",
            fix="Give at least two voxels' width",
        )
