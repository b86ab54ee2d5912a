"""A scan on the grid of an unrolled inversion: what its network sees of a map, and how it moves the map."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.inversion._learned_inputs import CHANNELS, GAIN, STEPS_INPUT, Inputs, residual_filter
from chimap.networks.session import Network
from chimap.networks.tiles import apply
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import convolve, irfftn, rfftn
from chimap.types import Mask, Volume


class Unrolled:
    """The part of a scan around its mask, padded for transforms, and the map so far.

    Attributes
    ----------
    box, kernel, inside
        Working grid, dipole and mask on it.
    field, weights, chi : (x, y, z) float32
        On the working grid, in units of the inputs' scale; `chi` is the map so far.
    channels : (9, x, y, z) float32
        What the network sees, on the mask's bounding box, once `look` was called.
    """

    def __init__(self, inputs: Inputs, mask: Mask, acq: Acquisition):
        self.box = working_box(mask, acq)
        self.kernel = dipole_kernel(self.box.shape, acq.voxel_size_mm, acq.b0_dir)
        self._inverse = residual_filter(self.kernel)
        self.inside = self.box.crop(mask)
        self.field, self.weights = self.box.crop(inputs.field), self.box.crop(inputs.weights)
        self.chi = self.box.crop(inputs.start)
        part = self.box.corner
        self.here = self.inside[part]
        self.channels = np.empty((CHANNELS, *self.here.shape), np.float32)
        self.channels[4] = self.weights[part]
        self.channels[5], self.channels[6] = (self.box.crop(g)[part] for g in inputs.guides)
        self.channels[8] = self.here
        self.channels[7] = np.float32(inputs.level) * self.channels[8]

    def look(self) -> np.ndarray:
        """Fill in the channels that depend on the map."""
        part, shape = self.box.corner, self.box.shape
        residual = convolve(self.chi, self.kernel)
        residual -= self.field
        residual *= self.weights
        self.channels[0] = self.chi[part]
        np.multiply(residual[part], np.float32(GAIN), out=self.channels[3])
        spectrum = rfftn(residual)
        del residual
        gradient = irfftn(spectrum * self.kernel, shape)
        np.multiply(gradient[part], np.float32(GAIN) * self.here, out=self.channels[1])
        del gradient
        spectrum *= self._inverse
        np.multiply(irfftn(spectrum, shape)[part], self.here, out=self.channels[2])
        return self.channels

    def move(self, correction: Volume) -> None:
        """Add a correction to the map, whose mean inside stays 0."""
        self.chi[self.box.corner] = moved(self.channels, correction, self.here)


def network_step(
    network: Network, channels: np.ndarray, here: Mask, step: int, steps: int, memory_gb: float
) -> tuple[Volume, Volume]:
    """The network's correction, and the inverse softplus of the scale of the error that is left."""
    vector = np.eye(steps, dtype=np.float32)[step]
    correction, error = apply(
        network, channels, memory_gb=memory_gb, mask=here, vectors={STEPS_INPUT: vector}
    )
    return correction, error


def moved(channels: np.ndarray, correction: Volume, here: Mask) -> Volume:
    """The map in the channels and a correction, 0 outside the mask, with mean 0 inside."""
    new = channels[0] + correction
    new -= np.float32(new[here].mean(dtype=np.float64))
    return new * here
