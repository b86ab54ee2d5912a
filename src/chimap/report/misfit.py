"""How far the susceptibility map explains the field that it was made from."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.box import Box
from chimap.numerics.dipole import forward_field


def inversion_residual(
    local_ppm: np.ndarray, chi_ppm: np.ndarray, mask: np.ndarray, acq: Acquisition
) -> np.ndarray:
    """Local field minus the field of the susceptibility, (x, y, z) float32 in ppm, 0 outside the mask.

    Both (x, y, z) in ppm. Its median inside the mask is taken off: a constant field has no source in the map. What is left is
    noise, and what the regularisation of the inversion did not let into the map.
    """
    out = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return out
    # The map is 0 outside, so that its field inside is complete with padding around the mask's box.
    box = Box.around(mask, fast=False)
    inside = mask[box.inner]
    rest = local_ppm[box.inner] - forward_field(np.where(inside, chi_ppm[box.inner], np.float32(0)), acq)
    rest -= np.median(rest[inside])
    out[box.inner] = np.where(inside, rest, np.float32(0))
    return out


def residual_caption(residual_ppm: np.ndarray, mask: np.ndarray, noise_ppm: np.ndarray | None) -> str:
    """What the residual is, with its size in ppb and that of the noise where it is known."""
    text = "Local field minus the field that the susceptibility map makes. Anatomy seen here is missing in the map."
    if not mask.any():
        return text
    text += f" Standard deviation {1000 * float(residual_ppm[mask].std()):.2g} ppb"
    known = None if noise_ppm is None else noise_ppm[mask & (noise_ppm > 0)]
    if known is not None and known.size:
        text += f"; median noise of the local field {1000 * float(np.median(known)):.2g} ppb"
    return text + "."
