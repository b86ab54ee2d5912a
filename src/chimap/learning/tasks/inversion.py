"""Unrolled dipole inversion: steps of data consistency with the scan's own kernel, and a small network after each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from chimap.inversion._learned_inputs import CHANNELS, GAIN, learned_inputs, residual_filter
from chimap.learning.export import export_onnx
from chimap.learning.layers import Step, StepConv3d, enlarged
from chimap.learning.synthetic import local_sample
from chimap.learning.tasks.base import Batch, Panel, Sample, Task, roughness, turned
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import next_fast_shape

START_ITERATIONS = 16
"""Of the first map; inference makes more."""
PAD = 1.4
"""Enlargement of the grid for the transforms."""


class Correction(nn.Module):
    """One step's network: a small U with two halvings. Its first output corrects the map; the second is the logarithm of
    the scale of the error that is left."""

    def __init__(self, steps: int, width: int, deep: int, tail: int = 1):
        super().__init__()
        w = (width, deep, deep + deep // 3)
        self.enter = StepConv3d(steps, CHANNELS, w[0])
        self.down1 = StepConv3d(steps, w[0], w[1], 2, stride=2)
        self.mid1 = StepConv3d(steps, w[1], w[1])
        self.down2 = StepConv3d(steps, w[1], w[2], 2, stride=2)
        self.low1 = StepConv3d(steps, w[2], w[2])
        self.low2 = StepConv3d(steps, w[2], w[2])
        self.up2 = StepConv3d(steps, w[2], w[1], 1)
        self.mid2 = StepConv3d(steps, w[1], w[1])
        self.up1 = StepConv3d(steps, w[1], w[0], 1)
        self.leave = StepConv3d(steps, w[0], w[0])
        self.more = nn.ModuleList(StepConv3d(steps, w[0], w[0]) for _ in range(tail - 1))
        self.out = StepConv3d(steps, w[0], 2, 1, zero=True)

    def forward(self, x: torch.Tensor, step: Step) -> torch.Tensor:
        """(1, channels, x, y, z) to (1, 2, x, y, z); the axes are multiples of 4."""
        a = F.relu(self.enter(x, step))
        b = F.relu(self.down1(a, step))
        b = b + F.relu(self.mid1(b, step))
        c = F.relu(self.down2(b, step))
        c = c + F.relu(self.low2(F.relu(self.low1(c, step)), step))
        b = F.relu(b + enlarged(self.up2(c, step)))
        b = b + F.relu(self.mid2(b, step))
        a = F.relu(a + enlarged(self.up1(b, step)))
        a = a + F.relu(self.leave(a, step))
        for convolution in self.more:
            a = a + F.relu(convolution(a, step))
        return self.out(a, step)


class Dipole:
    """The field of a map, on a padded grid."""

    def __init__(self, kernel: torch.Tensor, grid: tuple[int, ...], shape: torch.Size):
        self.kernel, self.grid, self.shape = kernel, grid, shape

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Field of `x` in its unit; the operator is its own adjoint."""
        spectrum = torch.fft.rfftn(x, s=self.grid) * self.kernel
        return self._back(spectrum)

    def adjoints(self, residual: torch.Tensor, inverse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The dipole's adjoint of a residual, and the closed-form inversion of it."""
        spectrum = torch.fft.rfftn(residual, s=self.grid)
        return self._back(spectrum * self.kernel), self._back(spectrum * inverse)

    def _back(self, spectrum: torch.Tensor) -> torch.Tensor:
        out = torch.fft.irfftn(spectrum, s=self.grid)
        return out[: self.shape[0], : self.shape[1], : self.shape[2]]


class Inversion(Task):
    """Train `Correction` within the steps that inference makes.

    [data] shape = [56, 56, 56], sampling = {voxel = 0.65, mean = 0.35}
    [network] steps = 3, width = 16, deep = 48, tail = 1 (convolutions at full resolution before the last one)
    """

    def __init__(self, data, network):  # type: ignore[no-untyped-def]
        super().__init__(data, network)
        self.shape = tuple(self.data.get("shape", (56, 56, 56)))
        self.sampling = self.data.get("sampling")
        self.steps = int(self.settings.get("steps", 3))

    def sample(self, rng: np.random.Generator) -> Sample:
        """A random object, measured and prepared as inference prepares a scan."""
        s = local_sample(rng, self.shape, sampling=self.sampling)
        prepared = learned_inputs(
            s.field_ppm,
            s.mask,
            s.acq,
            noise=s.noise_ppm,
            magnitude=s.magnitude,
            r2star=s.r2star,
            iterations=START_ITERATIONS,
        )
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

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Axes swapped and mirrored together with B0; the sign of everything turned at times."""
        names = ("truth", "start", "field", "weights", "guides", "mask")
        out = turned(sample, rng, names, ("voxel", "b0"))
        if rng.random() < 0.15:
            out.update({k: -out[k] for k in ("truth", "start", "field")})
        return out

    def model(self) -> nn.Module:
        """Fresh weights; the first maps are those that it starts from."""
        s = self.settings
        return Correction(self.steps, int(s.get("width", 16)), int(s.get("deep", 48)), int(s.get("tail", 1)))

    def unrolled(self, model: nn.Module, batch: Batch) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The maps after each step, and the logarithm of the last one's error scale."""
        x, mask, weights = batch["start"], batch["mask"], batch["weights"]
        grid = next_fast_shape([int(np.ceil(n * PAD)) for n in x.shape])
        kernel = dipole_kernel(grid, batch["voxel"].tolist(), batch["b0"].tolist())
        dipole = Dipole(torch.from_numpy(kernel).to(x.device), grid, x.shape)
        inverse = torch.from_numpy(residual_filter(kernel)).to(x.device)
        level = batch["level"] * mask
        maps, error = [], torch.zeros_like(x)
        for step in range(self.steps):
            residual = weights * (dipole(x) - batch["field"])
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

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Relative error of all maps, most of the last, of its differences to neighbours, and how well its error is foretold."""
        maps, error = self.unrolled(model, batch)
        truth, mask = batch["truth"], batch["mask"]
        size = mask.sum()
        norm = (truth**2).sum().sqrt() + 1e-3 * size.sqrt()
        first = ((batch["start"] - truth) ** 2).sum().sqrt()
        # Between the error against the truth and that against the start's: neither hopeless nor easy samples rule.
        unit = (norm * (first + 0.02 * norm)).sqrt()
        mean = unit / size.sqrt()
        total = torch.zeros((), device=truth.device)
        for k, x in enumerate(maps):
            weight = 1.0 if k + 1 == len(maps) else 0.15
            d = x - truth
            total = total + weight * ((d**2).sum().sqrt() / unit + 0.5 * d.abs().sum() / size / mean)
        d = maps[-1] - truth
        rough = roughness(d)
        total = total + 0.5 * rough / size / mean / 3
        spread = F.softplus(error) + 0.01
        foretold = ((d.detach().abs() / spread + spread.log()) * mask).sum() / size
        total = total + 0.05 * foretold
        return total, {
            "nrmse": 100 * float((d.detach() ** 2).sum().sqrt() / norm),
            "nrmse_start": 100 * float(first / norm),
            "likelihood": float(foretold.detach()),
        }

    def panels(self, model: nn.Module, batch: Batch) -> list[Panel]:
        """Truth, first map, result, its error and the error foretold, in a middle plane."""
        with torch.no_grad():
            maps, error = self.unrolled(model, batch)
        at = batch["truth"].shape[2] // 2
        cut = lambda v: v[:, :, at].float().cpu().numpy()  # noqa: E731
        d, spread = maps[-1] - batch["truth"], (F.softplus(error) + 0.01) * batch["mask"]
        return [
            ("truth", cut(batch["truth"]), (-4, 4)),
            ("start", cut(batch["start"]), (-4, 4)),
            ("result", cut(maps[-1]), (-4, 4)),
            ("error of start", cut(batch["start"] - batch["truth"]), (-2, 2)),
            ("error", cut(d), (-2, 2)),
            ("foretold", cut(spread), (0, 2)),
        ]

    def export(self, model: nn.Module, path: Path) -> None:
        """One graph of two inputs: the channels, and a vector with a 1 at the step."""
        example = (torch.zeros(1, CHANNELS, 16, 16, 16), torch.eye(self.steps)[:1])
        export_onnx(model, example, path, ["channels", "step"], ["correction"])
