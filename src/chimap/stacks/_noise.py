"""The noise of a complex image from the image itself."""

from __future__ import annotations

import numpy as np

_BLOCK = 6


def noise_sd(image: np.ndarray) -> float:
    """Standard deviation of the noise in the real (and in the imaginary) part; 0 for an image without any.

    Second differences along all three axes keep the size of white noise and leave little of anatomy; of their root mean
    squares over blocks of 6 voxels a side the second percentile is taken, which lies in air or in even tissue. Blocks with
    voxels that are exactly 0 (cut away by an export) are left out.
    """
    d = image
    for axis in range(3):
        n = d.shape[axis]
        if n >= 3:
            a, b, c = (d[(slice(None),) * axis + (slice(s, n - 2 + s),)] for s in range(3))
            d = (a - 2 * b + c) / np.float32(np.sqrt(6))
    inner = tuple(slice(1, n - 1) if n >= 3 else slice(None) for n in image.shape)
    power = (d.real**2 + d.imag**2) / 2
    gone = image[inner] == 0
    size = [min(_BLOCK, n) for n in power.shape]
    cut = tuple(slice(0, n // b * b) for n, b in zip(power.shape, size))
    shape = [v for n, b in zip(power.shape, size) for v in (n // b, b)]
    mean = power[cut].reshape(shape).mean((1, 3, 5), dtype=np.float64)
    whole = ~gone[cut].reshape(shape).any((1, 3, 5))
    return float(np.sqrt(np.percentile(mean[whole], 2))) if whole.any() else 0.0
