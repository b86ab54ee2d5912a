"""Background field removal: a network corrects the local field of PDF where sources on both sides of the mask's edge mix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from chimap.background._learned_inputs import CHANNELS, CONDITIONS, learned_inputs
from chimap.learning.export import export_onnx
from chimap.learning.synthetic.outside import total_sample
from chimap.learning.tasks.base import Batch, Panel, Sample, Task, roughness, turned
from chimap.learning.unet import UNet


class Background(Task):
    """Train a U-Net to tell how much background PDF has left in the local field (and how much it took too much).

    [data] shape = [56, 56, 56]
    [network] widths = [16, 32, 64, 96]
    """

    def __init__(self, data, network):  # type: ignore[no-untyped-def]
        super().__init__(data, network)
        self.shape = tuple(self.data.get("shape", (56, 56, 56)))
        self.widths = tuple(self.settings.get("widths", (16, 32, 64, 96)))

    def sample(self, rng: np.random.Generator) -> Sample:
        """A random object in random surroundings, prepared as inference prepares a scan."""
        s = total_sample(rng, self.shape)
        prepared = learned_inputs(s.total_ppm, s.mask, s.acq, noise=s.noise_ppm, magnitude=s.magnitude)
        box = prepared.box
        # Noise is no business of this network: what it is to find is the background that is left, which is smooth.
        clean = box.crop(s.local_ppm)
        left = prepared.local_ppm - (box.crop(s.total_ppm) - box.crop(s.background_ppm))
        size = [n // 8 * 8 + 8 for n in clean.shape]
        fit = [(0, n - m) for n, m in zip(size, clean.shape, strict=True)]
        scale, inside = np.float32(prepared.scale), prepared.channels[6]
        return {
            "channels": np.pad(prepared.channels, [(0, 0), *fit]).astype(np.float16),
            "left": np.pad(left * inside / scale, fit).astype(np.float32),
            "local": np.pad(clean * inside / scale, fit).astype(np.float32),
            "b0": np.array(s.acq.b0_dir, np.float32),
            "voxel": np.array(s.acq.voxel_size_mm, np.float32),
        }

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Axes swapped and mirrored together with B0; the sign of all fields turned at times."""
        out = turned(sample, rng, ("channels", "left", "local"), ("b0", "voxel"))
        if rng.random() < 0.3:
            signs = np.array([-1, -1, -1, 1, 1, 1, 1], out["channels"].dtype).reshape(-1, 1, 1, 1)
            out.update(channels=out["channels"] * signs, left=-out["left"], local=-out["local"])
        return out

    def model(self) -> nn.Module:
        """Fresh weights, which correct nothing."""
        return UNet(len(CHANNELS), 1, self.widths, conditions=CONDITIONS)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Error of the local field, of its differences to neighbours, relative to that before and to the field itself."""
        predicted, mask = self._predicted(model, batch)
        size = mask.sum()
        left, local = (_centred(batch[k], mask) for k in ("left", "local"))
        norm = (local**2).sum().sqrt() + 1e-3 * size.sqrt()
        first = (left**2).sum().sqrt()
        # Between the error against the field and that against the first one's: neither hopeless nor easy samples rule.
        unit = (norm * (first + 0.02 * norm)).sqrt()
        mean = unit / size.sqrt()
        d = _centred(predicted - left, mask)
        rough = roughness(d)
        total = (d**2).sum().sqrt() / unit + 0.5 * d.abs().sum() / size / mean + 0.2 * rough / size / mean
        return total, {
            "nrmse": 100 * float((d.detach() ** 2).sum().sqrt() / norm),
            "nrmse_start": 100 * float(first / norm),
        }

    def _predicted(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        channels = batch["channels"].float()
        x, y, z = batch["b0"]
        conditions = torch.cat(
            [torch.stack([x * x, y * y, z * z, x * y, y * z, x * z]), batch["voxel"].log()]
        )
        mask = channels[6]
        return model(channels[None], conditions[None])[0, 0].float() * mask, mask

    def panels(self, model: nn.Module, batch: Batch) -> list[Panel]:
        """Truth, first local field, result, and the errors of both, in a middle plane."""
        with torch.no_grad():
            predicted, mask = self._predicted(model, batch)
        at = mask.shape[2] // 2
        cut = lambda v: v[:, :, at].float().cpu().numpy()  # noqa: E731
        left, local = batch["left"], batch["local"]
        return [
            ("truth", cut(local), (-4, 4)),
            ("PDF", cut(local + left), (-4, 4)),
            ("result", cut(local + left - predicted), (-4, 4)),
            ("error of PDF", cut(left), (-2, 2)),
            ("error", cut(left - predicted), (-2, 2)),
            ("depth", cut(batch["channels"][4]), (0, 2)),
        ]

    def export(self, model: nn.Module, path: Path) -> None:
        """One graph of two inputs: the channels, and the vector of direction and voxel size."""
        example = (torch.zeros(1, len(CHANNELS), 16, 16, 16), torch.zeros(1, CONDITIONS))
        export_onnx(model, example, path, ["channels", "conditions"], ["left"])


def _centred(field: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The field less its mean: the receiver's frequency leaves that open."""
    return (field - (field * mask).sum() / mask.sum()) * mask
