"""What the methods of spherical means share: weights and one-radius kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.box import Box, whole_voxels
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import median_noise, repaired
from chimap.numerics.smv import depth_mm, reach_mm, smallest_sphere, sphere_weights, symmetric_spectrum
from chimap.types import Mask, Volume


def edge_weights(noise: Volume | None, mask: Mask, box: Box) -> Volume:
    """Weights 0 to 1 on the box's grid: 1 where the field is better known than it varies, less where it is not.

    What a fit of the background has for noise is the local field itself, which is some five times the
    usual noise; only voxels beyond that count less.
    """
    weight = box.crop(mask.astype(np.float32))
    usual = 0.0 if noise is None else median_noise(noise, mask)
    if noise is not None and usual > 0:
        weight /= 1 + (box.crop(noise) / np.float32(5 * usual)) ** 2
    return weight


@dataclass(frozen=True)
class Spheres:
    """A field on its mask's box and the means over spheres of one size; `inner` is where they lie in the mask."""

    box: Box
    field: Volume
    depth: Volume
    inner: Mask
    kernel: np.ndarray
    spectrum: Volume

    def mean(self, volume: Volume) -> Volume:
        """Mean over the sphere around every voxel."""
        spectrum = rfftn(volume)
        spectrum *= self.spectrum
        return irfftn(spectrum, self.box.shape)

    def deviation(self, volume: Volume) -> Volume:
        """What the mean leaves of a volume."""
        spectrum = rfftn(volume)
        spectrum *= 1 - self.spectrum
        return irfftn(spectrum, self.box.shape)

    def noise(self, noise: Volume | None, valid: Mask) -> Volume | None:
        """Standard deviation of a field less its mean, on the full grid."""
        if noise is None:
            return None
        variance = self.box.crop(noise * noise)
        mean = self.mean(variance)
        np.maximum(mean, 0, out=mean)
        variance += np.float32((self.kernel**2).sum()) * mean
        return self.box.restore(np.sqrt(variance) * valid)


def spheres(
    name: str,
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    noise: Volume | None,
    radius_mm: float,
    unreliable: float,
) -> Spheres:
    """Everything that methods of one radius start from. A radius below 1.25 voxels means the six neighbours.

    The radius is at most 0.6 times the depth of the mask.
    """
    voxel = acq.voxel_size_mm
    if radius_mm < min(voxel):
        raise InputError(
            f"{name} needs a radius of at least one voxel ({min(voxel):g} mm); got {radius_mm:g} mm"
        )
    # Twice the radius: what wraps around stays outside the mask.
    box = Box.around(mask, [whole_voxels(2 * radius_mm, v) for v in voxel])
    depth = box.crop(depth_mm(mask, voxel))
    radius_mm = min(radius_mm, 0.6 * float(depth.max()))  # small objects keep their inside
    kernel = smallest_sphere(voxel) if radius_mm < 1.25 * max(voxel) else sphere_weights(radius_mm, voxel)
    inner = depth > reach_mm(kernel, voxel) * (1 + 1e-6)
    if not inner.any():
        raise InputError(
            f"no voxel of the mask has all its neighbours inside, so nothing is left for {name}",
            fix="Give a mask of the whole object",
        )
    field = box.crop(repaired(total_field, noise, mask, unreliable, voxel))
    return Spheres(box, field, depth, inner, kernel, symmetric_spectrum(kernel, box.shape))
