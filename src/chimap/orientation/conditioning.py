r"""How well a set of head orientations determines the susceptibility, and which further one would help most.

Each orientation sees a spatial frequency through its dipole, :math:`D_i = 1/3 - (\hat k \cdot b_i)^2`. Together they see it with
the strength :math:`s = \sqrt{\sum_i D_i^2}`, which depends on the direction of k alone: noise of the fields comes out multiplied
by 1/s, and where s is 0 nothing is known. Liu et al. 2009, doi:10.1002/mrm.21828.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.errors import InputError

FLOOR = 0.1
"""Strength below which a direction of k counts as badly known: noise and errors grow tenfold."""
SAMPLES = 20_000
Vector = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Conditioning:
    """What the directions of B0 in the head say of a susceptibility map.

    Attributes
    ----------
    number : float
        Largest over smallest strength over all directions of k: the condition number, infinite where dipoles share a zero.
    weakest : float
        Smallest strength; a single orientation has 0, three at 0, 60 and 120 degrees in a plane have 1/3.
    badly_known : float
        Share of k-space (0 to 1) whose strength is below `FLOOR`.
    noise_gain : float
        Standard deviation of the map over that of one field, for white noise, where strengths below `FLOOR` count as `FLOOR`.
    """

    number: float
    weakest: float
    badly_known: float
    noise_gain: float

    def to_dict(self) -> dict[str, float | None]:
        """Rounded, for a sidecar; None for an infinite condition number."""
        return {
            "ConditionNumber": round(self.number, 3) if np.isfinite(self.number) else None,
            "WeakestStrength": round(self.weakest, 4),
            "BadlyKnownShare": round(self.badly_known, 4),
            "NoiseGain": round(self.noise_gain, 3),
        }


def strength(k: np.ndarray, directions: Sequence[Vector] | np.ndarray) -> np.ndarray:
    """Root of the sum of squared dipoles for unit vectors `k` (..., 3) and unit vectors of B0."""
    total = np.zeros(np.shape(k)[:-1])
    for b in as_directions(directions):
        total += (1 / 3 - (np.asarray(k) @ b) ** 2) ** 2
    return np.sqrt(total)


def conditioning(directions: Sequence[Vector] | np.ndarray) -> Conditioning:
    """Condition number and noise gain of a set of B0 directions, given as vectors in one frame of the head (mm axes).

    Raises
    ------
    InputError
        If there is no direction, or one has no length.

    Notes
    -----
    Two orientations always share zeros: their cones of half-angle 54.7 degrees meet. Three in one plane at 0, 60 and 120 degrees
    have the condition number :math:`\\sqrt{33/8} = 2.03`. The extremes are those of 20 000 directions, refined.
    """
    b = as_directions(directions)
    k = half_sphere(SAMPLES)
    s = strength(k, b)
    low, high = _refined(k[s.argmin()], b, -1), _refined(k[s.argmax()], b, +1)
    number = high / low if low > 1e-4 else np.inf
    gain = float(np.sqrt(np.mean(1 / np.maximum(s, FLOOR) ** 2)))
    return Conditioning(float(number), float(low), float(np.mean(s < FLOOR)), gain)


def best_extra(
    directions: Sequence[Vector] | np.ndarray, within_deg: float = 25.0, upright: Vector | None = None
) -> tuple[tuple[float, float, float], Conditioning]:
    """The further B0 direction that lowers the noise gain most, among those that a head can take.

    Parameters
    ----------
    directions : sequence of 3 float
        Those there are, in one frame of the head.
    within_deg : float
        Largest tilt from `upright`.
    upright : 3 float, optional
        B0 in the head when it lies straight; the first direction without it.

    Returns
    -------
    direction : 3 float
    Conditioning
        Of the set with it.
    """
    b = as_directions(directions)
    if not 0 < within_deg <= 90:
        raise InputError(f"a tilt of {within_deg:g} degrees is outside 0 to 90")
    centre = b[0] if upright is None else as_directions([upright])[0]
    k = half_sphere(SAMPLES // 10)
    before = strength(k, b) ** 2
    ball = half_sphere(SAMPLES // 5)
    ball = np.where((ball @ centre)[:, None] < 0, -ball, ball)
    near = ball[ball @ centre >= np.cos(np.deg2rad(within_deg))]
    candidates = np.concatenate([near, _ring(centre, within_deg)])
    added = (1 / 3 - (k @ candidates.T) ** 2) ** 2
    cost = np.mean(1 / np.maximum(before[:, None] + added, FLOOR**2), axis=0)
    best = candidates[int(cost.argmin())]
    return (float(best[0]), float(best[1]), float(best[2])), conditioning([*b, best])


def tilt_of(direction: Vector) -> tuple[float, float]:
    """How a head lies whose B0 has this direction in its own axes (right, front, up): degrees of nod and tilt.

    Nod: chin towards the chest; tilt: crown towards the right shoulder. Turning about B0 changes nothing and does not show.
    """
    x, y, z = as_directions([direction])[0]
    if z < 0:
        x, y, z = -x, -y, -z
    # B0 in a head that nodded and was then tilted: (-sin tilt, -sin nod cos tilt, cos nod cos tilt).
    return float(np.rad2deg(np.arctan2(-y, z))), float(np.rad2deg(np.arcsin(np.clip(-x, -1, 1))))


def posture(direction: Vector) -> str:
    """`tilt_of` in words: ``crown 20 degrees to the left shoulder, chin 5 degrees down``."""
    nod, tilt = tilt_of(direction)
    words = []
    if abs(tilt) >= 1:
        words.append(f"crown {abs(tilt):.0f} degrees towards the {'right' if tilt > 0 else 'left'} shoulder")
    if abs(nod) >= 1:
        words.append(f"chin {abs(nod):.0f} degrees {'down' if nod > 0 else 'up'}")
    return ", ".join(words) or "straight"


def as_directions(directions: Sequence[Vector] | np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3); raises `InputError` for what is none."""
    b = np.asarray(directions, float)
    if b.ndim != 2 or b.shape[1] != 3 or not len(b) or not np.isfinite(b).all():
        raise InputError("B0 directions are not vectors of three numbers", fix="Give one (x, y, z) a scan")
    length = np.linalg.norm(b, axis=1, keepdims=True)
    if length.min() < 1e-6:
        raise InputError("a B0 direction has no length")
    return b / length


def half_sphere(count: int) -> np.ndarray:
    """Nearly evenly spread unit vectors with z of 0 or more (a spiral with the golden angle)."""
    n = np.arange(count) + 0.5
    z = n / count
    angle = np.pi * (1 + np.sqrt(5)) * n
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


def _ring(centre: np.ndarray, within_deg: float, count: int = 144) -> np.ndarray:
    """Directions at the largest tilt: the best one is mostly there."""
    side = np.cross(centre, np.eye(3)[int(np.abs(centre).argmin())])
    side /= np.linalg.norm(side)
    other = np.cross(centre, side)
    a = np.arange(count) * 2 * np.pi / count
    t = np.deg2rad(within_deg)
    return np.cos(t) * centre + np.sin(t) * (np.cos(a)[:, None] * side + np.sin(a)[:, None] * other)


def _refined(k: np.ndarray, b: np.ndarray, sign: int) -> float:
    """The extreme of the strength near `k`, by a search in ever smaller caps."""
    best, value = k, float(strength(k, b))
    width = 0.03
    offsets = half_sphere(60)
    for _ in range(18):
        near = np.concatenate([best + width * offsets, best - width * offsets])
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        s = strength(near, b)
        at = int((sign * s).argmax())
        if sign * s[at] > sign * value:
            best, value = near[at], float(s[at])
        else:
            width /= 2.5
    return value
