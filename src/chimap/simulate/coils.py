"""A receiver array around the head: sensitivities of its channels, and what each of them receives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from chimap.errors import InputError

_COARSE_MM = 8.0
_SEGMENTS = 24


def coil_sensitivities(
    shape: Sequence[int],
    voxel_size_mm: Sequence[float],
    *,
    channels: int = 8,
    loop_mm: float = 55.0,
    distance: float = 1.25,
    wavelength_mm: float = 500.0,
    seed: int = 0,
) -> np.ndarray:
    r"""Complex sensitivities of circular loops on an elliptic cylinder around the field of view.

    Each loop's field is that of a polygon of straight wires (Biot and Savart); what it receives is
    :math:`B_x - i B_y`, so that the phase turns with the loop's place around the head. The way from the loop adds
    the phase :math:`-2\pi r / \lambda`, and its cable a constant one.

    Parameters
    ----------
    shape : 3 int
    voxel_size_mm : 3 float
    channels : int
        Number of loops, spread over the circumference in two rings, the third axis being that of the cylinder.
    loop_mm : float
        Radius of a loop.
    distance : float
        Radius of the cylinder over half the field of view in that direction.
    wavelength_mm : float
        Wavelength in tissue: about 130 at 7 T, 260 at 3 T; the default leaves most of the phase to the loops.
    seed : int
        For the constant phases.

    Returns
    -------
    (x, y, z, channel) complex64
        Relative sensitivities, 1 on average. Each channel is contiguous.

    Raises
    ------
    InputError
        If `channels` is less than 1.
    """
    if channels < 1:
        raise InputError(f"{channels} receive channels", fix="Give 1 or more")
    half = [n * d / 2 for n, d in zip(shape, voxel_size_mm, strict=True)]
    # The field of a loop is smooth: a coarse grid, a little beyond the field of view, and splines between.
    coarse = [np.arange(-h - _COARSE_MM, h + 2 * _COARSE_MM, _COARSE_MM) for h in half]
    at = np.stack(np.meshgrid(*coarse, indexing="ij"), -1)
    where = [
        ((np.arange(n) - (n - 1) / 2) * d - c[0]) / _COARSE_MM
        for n, d, c in zip(shape, voxel_size_mm, coarse, strict=True)
    ]
    cable = np.random.default_rng([seed, 11]).uniform(-np.pi, np.pi, channels)
    out = np.empty((channels, *shape), np.complex64)
    for c in range(channels):
        angle = 2 * np.pi * (c + 0.25) / channels
        centre = np.array([np.cos(angle), np.sin(angle), 0]) * half * np.array([distance, distance, 0])
        centre[2] = half[2] * (0.4 if c % 2 else -0.4)
        received = _loop(at, centre, angle, loop_mm)
        path = np.linalg.norm(at - centre, axis=-1)
        received *= np.exp(1j * (cable[c] - 2 * np.pi * path / wavelength_mm))
        out[c].real, out[c].imag = (_refine(part, where) for part in (received.real, received.imag))
    out /= np.float32(np.mean([np.abs(s).mean(dtype=np.float64) for s in out]))
    return np.moveaxis(out, 0, -1)


def _loop(at: np.ndarray, centre: np.ndarray, angle: float, radius: float) -> np.ndarray:
    """B_x - i B_y at points (..., 3) of a circular loop that faces the axis, per unit current."""
    turn = 2 * np.pi * np.arange(_SEGMENTS + 1) / _SEGMENTS
    around = np.array([-np.sin(angle), np.cos(angle), 0])
    wire = centre + radius * (np.cos(turn)[:, None] * around + np.sin(turn)[:, None] * np.array([0, 0, 1]))
    out = np.zeros(at.shape[:-1], np.complex128)
    for a, b in zip(wire[:-1], wire[1:], strict=True):
        r = at - (a + b) / 2
        # Within a loop's conductor the field is no sensitivity: it is bounded there.
        far = np.maximum(np.linalg.norm(r, axis=-1), radius / 4) ** 3
        field = np.cross(b - a, r)
        out += (field[..., 0] - 1j * field[..., 1]) / far
    return out


def _refine(coarse: np.ndarray, where: Sequence[np.ndarray]) -> np.ndarray:
    """Cubic splines through a coarse volume, at the given indices of each axis."""
    for axis, index in enumerate(where):
        # The matrix of an interpolation along one axis is what it makes of the unit vectors.
        n = coarse.shape[axis]
        matrix = np.stack([ndimage.map_coordinates(row, [index], order=3) for row in np.eye(n)], 1)
        coarse = np.moveaxis(np.tensordot(matrix, coarse, (1, axis)), 0, axis)
    return coarse


def receive(
    echoes: np.ndarray, sensitivities: np.ndarray, *, noise_sd: float = 0.0, seed: int = 0
) -> Iterator[np.ndarray]:
    """The complex echoes (x, y, z, echo) of one channel after the other, with noise of its own.

    `sensitivities` are those of `coil_sensitivities`; `noise_sd` is the standard deviation of the noise in the
    real and in the imaginary part. Only one channel is in memory at a time.
    """
    for c in range(sensitivities.shape[3]):
        channel = np.moveaxis(echoes, 3, 0) * sensitivities[..., c]
        if noise_sd > 0:
            rng = np.random.default_rng([seed, 12, c])
            for image in channel:
                for part in (image.real, image.imag):
                    part += np.float32(noise_sd) * rng.standard_normal(part.shape, dtype=np.float32)
        yield np.moveaxis(channel, 0, 3)
