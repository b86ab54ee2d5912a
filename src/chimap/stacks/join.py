"""Thick-slice stacks of one head joined into one isotropic volume (super-resolution)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.stacks import _phase, _profile
from chimap.stacks._model import Model, apply, model
from chimap.stacks._motion import register
from chimap.stacks._noise import noise_sd
from chimap.stacks._solve import solve
from chimap.stacks.scan import Grid, Motion, Stack, isotropic
from chimap.types import Mask, Progress, Volume, silent

_COMMON = 1.4
"""Width of the resolution that all stacks are brought to for comparison, in thicknesses of the thickest slice."""


@dataclass(frozen=True)
class Joined:
    """One multi-echo scan made of several.

    Attributes
    ----------
    phase, magnitude : (x, y, z, echo) float32
        Wrapped phase in rad and magnitude, on the new grid.
    affine : (4, 4) float
        Voxel indices to scanner coordinates in mm, of the head's place in the first scan.
    acq : Acquisition
        Echo times, field strength, and the new grid's voxel size and B0 direction.
    motion : list of Motion
        Where the head lay in each scan, against the first.
    noise : list of float
        Standard deviation of the noise of each scan's first echo, in units of its magnitude.
    gain : list of float
        Signal of each scan over that of the first.
    coverage : (x, y, z) uint8
        How many scans' fields of view hold a voxel.
    """

    phase: Volume
    magnitude: Volume
    affine: np.ndarray
    acq: Acquisition
    motion: list[Motion]
    noise: list[float]
    gain: list[float]
    coverage: np.ndarray


def join_stacks(
    stacks: Sequence[Stack],
    acq: Acquisition,
    *,
    voxel_mm: float | None = None,
    regularisation: float = 0.3,
    estimate_motion: bool = True,
    phase_smoothing_mm: float = 6.0,
    rounds: int = 4,
    iterations: int = 12,
    progress: Progress = silent,
) -> Joined:
    r"""Join thick-slice stacks of one head, in different orientations or shifted, into one isotropic multi-echo scan.

    Each stack is modelled as what its scan would have seen of the isotropic volume: the head moved rigidly, its phase
    turned by the coils and the shim of that scan, averaged over the slice profile along each axis. The complex volume
    whose stacks come nearest to the measured ones, each weighted by its noise, is found for each echo, with a Huber total
    variation that fills in what no stack resolves.

    Parameters
    ----------
    stacks : sequence of Stack
        Two or more, of the same echoes. The first one's axes, and the head's place in it, are those of the result.
    acq : Acquisition
        Echo times and field strength.
    voxel_mm : float, optional
        Edge of the new voxels. Default: the smallest edge of all stacks' voxels.
    regularisation : float
        Weight of the total variation, in standard deviations of the noise: 0 for none, 1 smooths visibly.
    estimate_motion : bool
        Find the rigid motion between the stacks; otherwise the affines are trusted.
    phase_smoothing_mm : float
        Standard deviation of the Gaussian that says how smooth the phase between two stacks is.
    rounds, iterations : int
        Updates of the total variation's weights, and steps of conjugate gradients after each.
    progress : callable

    Returns
    -------
    Joined

    Raises
    ------
    InputError
        If there are fewer than two stacks, their echoes differ in number, or their fields of view do not overlap.

    Notes
    -----
    Super-resolution by a model of the slices: Gholipour, Estroff and Warfield 2010, doi:10.1109/TMI.2010.2051680; stacks in several
    orientations against shifted ones: Nicastro et al. 2022, doi:10.3389/fnins.2022.1044510. Limits: phase that differs between
    stacks on a scale below `phase_smoothing_mm` (the field of tissue whose angle to B0 has changed) is averaged, not
    modelled; three orthogonal 3-D stacks of voxels three times as long as wide measure 70 % of the isotropic k-space, its
    corners are the regularisation's. Peak memory: about 12 complex volumes of the new grid, and the stacks.
    """
    _check(stacks, acq)
    size = min(min(s.voxel_size_mm) for s in stacks) if voxel_mm is None else float(voxel_mm)
    if not size > 0:
        raise InputError(f"voxel size {size} mm", fix="Give more than 0 mm")
    grid = isotropic(stacks[0], size)
    thick = max(max(s.voxel_size_mm) for s in stacks)
    coarse = grid.resampled(max(size, thick / 2))
    steps, done = len(stacks) + acq.echoes * rounds, 0
    problem = _Problem(
        stacks, grid, coarse, _COMMON * thick, [Motion(centre_mm=_mm(grid.centre_mm)) for _ in stacks]
    )
    for s in range(1, len(stacks)):
        if estimate_motion:
            problem.find_motion(s)
        progress(s, steps, stage="motion")
    problem.find_gains()
    out = np.empty((2, acq.echoes, *grid.shape), np.float32)
    for e in range(acq.echoes):
        done = len(stacks) + e * rounds
        told = lambda n, at=done: progress(at + n, steps, stage="join")  # noqa: E731
        setup = problem.setup(e, phase_smoothing_mm)
        x = problem.joined(setup, regularisation, rounds, iterations, told) * setup.common
        np.abs(x, out=out[0, e])
        np.arctan2(x.imag, x.real, out=out[1, e])
    z = grid.affine[2, :3] / size
    return Joined(
        phase=np.moveaxis(out[1], 0, -1),
        magnitude=np.moveaxis(out[0], 0, -1),
        affine=grid.affine,
        acq=acq.with_(voxel_size_mm=(size,) * 3, b0_dir=_mm(z)),
        motion=problem.motions,
        noise=problem.noise,
        gain=problem.gains,
        coverage=np.asarray(sum(inside(s, grid, m) * np.uint8(1) for s, m in zip(stacks, problem.motions))),
    )


def _check(stacks: Sequence[Stack], acq: Acquisition) -> None:
    if len(stacks) < 2:
        raise InputError(f"{len(stacks)} stack is given", fix="Give two or more of one head")
    for n, s in enumerate(stacks):
        if s.phase.shape[3] != acq.echoes:
            raise InputError(
                f"stack {n + 1} has {s.phase.shape[3]} echoes but there are {acq.echoes} echo times"
            )


def _mm(v: np.ndarray) -> tuple[float, float, float]:
    return float(v[0]), float(v[1]), float(v[2])


@dataclass(frozen=True)
class _Setup:
    """Of one echo: noise of the result where all stacks tell of it, weights of the stacks, and phases on the new grid."""

    echo: int
    level: float
    trust: list[float]
    shares: list[float]
    common: np.ndarray
    turns: list[np.ndarray]


class _Problem:
    """The stacks with what is found out about them on the way."""

    def __init__(
        self, stacks: Sequence[Stack], grid: Grid, coarse: Grid, width: float, motions: list[Motion]
    ):
        self.stacks, self.grid, self.coarse, self.motions = stacks, grid, coarse, motions
        # As if all stacks had the same, round voxels; a cut in k-space would ring along the axes of the grid.
        self.shrink = [
            _profile.weights(
                coarse.positions(a) - coarse.positions(a).mean(),
                width,
                grid.positions(a) - grid.positions(a).mean(),
                "gaussian",
            )
            for a in range(3)
        ]
        self.models = [self._model(s) for s in range(len(stacks))]
        self.noise = [max(noise_sd(s.echo(0)), 1e-5 * float(s.magnitude[..., 0].max())) for s in stacks]
        self.gains = [1.0] * len(stacks)

    def _model(self, s: int) -> Model:
        stack = self.stacks[s]
        return model(stack.shape, stack.affine, stack.profile, self.grid, self.motions[s])

    def low(self, s: int, e: int) -> np.ndarray:
        """Echo e of stack s on the coarse grid, where the head lies as in the first stack as far as that is known."""
        return apply(self.shrink, self.models[s].lift(self.stacks[s].echo(e)))

    def find_motion(self, s: int) -> None:
        """Register stack s to the first, both at the resolution that they have in common."""
        nowhere = Motion(centre_mm=self.motions[s].centre_mm)
        valid = inside(self.stacks[s], self.coarse, nowhere) & inside(self.stacks[0], self.coarse, nowhere)
        if valid.sum() < 100:
            raise InputError(
                f"the fields of view of stacks 1 and {s + 1} hardly overlap",
                fix="Give stacks of the same part of the head",
            )
        fixed, moved = np.abs(self.low(0, 0)), np.abs(self.low(s, 0))
        self.motions[s] = register(fixed, moved, self.coarse, valid)
        self.models[s] = self._model(s)

    def find_gains(self) -> None:
        """Signal of each stack against the first, where both have much."""
        first = np.abs(self.low(0, 0))
        for s in range(1, len(self.stacks)):
            other = np.abs(self.low(s, 0))
            bright = (first > 0.3 * np.percentile(first, 98)) & (other > 0)
            if bright.any():
                self.gains[s] = float(np.median(other[bright] / first[bright]))

    def setup(self, e: int, smoothing_mm: float) -> _Setup:
        """Phases and weights of an echo."""
        noise = [n / g for n, g in zip(self.noise, self.gains)]
        fraction = [self.grid.voxel_mm**3 / float(np.prod(s.voxel_size_mm)) for s in self.stacks]
        trust = np.array([q / n**2 for q, n in zip(fraction, noise)])
        level = float(trust.sum()) ** -0.5
        low = [self.low(s, e) / np.float32(g) for s, g in enumerate(self.gains)]
        sigma = smoothing_mm / self.coarse.voxel_mm
        turns = [_phase.between(x, low[0], sigma) for x in low]
        turns[0] = np.ones_like(low[0])
        # The common phase too: what is left to be smoothed has next to none.
        mean = sum(np.float32(w * level**2) * x * t.conj() for w, x, t in zip(trust, low, turns))
        common = _phase.onto(_phase.unit(_phase.smooth(np.asarray(mean), 0.5)), self.coarse, self.grid)
        fine = [common * _phase.onto(t, self.coarse, self.grid) for t in turns]
        shares = [level**2 / n**2 for n in noise]
        return _Setup(e, level, [float(w) * level**2 for w in trust], shares, common, fine)

    def joined(
        self, setup: _Setup, regularisation: float, rounds: int, iterations: int,
        told: Callable[[int], None],
    ) -> np.ndarray:  # fmt: skip
        """The complex image of an echo, its common phase taken out."""
        data = [s.echo(setup.echo) / np.float32(g) for s, g in zip(self.stacks, self.gains)]
        start = np.zeros(self.grid.shape, np.complex64)
        for w, m, y, c in zip(setup.trust, self.models, data, setup.turns):
            start += np.float32(w) * m.lift(y) * c.conj()
        return solve(
            self.models, data, setup.turns, setup.shares, start, lam=regularisation * setup.level,
            delta=0.5 * setup.level, rounds=rounds, iterations=iterations, tolerance=1e-3, told=told,
        )  # fmt: skip


def inside(stack: Stack, grid: Grid, motion: Motion) -> Mask:
    """Where the head's voxels on `grid` lie in the field of view of a stack."""
    to = np.linalg.inv(stack.affine) @ motion.matrix @ grid.affine
    index = [
        np.arange(n, dtype=np.float32).reshape([-1 if b == a else 1 for b in range(3)])
        for a, n in enumerate(grid.shape)
    ]
    out = np.ones(grid.shape, bool)
    for row, n in zip(to[:3], stack.shape):
        at = row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]
        out &= (at > -0.5 - 1e-3) & (at < n - 0.5 + 1e-3)
    return out
