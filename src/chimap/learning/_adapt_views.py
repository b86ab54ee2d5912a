"""A scan with some voxels hidden, taken to the last step of an unrolled inversion: what a scan learns from itself with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._learned_inputs import NOISE_FLOOR, NOISE_PPM, learned_inputs
from chimap.inversion._learned_steps import Unrolled, moved, network_step
from chimap.networks.session import Network
from chimap.numerics.box import Box
from chimap.numerics.fft import convolve
from chimap.numerics.harmonic import fill_harmonic
from chimap.numerics.noise import data_weights
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Scan:
    """What `learned` takes, with the same units: local field in ppm, mask, acquisition, magnitude, R2* in 1/s, noise in ppm."""

    field: Volume
    mask: Mask
    acq: Acquisition
    magnitude: Volume | None = None
    r2star: Volume | None = None
    noise: Volume | None = None

    def __post_init__(self) -> None:
        for name in ("field", "magnitude", "r2star", "noise"):
            volume = getattr(self, name)
            if volume is None:
                continue
            if volume.shape[:3] != self.mask.shape:
                raise InputError(f"{name} has shape {volume.shape} but the mask {self.mask.shape}")
            if not np.isfinite(volume[self.mask]).all():
                raise InputError(
                    f"{name} has values inside the mask that are NaN or infinite",
                    fix="Leave those voxels out of the mask",
                )

    def hiding(self, hidden: Mask) -> Scan:
        """The scan as if these voxels had not been measured: weight 0, and the field of what is around them.

        A weight of 0 is not enough: solvers may start from the field itself.
        """
        noise = self.noise
        if noise is None or not (noise[self.mask] > 0).any():
            # With the floor that is added to it this weighs the data as no noise map does.
            noise = self.mask * np.float32(NOISE_PPM / np.sqrt(1 + NOISE_FLOOR**2))
        return replace(
            self,
            field=fill_harmonic(self.field, hidden & self.mask, self.mask, self.acq.voxel_size_mm),
            noise=np.where(hidden, np.float32(0), noise),
        )

    def weights(self) -> Volume:
        """Squared weights of the field, 0 to 1."""
        return data_weights(self.mask, self.noise, NOISE_PPM, NOISE_FLOOR)[0]


@dataclass(frozen=True)
class View:
    """A scan with hidden voxels, at the last step. Volumes are on the mask's bounding box, in units of `scale`.

    Attributes
    ----------
    channels : (9, x, y, z) float32
        The network's input at its last step, made of the voxels that are not hidden.
    field : (x, y, z) float32
        Local field that was measured, in hidden voxels, too.
    told : (x, y, z) float32
        Squared weights of the hidden voxels that the loss looks at, 0 elsewhere.
    scale : float
        Unit in ppm.
    """

    channels: np.ndarray
    field: Volume
    told: Volume
    scale: float
    _box: Box
    _kernel: np.ndarray

    @property
    def inside(self) -> Mask:
        """The mask."""
        return self.channels[8] > 0

    def error(self, residual: Volume) -> float:
        """Root mean square of a residual over the voxels that the loss looks at, weighted."""
        return float(
            np.sqrt((self.told * residual**2).sum(dtype=np.float64) / self.told.sum(dtype=np.float64))
        )

    def residual(self, network: Network, step: int, steps: int, memory_gb: float) -> Volume:
        """Field of the map after the last step less what was measured."""
        here = self.inside
        correction, _ = network_step(network, self.channels, here, step, steps, memory_gb)
        chi = moved(self.channels, correction, here)
        whole = np.zeros(self._box.shape, np.float32)
        whole[self._box.corner] = chi
        return convolve(whole, self._kernel)[self._box.corner] - self.field


def view_of(
    scan: Scan, hidden: Mask, told: Mask, network: Network | None, steps: int, memory_gb: float
) -> View:
    """Hide voxels of a scan and take what is left through all steps but the last.

    Parameters
    ----------
    scan : Scan
    hidden : (x, y, z) bool
        Voxels that the network is not given.
    told : (x, y, z) bool
        Those of them that the loss looks at.
    network : Network or None
        Of the steps before the last; None where there are none.
    steps : int
        Number of steps with the last.
    memory_gb : float
        As of `learned`.
    """
    given = scan.hiding(hidden)
    inputs = learned_inputs(
        given.field, given.mask, given.acq, noise=given.noise, magnitude=given.magnitude, r2star=given.r2star
    )
    unrolled = Unrolled(inputs, scan.mask, scan.acq)
    box, part = unrolled.box, unrolled.box.corner
    channels = unrolled.look()
    if network is not None:
        for step in range(steps - 1):
            correction, _ = network_step(network, channels, unrolled.here, step, steps, memory_gb)
            unrolled.move(correction)
            channels = unrolled.look()
    return View(
        channels,
        box.crop(scan.field / np.float32(inputs.scale))[part],
        box.crop(np.where(told, scan.weights(), np.float32(0)))[part],
        inputs.scale,
        box,
        unrolled.kernel,
    )
