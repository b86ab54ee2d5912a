"""The field of a magnetic dipole: how susceptibility makes field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.fft import frequencies, irfftn, next_fast_shape, rfftn
from chimap.types import Volume


def dipole_kernel(shape: Sequence[int], voxel_size: Sequence[float], b0_dir: Sequence[float]) -> Volume:
    r"""Half-spectrum of the unit dipole, :math:`D(k) = 1/3 - (k \cdot b)^2 / |k|^2`, with :math:`D(0) = 0`.

    Parameters
    ----------
    shape : 3 int
        Shape of the real-space grid; the result has its last axis halved as in `rfftn`.
    voxel_size : 3 float
        Voxel size in mm.
    b0_dir : 3 float
        Unit vector along B0 in voxel axes.

    Returns
    -------
    float32 array, values in [-2/3, 1/3].

    Notes
    -----
    Salomir et al. 2003, doi:10.1002/cmr.b.10083; Marques and Bowtell 2005, doi:10.1002/cmr.b.20034. Along an
    axis of even length the Nyquist plane holds +k and -k at once, so there the cross terms of an
    oblique B0 cancel; they are averaged, which keeps the operator real and symmetric.
    """
    f = frequencies(shape, voxel_size)
    k2 = f[0] ** 2 + f[1] ** 2 + f[2] ** 2
    k2[0, 0, 0] = 1
    squares = sum((b * fa) ** 2 for b, fa in zip(b0_dir, f, strict=True))
    # At a Nyquist frequency the sign is undefined: the odd factor averages to zero.
    odd = [
        np.where(np.abs(fa) >= 0.5 / d * (1 - 1e-6), np.float32(0), fa)
        for fa, d in zip(f, voxel_size, strict=True)
    ]
    b = [np.float32(v) for v in b0_dir]
    cross = 2 * (
        b[0] * b[1] * odd[0] * odd[1] + b[0] * b[2] * odd[0] * odd[2] + b[1] * b[2] * odd[1] * odd[2]
    )
    kernel = (np.float32(1 / 3) - (squares + cross) / k2).astype(np.float32)
    kernel[0, 0, 0] = 0
    return kernel


def forward_field(chi: Volume, acq: Acquisition, *, pad: float = 2.0) -> Volume:
    """Relative field in ppm (Lorentz-corrected) of a susceptibility map in ppm, by padded convolution.

    Parameters
    ----------
    chi : (x, y, z) float32
        Susceptibility in ppm. What lies outside the grid is taken as `chi` = 0, up to the periodic copies
        that the padding keeps away.
    acq : Acquisition
        Voxel size and B0 direction.
    pad : float
        Factor by which each axis is enlarged against wrap-around (1: periodic).
    """
    shape = next_fast_shape([int(np.ceil(n * pad)) for n in chi.shape])
    padded = np.zeros(shape, np.float32)
    padded[: chi.shape[0], : chi.shape[1], : chi.shape[2]] = chi
    spectrum = rfftn(padded)
    del padded
    spectrum *= dipole_kernel(shape, acq.voxel_size_mm, acq.b0_dir)
    field = irfftn(spectrum, shape)
    return np.ascontiguousarray(field[: chi.shape[0], : chi.shape[1], : chi.shape[2]])
