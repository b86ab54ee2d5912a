"""From the fine grid an object lives on to the coarser grid an image has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft

from chimap.errors import InputError
from chimap.numerics.threads import get_threads
from chimap.types import Volume


def image_shape(
    shape: Sequence[int], fine_mm: Sequence[float], image_mm: Sequence[float]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Grids whose extents agree: the fine one, enlarged as little as possible, and the image's.

    Returns
    -------
    (fine_shape, image_shape)

    Raises
    ------
    InputError
        If image voxels are smaller than the object's, or no grid within 64 more voxels fits.
    """
    fine, image = [], []
    for n, small, large in zip(shape, fine_mm, image_mm, strict=True):
        ratio = large / small
        if ratio < 1 - 1e-6:
            raise InputError(
                f"image voxels of {large:g} mm are smaller than the phantom's of {small:g} mm",
                fix="Make the phantom on a finer grid",
            )
        for m in range(int(n), int(n) + 65):
            k = round(m / ratio)
            if abs(k * ratio - m) < 1e-3 and k >= 1:
                fine.append(m)
                image.append(k)
                break
        else:
            raise InputError(
                f"image voxels of {large:g} mm and phantom voxels of {small:g} mm share no field of view",
                fix="Take a ratio such as 3/2, 2 or 3",
            )
    return (fine[0], fine[1], fine[2]), (image[0], image[1], image[2])


def crop_kspace(signal: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """What a Cartesian scan of a finely resolved signal sees: the centre of its k-space, as an image.

    Parameters
    ----------
    signal : (X, Y, Z) complex64
        Transverse magnetisation on the fine grid. It may be used as scratch space.
    shape : 3 int
        Image grid of the same extent, at most as large.

    Returns
    -------
    complex64 array of `shape`. The voxels of both grids fill the same box: voxel 0 of the image begins where voxel 0
    of the fine grid begins. Values are means over about a voxel, so intravoxel dephasing and Gibbs ringing are in.
    """
    out = signal
    for axis, m in enumerate(shape):
        n = out.shape[axis]
        if m == n:
            continue
        spectrum = scipy.fft.fft(out, axis=axis, workers=get_threads(), overwrite_x=True)
        k = scipy.fft.fftfreq(m, 1 / m).astype(int)
        spectrum = np.take(spectrum, k % n, axis=axis)
        # Image voxel 0 is centred (n / m - 1) / 2 fine voxels behind the centre of fine voxel 0.
        shift = np.exp(2j * np.pi * k * (n / m - 1) / (2 * n)) * (m / n)
        if m % 2 == 0:
            shift[m // 2] = shift[m // 2].real
        spectrum *= shift.astype(np.complex64).reshape([-1 if a == axis else 1 for a in range(3)])
        out = scipy.fft.ifft(spectrum, axis=axis, workers=get_threads(), overwrite_x=True)
    return out


def average(volume: Volume, shape: Sequence[int]) -> Volume:
    """Mean over each image voxel of a map on a finer grid of the same extent (float32)."""
    out = np.asarray(volume, np.float32)
    for axis, m in enumerate(shape):
        n = out.shape[axis]
        if m == n:
            continue
        # Mean over an interval = difference of the running integral at its ends; as few weighted planes per voxel.
        edges = np.arange(m + 1) * (n / m)
        lower = np.floor(edges[:-1] + 1e-6).astype(int)
        width = int(np.ceil(n / m)) + 1
        total = None
        for step in range(width):
            index = lower + step
            share = np.clip(np.minimum(edges[1:], index + 1) - np.maximum(edges[:-1], index), 0, None) * (
                m / n
            )
            if not (share > 1e-9).any():
                continue
            part = np.take(out, np.minimum(index, n - 1), axis=axis)
            part *= share.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        out = total
    return out


def nearest(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Value of the fine voxel that holds the centre of each image voxel (for labels)."""
    index = [
        ((np.arange(m) + 0.5) * n / m - 1e-6).astype(int) for n, m in zip(volume.shape, shape, strict=True)
    ]
    return np.ascontiguousarray(volume[np.ix_(*index)])


def enlarge(volume: np.ndarray, shape: Sequence[int], value: float | bool | int = 0) -> np.ndarray:
    """The volume in the low corner of a larger grid (itself where nothing is to be added)."""
    if tuple(volume.shape) == tuple(shape):
        return volume
    out = np.full(shape, value, volume.dtype)
    out[tuple(slice(0, n) for n in volume.shape)] = volume
    return out
