"""Quality numbers that come from fields and maps: steps of 2 pi that are left, streaks, noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.box import Box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import frequencies, rfftn
from chimap.numerics.noise import unknown_voxels
from chimap.types import Mask, Volume

CONE, FAR = 0.08, (0.35, 0.60)
"""Moduli of the dipole kernel: near the magic cone below the first, and where data are good."""
RING = (0.3, 0.95)
"""Spatial frequencies that are looked at, as a share of the coarsest axis' Nyquist frequency."""


def jumps(field_ppm: Volume, mask: Mask, acq: Acquisition, noise_ppm: Volume | None = None) -> int:
    """Pairs of neighbours between which the total field makes more than half a turn within the shortest echo spacing.

    No field that the echoes can measure does that; it is what a wrong multiple of 2 pi leaves. With one echo its own time stands for the
    spacing. Voxels whose field is known 5 times worse than that of the median voxel do not count: steep fields near air are there.
    """
    unknown = unknown_voxels(noise_ppm, mask, 5.0)
    if unknown is not None:
        mask = mask & ~unknown

    times = (0.0, *acq.te_s) if acq.echoes == 1 else acq.te_s
    limit = np.pi / acq.rad_per_ppm(float(np.diff(times).min()))
    count = 0
    for axis in range(3):
        a, b = (np.moveaxis(field_ppm, axis, 0)[k] for k in (slice(None, -1), slice(1, None)))
        m = np.moveaxis(mask, axis, 0)
        count += int(np.count_nonzero((np.abs(b - a) > limit) & m[1:] & m[:-1]))
    return count


def streak_index(chi_ppm: Volume, mask: Mask, acq: Acquisition) -> float | None:
    """Power of a map near the magic cone of k-space over its power far from it, per sample.

    Tissue has about as much power in one as in the other, streaks lie near the cone. The zones are those of the frequency analysis of
    Milovic et al. 2021, doi 10.1002/mrm.28435: modulus of the dipole kernel below 0.08, and 0.35 to 0.60. Frequencies are compared
    within rings, from which the logarithm is averaged, so that the fall of power with frequency does not count.
    """
    box: Any = Box.around(mask, 4)
    part = box.crop(chi_ppm * mask)
    inside = box.crop(mask)
    part[inside] -= part[inside].mean()
    spectrum = rfftn(part)
    power = spectrum.real**2 + spectrum.imag**2
    modulus = np.abs(dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir))
    f = frequencies(box.shape, acq.voxel_size_mm)
    radius = np.sqrt(f[0] ** 2 + f[1] ** 2 + f[2] ** 2) * np.float32(2 * max(acq.voxel_size_mm))
    ring = np.floor(10 * radius).astype(np.int32)
    use = (radius > RING[0]) & (radius < RING[1])
    ratios = []
    for n in np.unique(ring[use]):
        here = use & (ring == n)
        cone, far = here & (modulus < CONE), here & (modulus >= FAR[0]) & (modulus < FAR[1])
        if np.count_nonzero(cone) >= 20 and np.count_nonzero(far) >= 20:
            ratios.append(np.log(max(float(power[cone].mean(dtype=np.float64)), 1e-30)))
            ratios[-1] -= np.log(max(float(power[far].mean(dtype=np.float64)), 1e-30))
    return float(np.exp(np.mean(ratios))) if ratios else None


def lost_percent(part: Mask, whole: Mask) -> float:
    """How much of a mask another one has not, in percent."""
    n = int(np.count_nonzero(whole))
    return 100 * (1 - int(np.count_nonzero(part & whole)) / n) if n else 0.0
