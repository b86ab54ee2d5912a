"""The steps in which a network learns from one scan: crops of it, with the field of the rest held."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from chimap.errors import InputError
from chimap.learning._adapt_views import Scan, View, view_of
from chimap.learning.tasks.inversion import PAD, Correction, Dipole
from chimap.networks.cards import Card
from chimap.networks.session import Network
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import next_fast_shape
from chimap.types import Mask, Progress

HELD_OUT = 0.1
"""Share of the voxels that neither network nor loss ever sees."""
HIDDEN = 0.1
"""Share of the voxels, other ones in each round, that the loss is of."""
PATIENCE = 2
"""Rounds without a better held-out residual after which it stops."""
MULTIPLE = 4
"""Edges that `Correction` takes are multiples of it."""


@dataclass(frozen=True)
class Settings:
    """How a scan teaches.

    Parameters
    ----------
    steps : int
        Steps in all, of one crop each.
    rounds : int
        The steps are made in so many rounds, each with other voxels hidden.
    rate : float
        Learning rate.
    crop : int
        Edge of a crop in voxels.
    seed : int
        Of voxels, crops and random weights.
    """

    steps: int
    rounds: int
    rate: float
    crop: int = 64
    seed: int = 1

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("rounds", 1), ("crop", 16), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}")


@dataclass(frozen=True)
class Learner:
    """A network that learns, with what its parts need.

    Attributes
    ----------
    net : Correction
        Its last step learns.
    parent : Network or None
        Computes the steps before.
    card : Card
        For margin and memory of the network's tiles.
    """

    net: Correction
    parent: Network | None
    card: Card
    memory_gb: float

    @property
    def steps(self) -> int:
        """Steps of the unrolled network."""
        return int(self.net.enter.weight.shape[0])

    def view(self, scan: Scan, hidden: Mask, told: Mask) -> View:
        """The scan without its hidden voxels before the last step."""
        return view_of(scan, hidden, told, self.parent, self.steps, self.memory_gb)

    def residual(self, view: View) -> np.ndarray:
        """Of the whole volume, with the weights as they are."""
        live = cast(Network, _Live(self.net, self.card))
        return view.residual(live, self.steps - 1, self.steps, self.memory_gb)


def learn(
    learner: Learner,
    scan: Scan,
    held_out: Mask,
    how: Settings,
    rng: np.random.Generator,
    progress: Progress,
) -> int:
    """Make the steps; the network is left with the weights of the lowest held-out residual. Returns the steps made."""
    net = learner.net
    last = learner.steps - 1
    check = learner.view(scan, held_out, held_out)
    lowest = check.error(learner.residual(check))
    best, since = copy.deepcopy(net.state_dict()), 0
    optimiser = torch.optim.Adam(net.parameters(), lr=how.rate)
    done = 0
    progress(0, how.steps, held_out=lowest)
    for n in range(how.rounds):
        told = scan.mask & ~held_out & (rng.random(scan.mask.shape, np.float32) < HIDDEN)
        view = learner.view(scan, held_out | told, told)
        base = learner.residual(view)
        usual = max(view.error(base), 1e-6) ** 2
        anchor = copy.deepcopy(net).requires_grad_(False)
        for _ in range((n + 1) * how.steps // how.rounds - done):
            loss = _loss(net, anchor, view, base, usual, last, _crop(view, how.crop, rng), scan)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            done += 1
            progress(done, how.steps, held_out=lowest)
        now = check.error(learner.residual(check))
        since += 1
        if now < lowest:
            lowest, best, since = now, copy.deepcopy(net.state_dict()), 0
        progress(done, how.steps, held_out=lowest)
        if since >= PATIENCE:
            break
    net.load_state_dict(best)
    return done


def _crop(view: View, edge: int, rng: np.random.Generator) -> tuple[slice, ...]:
    """A crop about a random hidden voxel, as far as the volume goes."""
    at = np.argwhere(view.told > 0)
    centre = at[rng.integers(len(at))]
    parts = []
    for c, n in zip(centre, view.told.shape, strict=True):
        start = max(0, min(int(c) - edge // 2, n - edge)) // MULTIPLE * MULTIPLE
        parts.append(slice(start, min(start + edge, n)))
    return tuple(parts)


def _loss(
    net: Correction,
    anchor: Correction,
    view: View,
    base: np.ndarray,
    usual: float,
    step: int,
    part: tuple[slice, ...],
    scan: Scan,
) -> torch.Tensor:
    """Weighted residual of the hidden voxels of a crop over the usual one, and how far the expected error moved."""
    data = view.channels[(slice(None), *part)]
    shape = data.shape[1:]
    # The network halves the grid twice.
    short = [(0, 0)] + [(0, -n % MULTIPLE) for n in shape]
    channels = torch.from_numpy(np.pad(data, short))[None]
    new, old = net(channels, step)[0], anchor(channels, step)[0]
    mask = channels[0, 8]
    change = (new - old) * mask
    # The map has mean 0 over the mask: what shifts all of it changes nothing.
    shift = change[0].sum() / mask.sum().clamp(min=1)
    grid = next_fast_shape([int(np.ceil(n * PAD)) for n in change.shape[1:]])
    kernel = dipole_kernel(grid, scan.acq.voxel_size_mm, scan.acq.b0_dir)
    field = Dipole(torch.from_numpy(kernel), grid, change.shape[1:])(change[0] - shift * mask)
    residual = torch.from_numpy(base[part]) + field[: shape[0], : shape[1], : shape[2]]
    weights = torch.from_numpy(np.ascontiguousarray(view.told[part]))
    misfit = (weights * residual**2).sum() / weights.sum().clamp(min=1e-6) / usual
    return misfit + (change[1] ** 2).sum() / mask.sum().clamp(min=1)


class _Live:
    """A network in training with the face of a loaded one, for `chimap.networks.tiles.apply`."""

    provider = "torch"

    def __init__(self, net: Correction, card: Card):
        self.net, self.card, self.name, self.file = net, card, card.name, Path(card.name)

    def require(self, channels: np.ndarray, vectors: Mapping[str, Any] | None = None) -> None:
        """All that comes here was made for it."""

    def __call__(self, channels: np.ndarray, vectors: Mapping[str, Any] | None = None) -> np.ndarray:
        step = int(np.argmax((vectors or {})["step"]))
        with torch.no_grad():
            return self.net(torch.from_numpy(np.ascontiguousarray(channels))[None], step)[0].numpy()
