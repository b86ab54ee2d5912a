r"""What a voxel of a scan is made of along one of its axes: weights of the isotropic samples, from the profile's spectrum.

With samples :math:`x_j` at distances h that stand for the band-limited function they are samples of, the value at z is
:math:`\sum_j x_j\, h \int_{|f| < 1/2h} H(f)\, e^{2\pi i f (z - z_j)}\, df`. H is the profile's transfer function for voxels of size d:

* ``kspace``: 1 below 1/(2d), 0 above: a phase- or frequency-encoded axis, whose k-space ends there. Over a field of view of n
  voxels it is periodic (Dirichlet's kernel).
* ``boxcar``: sinc(f d), an ideal slice.
* ``gaussian``: a slice whose full width at half maximum is d.
"""

from __future__ import annotations

import numpy as np

from chimap.errors import InputError

PROFILES = ("kspace", "boxcar", "gaussian")


def weights(z: np.ndarray, size: float, fine: np.ndarray, profile: str) -> np.ndarray:
    """Weights (len(z), len(fine)) float32 of isotropic samples at `fine` in voxels of `size` at `z`; all in mm, both evenly spaced.

    Samples beyond the field of view of the scan count nothing: its excitation, or oversampling, keeps them out.
    """
    if profile not in PROFILES:
        raise InputError(
            f"there is no slice profile {profile!r}", fix=f"Choose one of: {', '.join(PROFILES)}"
        )
    h = float(abs(fine[1] - fine[0])) if len(fine) > 1 else size
    distance = z[:, None] - fine[None, :]
    if profile == "kspace":
        out = _dirichlet(distance / max(size, h), len(z)) if size >= h * (1 - 1e-6) else np.sinc(distance / h)
        out *= h / max(size, h)
    else:
        f = (np.arange(512) + 0.5) / 512 / (2 * h)
        transfer = (
            np.sinc(f * size) if profile == "boxcar" else np.exp(-((np.pi * f * size) ** 2) / (4 * np.log(2)))
        )
        out = np.zeros_like(distance)
        for one, at in zip(transfer, f, strict=True):
            out += one * np.cos(2 * np.pi * at * distance)
        out /= 512
    low, high = min(z[0], z[-1]) - 0.5 * size, max(z[0], z[-1]) + 0.5 * size
    out[:, (fine < low - 0.51 * h) | (fine > high + 0.51 * h)] = 0
    out[np.abs(out) < 1e-6] = 0
    return np.ascontiguousarray(out, np.float32)


def interpolation(z: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Weights (len(fine), len(z)) float32 of the periodic-sinc interpolation from voxels at `z` to samples at `fine`."""
    size = float(abs(z[1] - z[0])) if len(z) > 1 else 1.0
    out = _dirichlet((fine[:, None] - z[None, :]) / size, len(z))
    low, high = min(z[0], z[-1]) - 0.51 * size, max(z[0], z[-1]) + 0.51 * size
    out[(fine < low) | (fine > high)] = 0
    out[np.abs(out) < 1e-6] = 0
    return np.ascontiguousarray(out, np.float32)


def _dirichlet(u: np.ndarray, n: int) -> np.ndarray:
    """Periodic sinc over n samples; for even n the highest frequency counts half on either side."""
    below = np.tan(np.pi * u / n) if n % 2 == 0 else np.sin(np.pi * u / n)
    whole = np.abs(np.sin(np.pi * u / n)) < 1e-9
    return np.where(whole, 1.0, np.sin(np.pi * u) / np.where(whole, 1, n * below))


def selection(matrix: np.ndarray) -> slice | None:
    """The part of the samples that `matrix` picks one by one, None if it does more than that."""
    rows, columns = matrix.shape
    first = int(np.argmax(matrix[0]))
    if first + rows > columns:
        return None
    expected = np.zeros_like(matrix)
    expected[np.arange(rows), first + np.arange(rows)] = 1
    return slice(first, first + rows) if np.abs(matrix - expected).max() < 1e-4 else None
