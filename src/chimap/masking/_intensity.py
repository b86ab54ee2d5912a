"""What the magnitude says before any shape is fitted: echoes combined, coarse grid, sensitivity, levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume


@jit("void(int64, int64, float32[:,:,:,::1], float32[:,:,::1])")
def _combine(start, stop, echoes, out):  # pragma: no cover - compiled
    n = echoes.shape[0]
    for x in range(start, stop):
        for y in range(echoes.shape[2]):
            for z in range(echoes.shape[3]):
                s = np.float32(0)
                for e in range(n):
                    s += echoes[e, x, y, z] * echoes[e, x, y, z]
                out[x, y, z] = np.sqrt(s / np.float32(n))


def combined(magnitude: Volume) -> Volume:
    """Root mean square over the echoes: near sinuses, where only early echoes have signal, it holds on."""
    echoes = np.ascontiguousarray(np.moveaxis(magnitude, 3, 0))
    out: Volume = np.empty(echoes[0].shape, np.float32)
    slabs(_combine, out.shape[0], echoes, out)
    if not out.any():
        raise InputError("the magnitude is zero everywhere", fix="Give the magnitude images")
    return out


def block_mean(volume: Volume, factors: Sequence[int]) -> Volume:
    """Means over blocks of `factors` voxels; the last, incomplete block is filled by repeating the edge."""
    short = [(-n) % f for n, f in zip(volume.shape, factors, strict=True)]
    if any(short):
        volume = np.pad(volume, [(0, s) for s in short], mode="edge")
    out = volume
    for axis, f in enumerate(factors):
        if f > 1:
            shape = (*out.shape[:axis], out.shape[axis] // f, f, *out.shape[axis + 1 :])
            out = out.reshape(shape).mean(axis + 1, dtype=np.float32)
    return np.ascontiguousarray(out, dtype=np.float32)


def spread(coarse: np.ndarray, factors: Sequence[int], where: Sequence[slice]) -> np.ndarray:
    """The coarse grid's values, one block each, on the part `where` of the fine grid."""
    index = [np.arange(s.start, s.stop) // f for s, f in zip(where, factors, strict=True)]
    return coarse[np.ix_(*index)]


def smooth(volume: Volume, sigma_mm: float, voxel_size_mm: Sequence[float] | np.ndarray) -> Volume:
    """Gaussian smoothing with the standard deviation in mm."""
    sigma = [sigma_mm / h for h in voxel_size_mm]
    return ndimage.gaussian_filter(volume, sigma, mode="nearest", truncate=3.0)


def sensitivity(
    volume: Volume, mask: Mask, sigma_mm: float, voxel_size_mm: Sequence[float] | np.ndarray
) -> Volume:
    """Smooth signal level of the tissue in `mask`, continued outside it (normalised convolution)."""
    # What is this smooth is known from a grid of a third of the width.
    factors = [
        max(1, min(n, int(sigma_mm / 3 / h))) for n, h in zip(volume.shape, voxel_size_mm, strict=True)
    ]
    weight = block_mean(mask.astype(np.float32), factors)
    signal = block_mean(np.where(mask, volume, np.float32(0)), factors)
    voxel = [f * h for f, h in zip(factors, voxel_size_mm, strict=True)]
    level = np.zeros_like(signal)
    total = np.zeros_like(signal)
    # Wider kernels take over where the narrow one sees no tissue.
    for width, trust in ((1.0, 1.0), (3.0, 1e-3)):
        level += np.float32(trust) * smooth(signal, sigma_mm * width, voxel)
        total += np.float32(trust) * smooth(weight, sigma_mm * width, voxel)
    tiny = np.float32(1e-6)
    level = (level + tiny * np.float32(volume[mask].mean())) / (total + tiny)
    return ndimage.affine_transform(
        level,
        [1 / f for f in factors],
        offset=[0.5 / f - 0.5 for f in factors],
        output_shape=volume.shape,
        order=1,
        mode="nearest",
    )


def levels(volume: Volume) -> dict[str, Any]:
    """Noise floor, signal level and the threshold between them, from the histogram.

    Two classes by Otsu's criterion (doi:10.1109/TSMC.1979.4310076) on the square root of the signal, which
    evens out the widths of noise and tissue. When the lower class is not clearly darker than the upper there
    is no background in the volume, and only what is darker than a fifth of the signal counts as noise.
    """
    values = volume[volume > 0]
    if values.size == 0:
        raise InputError("the magnitude is zero everywhere", fix="Give the magnitude images")
    top = float(np.percentile(values, 99.5))
    counts, edges = np.histogram(np.sqrt(np.clip(values, 0, top)), bins=256, range=(0, top**0.5))
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)[:-1].astype(float)
    above = values.size - below
    first = np.cumsum(counts * centres)
    difference = (first[-1] - first[:-1]) / np.maximum(above, 1) - first[:-1] / np.maximum(below, 1)
    cut = float(edges[1 + int(np.argmax(below * above * difference**2))]) ** 2
    low = float(np.median(values[values <= cut])) if (values <= cut).any() else 0.0
    high = float(np.median(values[values > cut])) if (values > cut).any() else top
    background = low < 0.4 * high or values.size < 0.7 * volume.size
    if low >= 0.4 * high:
        low = 0.0
        high = float(np.median(values))
    return {"noise": low, "signal": high, "threshold": low + 0.2 * (high - low), "background": background}


def decay(
    magnitude: Volume, te_s: Sequence[float], sigma_mm: float, voxel_size_mm: Sequence[float] | np.ndarray
) -> Volume:
    """Rough R2* in 1/s from the mean of the early and that of the late echoes, smoothed first.

    Sensitivity cancels, so one threshold holds for the whole head.
    """
    echoes = np.moveaxis(magnitude, 3, 0)
    half = (len(te_s) + 1) // 2
    early = smooth(echoes[:half].mean(0), sigma_mm, voxel_size_mm)
    late = smooth(echoes[len(te_s) - half :].mean(0), sigma_mm, voxel_size_mm)
    gap = np.mean(te_s[len(te_s) - half :]) - np.mean(te_s[:half])
    tiny = np.float32(1e-6 * float(early.max()) + 1e-30)
    np.log(np.maximum(early, tiny) / np.maximum(late, tiny), out=early)
    early /= np.float32(gap)
    return early
