"""From wrapped phase to susceptibility: the unrolled inversion, with the background estimated anew between its steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from chimap.inversion._learned_inputs import GAIN, residual_filter
from chimap.inversion._learned_phase_inputs import phase_inputs
from chimap.inversion.learned_phase import OUTSIDE_STEPS, WEAKEST
from chimap.learning.synthetic.echoes import echo_sample
from chimap.learning.tasks.base import Batch, Sample
from chimap.learning.tasks.inversion import PAD, Dipole, Inversion
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import next_fast_shape


class PhaseInversion(Inversion):
    """Train the networks of `Inversion` on what wrapped phase gives.

    [data] shape = [48, 48, 48], least_voxel_mm = 0.8
    [network] steps = 2, width = 16, deep = 36
    """

    def __init__(self, data: Any, network: Any):
        super().__init__(data, network)
        self.shape = tuple(self.data.get("shape", (48, 48, 48)))
        self.steps = int(self.settings.get("steps", 2))
        self.least_voxel_mm = float(self.data.get("least_voxel_mm", 0.8))

    def sample(self, rng: np.random.Generator) -> Sample:
        """A random scan, prepared as inference prepares it."""
        s = echo_sample(rng, self.shape, snr=(20.0, 200.0), least_voxel_mm=self.least_voxel_mm, careful=True)
        magnitude = s.magnitude if rng.random() < 0.9 else None
        prepared, _ = phase_inputs(s.phase, magnitude, s.mask, s.acq)
        truth = s.chi_ppm / np.float32(prepared.scale)
        truth = np.where(s.mask, truth - truth[s.mask].mean(dtype=np.float64), 0).astype(np.float32)
        return {
            "truth": truth,
            "start": prepared.start,
            "field": prepared.field,
            "weights": prepared.weights,
            "guides": prepared.guides,
            "mask": s.mask.astype(np.float32),
            "level": np.array([prepared.level], np.float32),
            "voxel": np.array(s.acq.voxel_size_mm, np.float32),
            "b0": np.array(s.acq.b0_dir, np.float32),
        }

    def unrolled(self, model: nn.Module, batch: Batch) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The maps after each step, and the logarithm of the last one's error scale."""
        x, mask, weights = batch["start"], batch["mask"], batch["weights"]
        grid = next_fast_shape([int(np.ceil(n * PAD)) for n in x.shape])
        spectrum = dipole_kernel(grid, batch["voxel"].tolist(), batch["b0"].tolist())
        kernel = torch.from_numpy(spectrum).to(x.device)
        inverse = torch.from_numpy(residual_filter(spectrum)).to(x.device)
        dipole = Dipole(kernel, grid, x.shape)
        background = Outside(kernel, grid, weights, mask)
        level = batch["level"] * mask
        maps, error = [], torch.zeros_like(x)
        for step in range(self.steps):
            misfit = dipole(x) - batch["field"]
            residual = weights * (misfit + background(-misfit))
            gradient, meant = (v * mask for v in dipole.adjoints(residual, inverse))
            channels = torch.stack(
                [x, GAIN * gradient, meant, GAIN * residual, weights, *batch["guides"], level, mask]
            )
            out = model(channels[None], step)[0].float()
            x = (x + out[0]) * mask
            x = (x - x.sum() / mask.sum()) * mask
            maps.append(x)
            error = out[1]
        return maps, error


class Outside:
    """The field of sources outside the mask, and a constant, that comes nearest to a given one: a few steps of conjugate gradients.

    No gradient of the training passes through it.
    """

    def __init__(
        self, kernel: torch.Tensor, grid: tuple[int, ...], weights: torch.Tensor, mask: torch.Tensor
    ):
        self.kernel, self.grid = kernel, grid
        self.inner = tuple(slice(0, n) for n in weights.shape)
        self.weights = torch.zeros(grid, device=weights.device)
        self.weights[self.inner] = weights
        self.beyond = torch.ones(grid, device=weights.device)
        self.beyond[self.inner] -= mask
        dipole = torch.fft.irfftn(kernel.to(torch.complex64), s=grid)
        spectrum = torch.fft.rfftn(self.weights) * torch.fft.rfftn(dipole * dipole)
        curved = torch.fft.irfftn(spectrum, s=grid)
        self.scale = self.beyond / torch.clamp(curved, min=WEAKEST * float(curved.max()))

    def _convolved(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfftn(torch.fft.rfftn(x) * self.kernel, s=self.grid)

    @torch.no_grad()
    def __call__(self, field: torch.Tensor) -> torch.Tensor:
        """Nearest field on the inner grid."""
        padded = torch.zeros(self.grid, device=field.device)
        padded[self.inner] = field
        mean = (self.weights * padded).sum() / self.weights.sum().clamp(min=1e-12)
        r = self.beyond * self._convolved(self.weights * (padded - mean))
        x, z = torch.zeros_like(r), self.scale * r
        p, rz = z.clone(), (r * z).sum()
        for _ in range(OUTSIDE_STEPS):
            if rz <= 0:
                break
            q = self.beyond * self._convolved(self.weights * self._convolved(p))
            step = rz / (p * q).sum().clamp(min=1e-20)
            x = x + step * p
            r = r - step * q
            z = self.scale * r
            rz, before = (r * z).sum(), rz
            p = z + (rz / before) * p
        return (self._convolved(x) + mean)[self.inner]
