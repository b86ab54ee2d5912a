"""Dipole inversion by a plain U-Net: local field in, susceptibility out, nothing said of the scan. The baseline of learned inversions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from chimap.inversion.unet import CHANNELS, GAIN, unet_inputs
from chimap.learning.export import export_onnx
from chimap.learning.synthetic import local_sample
from chimap.learning.synthetic.measure import random_acquisition
from chimap.learning.tasks.base import Batch, Panel, Sample, Task, roughness
from chimap.learning.unet import UNet


class PlainUNet(Task):
    """Train a U-Net for fields along (about) the third axis and cubic voxels.

    [data] shape = [56, 56, 56], voxel_mm = [0.8, 2.0], tilt_deg = 15.0
    [network] widths = [16, 32, 64, 96]
    """

    def __init__(self, data, network):  # type: ignore[no-untyped-def]
        super().__init__(data, network)
        self.shape = tuple(self.data.get("shape", (56, 56, 56)))
        self.voxel_mm = tuple(self.data.get("voxel_mm", (0.8, 2.0)))
        self.tilt = float(np.deg2rad(self.data.get("tilt_deg", 15.0)))
        self.widths = tuple(self.settings.get("widths", (16, 32, 64, 96)))

    def sample(self, rng: np.random.Generator) -> Sample:
        """A random object, scanned the usual way."""
        size = float(np.exp(rng.uniform(*np.log(self.voxel_mm))))
        tilt, turn = self.tilt * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        x, y, z = np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)
        acq = replace(
            random_acquisition(rng), voxel_size_mm=(size, size, size), b0_dir=(float(x), float(y), float(z))
        )
        s = local_sample(rng, self.shape, acq=acq)
        channels, scale = unet_inputs(s.field_ppm, s.mask)
        truth = s.chi_ppm / np.float32(GAIN * scale)
        truth = np.where(s.mask, truth - truth[s.mask].mean(dtype=np.float64), 0).astype(np.float32)
        return {"channels": channels, "truth": truth}

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Mirrored, the first two axes swapped, the sign turned at times: all that leaves B0 about where it is."""
        c, t = sample["channels"], sample["truth"]
        if rng.random() < 0.5:
            c, t = c.swapaxes(1, 2), t.swapaxes(0, 1)
        mirrored = tuple(a for a in range(3) if rng.random() < 0.5)
        c, t = np.flip(c, tuple(a + 1 for a in mirrored)), np.flip(t, mirrored)
        if rng.random() < 0.15:
            c, t = c * np.array([-1, 1], np.float32).reshape(2, 1, 1, 1), -t
        return {"channels": np.ascontiguousarray(c), "truth": np.ascontiguousarray(t)}

    def model(self) -> nn.Module:
        """Fresh weights, whose map is 0."""
        return UNet(len(CHANNELS), 1, self.widths)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Absolute and squared error of the map and absolute error of its differences to neighbours, relative to the truth."""
        found, mask = self._map(model, batch)
        truth = batch["truth"]
        size = mask.sum()
        norm = (truth**2).sum().sqrt() + 1e-3 * size.sqrt()
        mean = norm / size.sqrt()
        d = found - truth
        rough = roughness(d)
        total = (d**2).sum().sqrt() / norm + 0.5 * d.abs().sum() / size / mean + 0.15 * rough / size / mean
        return total, {"nrmse": 100 * float((d.detach() ** 2).sum().sqrt() / norm)}

    def _map(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        mask = batch["channels"][1]
        out = model(batch["channels"][None])[0, 0].float() * mask
        return (out - out.sum() / mask.sum()) * mask, mask

    def panels(self, model: nn.Module, batch: Batch) -> list[Panel]:
        """Truth, field, result and error, in a middle plane."""
        with torch.no_grad():
            found, mask = self._map(model, batch)
        at = mask.shape[1] // 2
        cut = lambda v: v[:, at].float().cpu().numpy()  # noqa: E731
        truth = batch["truth"]
        return [
            ("truth", cut(truth), (-2, 2)),
            ("field", cut(batch["channels"][0]), (-4, 4)),
            ("result", cut(found), (-2, 2)),
            ("error", cut(found - truth), (-1, 1)),
        ]

    def export(self, model: nn.Module, path: Path) -> None:
        """One graph of one input."""
        export_onnx(model, (torch.zeros(1, len(CHANNELS), 16, 16, 16),), path, ["channels"], ["map"])
