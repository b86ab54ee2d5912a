"""Real-to-complex float32 transforms of volumes with all threads, and grids that transform fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.fft

from chimap.numerics.threads import get_threads
from chimap.types import Volume


def rfftn(x: Volume, *, overwrite: bool = False) -> np.ndarray:
    """Half-spectrum (complex64, last axis halved) of a real volume."""
    return scipy.fft.rfftn(x, workers=get_threads(), overwrite_x=overwrite)


def irfftn(spectrum: np.ndarray, shape: Sequence[int], *, overwrite: bool = True) -> Volume:
    """Real volume of the given shape from its half-spectrum. The spectrum may be used as scratch space."""
    return scipy.fft.irfftn(spectrum, s=tuple(shape), workers=get_threads(), overwrite_x=overwrite)


def convolve(volume: Volume, kernel: Volume) -> Volume:
    """Periodic convolution with a kernel that is given as half-spectrum."""
    spectrum = rfftn(volume)
    spectrum *= kernel
    return irfftn(spectrum, volume.shape)


def next_fast_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The smallest shape, at least as large on each axis, whose real transform has small prime factors."""
    return tuple(scipy.fft.next_fast_len(int(n), real=True) for n in shape)


def frequencies(shape: Sequence[int], voxel_size: Sequence[float]) -> list[Any]:
    """Spatial frequencies in cycles/mm of a half-spectrum, one broadcastable float32 array an axis."""
    out = []
    for axis, (n, d) in enumerate(zip(shape, voxel_size, strict=True)):
        last = axis == len(shape) - 1
        f = (scipy.fft.rfftfreq if last else scipy.fft.fftfreq)(int(n), float(d)).astype(np.float32)
        out.append(f.reshape([-1 if a == axis else 1 for a in range(len(shape))]))
    return out
