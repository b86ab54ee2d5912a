"""What lies around a part of the head: does bone, then scalp follow?"""

from __future__ import annotations

import numpy as np

from chimap.masking._surface import icosphere
from chimap.types import Mask, Volume

_REACH_MM = 30.0


def layered(volume: Volume, brain: Mask, voxel: np.ndarray, noise: float) -> float:
    """Share of the directions from the middle of `brain` in which dark, then bright follows within 30 mm of it.

    `volume` has tissue at 1, and its noise at `noise`.
    """
    rays = icosphere(3)[0]
    centre = np.argwhere(brain).mean(0)
    steps = np.arange(0.0, 160.0, 0.5 * float(voxel.min()))
    where = centre[:, None, None] + (rays / voxel).T[:, :, None] * steps
    index = np.rint(where).astype(np.intp)
    seen = np.ones(index.shape[1:], bool)
    for a, n in enumerate(volume.shape):
        seen &= (index[a] >= 0) & (index[a] < n)
        np.clip(index[a], 0, n - 1, out=index[a])
    within = brain[tuple(index)] & seen
    value = np.where(seen, volume[tuple(index)], np.float32(0))
    last = within.shape[1] - 1 - np.argmax(within[:, ::-1], axis=1)
    reach = int(_REACH_MM / (steps[1] - steps[0]))
    dark_below = max(0.3, noise + 0.2 * (1 - noise))
    found = 0
    for ray in range(len(rays)):
        beyond = value[ray, last[ray] + 1 : last[ray] + 1 + reach]
        dark = np.flatnonzero(beyond < dark_below)
        if dark.size and (beyond[dark[0] :] > dark_below + 0.1).any():
            found += 1
    return found / len(rays)
