"""What a training run needs to know of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

Sample = dict[str, np.ndarray]
Batch = dict[str, torch.Tensor]
Panel = tuple[str, np.ndarray, tuple[float, float]]
"""Title, image, and the values that are black and white."""


class Task(ABC):
    """One kind of network: its samples, its model, its loss, and how it leaves for inference.

    Samples are made in other processes from the task's own settings, so a task must be picklable and cheap to make.
    """

    def __init__(self, data: Mapping[str, Any], network: Mapping[str, Any]):
        self.data = dict(data)
        self.settings = dict(network)

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Sample:
        """One random sample, float32 or small integers."""

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, perhaps turned: called each time that it is used."""
        return sample

    @abstractmethod
    def model(self) -> torch.nn.Module:
        """The network with fresh weights."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """What is minimised, and measures for the log, of one sample."""

    @abstractmethod
    def panels(self, model: torch.nn.Module, batch: Batch) -> list[Panel]:
        """Pictures of one held-out sample."""

    @abstractmethod
    def export(self, model: torch.nn.Module, path: Path) -> None:
        """Write the model as ONNX."""


def turned(
    sample: Sample, rng: np.random.Generator, volumes: tuple[str, ...], vectors: tuple[str, ...]
) -> Sample:
    """The sample with its axes swapped and mirrored; `vectors` (3,) follow, all other entries stay.

    Volumes have their three axes last. Entries called voxel are swapped without sign.
    """
    order = rng.permutation(3)
    signs = np.where(rng.random(3) < 0.5, -1, 1)
    out = dict(sample)
    for name in volumes:
        v = sample[name]
        lead = v.ndim - 3
        v = v.transpose(*range(lead), *(lead + order))
        for a in range(3):
            if signs[a] < 0:
                v = np.flip(v, lead + a)
        out[name] = np.ascontiguousarray(v)
    for name in vectors:
        v = sample[name][order]
        out[name] = (v if name == "voxel" else v * signs).astype(sample[name].dtype)
    return out


def roughness(error: torch.Tensor) -> torch.Tensor:
    """Sum of the absolute differences to neighbours along all three axes."""
    none = torch.zeros((), device=error.device)
    return sum((torch.diff(error, dim=a).abs().sum() for a in range(3)), start=none)
