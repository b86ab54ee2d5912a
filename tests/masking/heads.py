"""A small head of ellipsoid shells: scalp, skull, CSF, brain with ventricles, a neck, and noise."""

from __future__ import annotations

import numpy as np

from chimap import Acquisition


def small_head(voxel=(3.0, 3.0, 3.0), te_s=(0.005, 0.015), snr=40.0, shading=0.0, seed=0):
    """Magnitude (x, y, z, echo), the brain with its CSF (bool) and the acquisition."""
    size = (180.0, 216.0, 216.0)
    shape = [round(s / v) for s, v in zip(size, voxel, strict=True)]
    x, y, z = (
        g * v - s / 2 + v / 2 for g, v, s in zip(np.indices(shape).astype(float), voxel, size, strict=True)
    )
    z = z - 10

    def ellipsoid(a, b, c, at=(0.0, 0.0, 0.0)):
        return ((x - at[0]) / a) ** 2 + ((y - at[1]) / b) ** 2 + ((z - at[2]) / c) ** 2 <= 1

    neck = (x**2 + (y + 15) ** 2 <= 50**2) & (z < -55)
    canal = (x**2 + (y + 15) ** 2 <= 9**2) & (z < -40)
    # proton density with T1 weighting, R2* in 1/s
    pd = np.zeros(shape)
    r2s = np.full(shape, 20.0)
    for where, density, rate in (
        (neck | ellipsoid(84, 104, 92), 0.7, 25.0),
        (ellipsoid(78, 98, 86), 0.06, 100.0),
        (ellipsoid(70, 90, 78) | canal, 0.6, 2.0),
        (ellipsoid(67, 87, 75), 1.0, 20.0),
        (ellipsoid(12, 25, 10), 0.6, 2.0),
    ):
        pd[where] = density
        r2s[where] = rate
    brain = ellipsoid(70, 90, 78)
    bias = 1 + shading * (y / 108 + 0.5 * x / 90)
    rng = np.random.default_rng(seed)
    echoes = []
    for t in te_s:
        signal = pd * bias * np.exp(-t * r2s)
        noise = rng.standard_normal((2, *shape)) / snr
        echoes.append(np.hypot(signal + noise[0], noise[1]))
    acq = Acquisition(te_s, 3.0, voxel_size_mm=voxel)
    return np.stack(echoes, -1).astype(np.float32), brain, acq


def overlap(mask, truth):
    """Dice, and the missed and the extra voxels as shares of the truth."""
    both = (mask & truth).sum()
    total = truth.sum()
    return 2 * both / (mask.sum() + total), 1 - both / total, (mask.sum() - both) / total
