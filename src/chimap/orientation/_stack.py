"""The fields of several orientations as one problem: working grid, dipoles, and weights on a common scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.box import Box, working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.noise import data_weights
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Stack:
    """Fields and squared weights (at most 1, ``(typical/s)^2``) on the working grid, one dipole an orientation.

    `inside` is where any of the fields is valid.
    """

    box: Box
    kernels: list[Volume]
    fields: list[Volume]
    weights: list[Volume]
    inside: Mask
    typical: float
    voxel_size: tuple[float, float, float]

    @classmethod
    def of(
        cls,
        fields: Sequence[Volume],
        masks: Sequence[Mask],
        acqs: Sequence[Acquisition],
        noise: Sequence[Volume | None],
        noise_ppm: float,
        noise_floor: float,
    ) -> Stack:
        """The problem of local fields in one frame.

        Fields that are known on the whole grid are taken as periodic; others get empty space around them.
        """
        union = np.logical_or.reduce(list(masks))
        whole = all(m.all() for m in masks)
        box = Box.around(union, 0, fast=False) if whole else working_box(union, acqs[0])
        found = [data_weights(m, n, noise_ppm, noise_floor) for m, n in zip(masks, noise, strict=True)]
        typical = min(s for _, s in found)
        return cls(
            box=box,
            kernels=[dipole_kernel(box.shape, acqs[0].voxel_size_mm, a.b0_dir) for a in acqs],
            fields=[box.crop(f) for f in fields],
            weights=[box.crop(w) * np.float32((typical / s) ** 2) for w, s in found],
            inside=box.crop(union),
            typical=typical,
            voxel_size=acqs[0].voxel_size_mm,
        )

    @property
    def uniform(self) -> bool:
        """Whether every voxel of the grid weighs the same in each orientation."""
        return all(float(w.min()) == float(w.max()) > 0 for w in self.weights)

    def power(self, shares: Sequence[float] | None = None) -> Volume:
        """Half-spectrum of the sum of the squared dipoles, each times its share."""
        total = np.zeros_like(self.kernels[0])
        for n, kernel in enumerate(self.kernels):
            total += np.float32(1 if shares is None else shares[n]) * kernel * kernel
        return total

    def mean_weights(self) -> list[float]:
        """Mean weight of each orientation where any is valid."""
        return [float(w[self.inside].mean(dtype=np.float64)) for w in self.weights]

    def predicted(self, spectrum: np.ndarray, n: int) -> Volume:
        """The field in orientation `n` of a map given as its half-spectrum."""
        return irfftn(spectrum * self.kernels[n], self.box.shape)

    def back(self, volumes: Sequence[Volume]) -> np.ndarray:
        """Half-spectrum of the sum of the volumes, each through its dipole."""
        total: np.ndarray | None = None
        for kernel, volume in zip(self.kernels, volumes, strict=True):
            part = rfftn(volume)
            part *= kernel
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        return total
