"""Inversion by one multiplication in k-space: what the closed-form methods share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.types import Mask, Volume


def divide(
    field: Volume,
    mask: Mask,
    acq: Acquisition,
    inverse: Callable[[Volume, int], Volume],
    passes: int,
) -> Volume:
    """Multiply the field's spectrum by ``inverse(dipole kernel, length of the halved axis)``, in one or more passes.

    The local field does not end at the mask; the map inside makes field outside, which one orientation's data do not
    hold. Every pass after the first puts it there: the field outside the mask is that of the last pass's map, set to
    0 outside the mask. The result stays a linear function of the field. A pass costs one pair of transforms, and one more
    for the field of the map.
    """
    if passes < 1:
        raise InputError(f"{passes} passes asked for", fix="Give 1 or more")
    box = working_box(mask, acq)
    kernel = dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)
    factor = inverse(kernel, box.shape[2])
    inside = box.crop(mask)
    data = box.crop(field)
    for done in range(passes):
        spectrum = rfftn(data)
        spectrum *= factor
        chi = irfftn(spectrum, box.shape)
        chi *= inside
        if done + 1 < passes:
            spectrum = rfftn(chi)
            spectrum *= kernel
            made = irfftn(spectrum, box.shape)
            np.copyto(data, made, where=~inside)
    return box.restore(chi)


def mean_of_half_spectrum(values: Volume, n: int) -> float:
    """Mean over the whole spectrum: inner planes of the halved axis, of length `n` in real space, stand for two."""
    twice = values[..., 1 : (n + 1) // 2].sum(dtype=np.float64)
    total = values.sum(dtype=np.float64) + twice
    return float(total / (values.shape[0] * values.shape[1] * n))
