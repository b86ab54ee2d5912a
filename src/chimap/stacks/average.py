"""Repeats of one protocol averaged as complex images, motion and drift of the phase taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.stacks import _profile
from chimap.stacks._drift import Drift, drift
from chimap.stacks._model import apply
from chimap.stacks._motion import between, register
from chimap.stacks._noise import noise_sd
from chimap.stacks.join import inside
from chimap.stacks.scan import Grid, Motion, Stack
from chimap.types import Progress, Volume, silent

_COARSE_MM = 2.0


@dataclass(frozen=True)
class Averaged:
    """One multi-echo scan made of repeats.

    Attributes
    ----------
    phase, magnitude : (x, y, z, echo) float32
        Wrapped phase in rad and magnitude, on the grid of the first repeat and of its scale.
    motion, drift : list
        Where the head lay in each repeat, and how its phase had drifted, both against the first.
    noise, gain, weights : list of float
        Noise of each repeat's first echo (standard deviation, in units of its magnitude), its signal over that of the first, and its
        share in the average (they add up to 1).
    aligned : list of (phase, magnitude)
        Each repeat by itself after the corrections, if asked for.
    """

    phase: Volume
    magnitude: Volume
    motion: list[Motion]
    drift: list[Drift]
    noise: list[float]
    gain: list[float]
    weights: list[float]
    aligned: list[tuple[Volume, Volume]]


def average_repeats(
    repeats: Sequence[Stack],
    acq: Acquisition,
    *,
    estimate_motion: bool = True,
    correct_drift: bool = True,
    keep_aligned: bool = False,
    progress: Progress = silent,
) -> Averaged:
    r"""Average complex repeats of one protocol with correction of rigid motion and of drifting phase, weighted by their SNR.

    Each repeat is moved back to the place of the first by Fourier-interpolated shears (white noise stays white), its phase is freed
    from a drift :math:`a + b \cdot r + 2\pi T_E (f + g \cdot r)` against the first, and the repeats are averaged as complex
    numbers with weights :math:`1/\sigma^2`. From three repeats on, :math:`\sigma^2` is what the differences of all pairs say of each, so that a
    repeat spoilt by motion counts less; with two it is the noise.

    Parameters
    ----------
    repeats : sequence of Stack
        Two or more, of the same grid size, voxel size and echoes. Places may differ by about a centimetre and ten degrees.
    acq : Acquisition
        Echo times.
    estimate_motion, correct_drift : bool
        Switch off what is known not to be there.
    keep_aligned : bool
        Return the corrected repeats too, for test and retest.
    progress : callable

    Returns
    -------
    Averaged

    Raises
    ------
    InputError
        If there are fewer than two repeats, or they differ in grid, voxel size or echoes.

    Notes
    -----
    Shears: Welling, Eddy and Young 2006, doi:10.1016/j.gmod.2005.11.004. Motion within a repeat stays. Where the head's angle to B0
    has changed, its own field has too: what the drift leaves is `residual_rad`.
    """
    _check(repeats, acq)
    first = repeats[0]
    work = _Coarse(first)
    motions = [Motion(centre_mm=work.centre) for _ in repeats]
    drifts = [Drift() for _ in repeats]
    noise = [max(noise_sd(r.echo(0)), 1e-6 * float(r.magnitude[..., 0].max())) for r in repeats]
    gains = [1.0] * len(repeats)
    low = [work.low(first, e) for e in range(acq.echoes)]
    for n, repeat in enumerate(repeats[1:], 1):
        mine = [work.low(repeat, e) for e in range(acq.echoes)]
        if estimate_motion:
            motions[n] = work.motion(low[0], mine[0], repeat)
        back = between(work.shape, work.affine(repeat), work.affine(first), _reverse(motions[n]))
        mine = [back.forward(x) for x in mine]
        size, other = np.abs(low[0]), np.abs(mine[0])
        bright = (size > 0.3 * np.percentile(size, 98)) & (other > 0)
        gains[n] = float(np.median(other[bright] / size[bright])) if bright.any() else 1.0
        if correct_drift:
            drifts[n] = drift([a * b.conj() for a, b in zip(mine, low)], acq.te_s, work.voxel)
        progress(n, len(repeats) + acq.echoes, stage="motion")
    variance = [(s / g) ** 2 for s, g in zip(noise, gains)]
    if len(repeats) > 2:
        variance = _excess(_aligned(repeats, 0, acq.te_s[0], motions, drifts, gains), variance)
    share = np.array([1 / v for v in variance])
    share /= share.sum()
    out = np.empty((2, acq.echoes, *first.shape), np.float32)
    kept = [np.empty_like(out) for _ in repeats] if keep_aligned else []
    covered = sum(
        w * inside(r, Grid(first.shape, first.affine), m) for w, r, m in zip(share, repeats, motions)
    )
    covered = np.maximum(np.asarray(covered, np.float32), np.float32(share[0] * 0.5))
    for e in range(acq.echoes):
        total = np.zeros(first.shape, np.complex64)
        for n, x in enumerate(_aligned(repeats, e, acq.te_s[e], motions, drifts, gains)):
            total += np.float32(share[n]) * x
            if keep_aligned:
                kept[n][0, e], kept[n][1, e] = np.abs(x), np.angle(x)
        total /= covered
        out[0, e], out[1, e] = np.abs(total), np.angle(total)
        progress(len(repeats) + e, len(repeats) + acq.echoes, stage="average")
    return Averaged(
        phase=np.moveaxis(out[1], 0, -1),
        magnitude=np.moveaxis(out[0], 0, -1),
        motion=motions,
        drift=drifts,
        noise=noise,
        gain=gains,
        weights=[float(w) for w in share],
        aligned=[(np.moveaxis(k[1], 0, -1), np.moveaxis(k[0], 0, -1)) for k in kept],
    )


def _check(repeats: Sequence[Stack], acq: Acquisition) -> None:
    if len(repeats) < 2:
        raise InputError(f"{len(repeats)} repeat is given", fix="Give two or more of one protocol")
    first = repeats[0]
    for n, r in enumerate(repeats):
        if r.phase.shape[3] != acq.echoes:
            raise InputError(
                f"repeat {n + 1} has {r.phase.shape[3]} echoes but there are {acq.echoes} echo times"
            )
        if r.shape != first.shape or not np.allclose(r.voxel_size_mm, first.voxel_size_mm, rtol=1e-3):
            raise InputError(
                f"repeat {n + 1} has grid {r.shape} with voxels of {r.voxel_size_mm} mm, the first {first.shape} with "
                f"{first.voxel_size_mm} mm",
                fix="Give repeats of one protocol; scans of different grids are joined by chimap join",
            )


def _aligned(repeats, e, te_s, motions, drifts, gains):  # type: ignore[no-untyped-def]
    """One repeat after the other of echo e: in the place of the first, without drift, of its scale."""
    first = repeats[0]
    for r, m, d, g in zip(repeats, motions, drifts, gains):
        x = between(first.shape, r.affine, first.affine, _reverse(m)).forward(r.echo(e))
        for f in d.factors(first.shape, first.voxel_size_mm, te_s):
            x *= f.conj()
        x /= np.float32(g)
        yield x


def _reverse(motion: Motion) -> Motion:
    """The motion back: from the place in a repeat to that in the first."""
    from scipy.spatial.transform import Rotation

    inverse = np.linalg.inv(motion.matrix)
    turn = np.rad2deg(Rotation.from_matrix(inverse[:3, :3]).as_rotvec())
    centre = np.asarray(motion.centre_mm)
    shift = inverse[:3, 3] - centre + inverse[:3, :3] @ centre
    return Motion(tuple(map(float, shift)), tuple(map(float, turn)), motion.centre_mm)  # type: ignore[arg-type]


def _excess(images, floor: list[float]) -> list[float]:  # type: ignore[no-untyped-def]
    """Variance of each repeat from the differences of all pairs, at least that of the noise."""
    images = list(images)
    size = np.abs(images[0])
    bright = size > 0.2 * np.percentile(size, 98)
    rows, right = [], []
    for i in range(len(images)):
        for j in range(i + 1, len(images)):
            d = (images[i] - images[j])[bright]
            rows.append([float(k in (i, j)) for k in range(len(images))])
            right.append(float((np.abs(d) ** 2).mean(dtype=np.float64)) / 2)
    found = nnls(np.array(rows), np.array(right))[0]
    return [max(float(v), f) for v, f in zip(found, floor)]


class _Coarse:
    """Repeats at about 2 mm, where motion and drift are found."""

    def __init__(self, first: Stack):
        voxel = np.array(first.voxel_size_mm)
        self.voxel = np.maximum(voxel, _COARSE_MM)
        extent = voxel * first.shape
        shape = np.maximum(1, np.ceil(extent / self.voxel - 1e-6)).astype(int)
        self.shape = tuple(int(v) for v in shape)
        self.native, self.size = np.array(first.shape), voxel
        self.matrices = []
        for n, h, m, d in zip(first.shape, voxel, shape, self.voxel):
            at, fine = (np.arange(m) - (m - 1) / 2) * d, (np.arange(n) - (n - 1) / 2) * h
            self.matrices.append(_profile.weights(at, 1.4 * float(max(d, h)), fine, "gaussian"))
        self.first = first
        x, y, z = first.affine[:3, :3] @ ((self.native - 1) / 2) + first.affine[:3, 3]
        self.centre = (float(x), float(y), float(z))

    def low(self, repeat: Stack, e: int) -> np.ndarray:
        return apply(self.matrices, repeat.echo(e))

    def affine(self, repeat: Stack) -> np.ndarray:
        out = repeat.affine.copy()
        out[:3, :3] = repeat.affine[:3, :3] / self.size * self.voxel
        middle = repeat.affine[:3, :3] @ ((self.native - 1) / 2) + repeat.affine[:3, 3]
        out[:3, 3] = middle - out[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        return out

    def motion(self, fixed: np.ndarray, moved: np.ndarray, repeat: Stack) -> Motion:
        grid = Grid(self.shape, self.affine(self.first))  # type: ignore[arg-type]
        valid = inside(self.first, Grid(self.shape, self.affine(repeat)), Motion(centre_mm=self.centre))  # type: ignore[arg-type]
        return register(np.abs(fixed), np.abs(moved), grid, valid, own=self.affine(repeat))
