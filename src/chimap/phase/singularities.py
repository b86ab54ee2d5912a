"""Singularity lines of the phase: where channels cancelled in a bad coil combination."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Residues:
    """How many elementary loops enclose a singularity, and that number per 10^5 mask voxels."""

    count: int
    per_100k: float


def phase_residues(phase: Volume, mask: Mask) -> Residues:
    r"""Count the 2 pi residues of the phase inside a mask.

    The wrapped differences around four neighbours (a 2 x 2 loop in any of the three planes) add up to 0 for the phase
    of a field sampled finely enough, wrapped or not. A sum of :math:`\pm 2\pi` is a point of a line along which the
    phase is undefined and the signal vanishes: noise makes short closed ones, channels that cancel each other long ones
    across the object, where wraps end openly (Goldstein et al., Radio Science 1988, doi 10.1029/RS023i004p00713).

    Parameters
    ----------
    phase : (x, y, z) float32
        Phase in rad, wrapped or not.
    mask : (x, y, z) bool
        Loops with all four corners in it count.

    Returns
    -------
    Residues
    """
    per_plane = np.zeros(phase.shape[0], np.int64)
    slabs(
        _count,
        phase.shape[0],
        np.ascontiguousarray(phase, np.float32),
        np.ascontiguousarray(mask, bool),
        per_plane,
    )
    count = int(per_plane.sum())
    return Residues(count, 1e5 * count / max(int(np.count_nonzero(mask)), 1))


@jit("void(int64, int64, f4[:,:,::1], b1[:,:,::1], i8[::1])")
def _count(start, stop, phase, mask, out):
    nx, ny, nz = phase.shape
    scale = 1 / (2 * math.pi)
    for i in range(start, stop):
        for j in range(ny):
            for k in range(nz):
                if not mask[i, j, k]:
                    continue
                for plane in range(3):
                    # Steps of the loop's two sides.
                    ai, aj = int(plane != 0), int(plane == 0)
                    bj, bk = int(plane == 2), int(plane != 2)
                    if i + ai >= nx or j + aj + bj >= ny or k + bk >= nz:
                        continue
                    if not (
                        mask[i + ai, j + aj, k]
                        and mask[i, j + bj, k + bk]
                        and mask[i + ai, j + aj + bj, k + bk]
                    ):
                        continue
                    a = phase[i, j, k] * scale
                    b = phase[i + ai, j + aj, k] * scale
                    c = phase[i + ai, j + aj + bj, k + bk] * scale
                    d = phase[i, j + bj, k + bk] * scale
                    # The steps' own sum is 0: what counts is how many turns were taken off them.
                    turns = math.floor(b - a + 0.5) + math.floor(c - b + 0.5)
                    turns += math.floor(d - c + 0.5) + math.floor(a - d + 0.5)
                    if turns != 0:
                        out[i] += 1
