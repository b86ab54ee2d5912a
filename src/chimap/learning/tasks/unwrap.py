"""Unwrapping: how many turns a wrapped step between two neighbours lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from chimap.learning.export import export_onnx
from chimap.learning.layers import enlarged
from chimap.learning.synthetic.echoes import echo_sample
from chimap.learning.tasks.base import Batch, Panel, Sample, Task, turned
from chimap.phase._edge_channels import CHANNELS, CLASSES, edge_channels, steps_to_next


class EdgeNet(nn.Module):
    """Logits of -1, 0 and 1 turns for the step to the next voxel of each axis: a small U with two halvings."""

    def __init__(self, width: int, deep: int):
        super().__init__()
        w = (width, deep, deep + deep // 3)
        self.enter = nn.Conv3d(CHANNELS, w[0], 3, padding=1)
        self.down1 = nn.Conv3d(w[0], w[1], 2, stride=2)
        self.mid1 = nn.Conv3d(w[1], w[1], 3, padding=1)
        self.down2 = nn.Conv3d(w[1], w[2], 2, stride=2)
        self.low1 = nn.Conv3d(w[2], w[2], 3, padding=1)
        self.low2 = nn.Conv3d(w[2], w[2], 3, padding=1)
        self.up2 = nn.Conv3d(w[2], w[1], 1)
        self.mid2 = nn.Conv3d(w[1], w[1], 3, padding=1)
        self.up1 = nn.Conv3d(w[1], w[0], 1)
        self.leave = nn.Conv3d(w[0], w[0], 3, padding=1)
        self.out = nn.Conv3d(w[0], 3 * CLASSES, 1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.copy_(torch.tensor([-4.0, 0.0, -4.0] * 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, channels, x, y, z) to (1, 9, x, y, z), axis by axis; edges are multiples of 4."""
        a = F.relu(self.enter(x))
        b = F.relu(self.down1(a))
        b = b + F.relu(self.mid1(b))
        c = F.relu(self.down2(b))
        c = c + F.relu(self.low2(F.relu(self.low1(c))))
        b = F.relu(b + enlarged(self.up2(c)))
        b = b + F.relu(self.mid2(b))
        a = F.relu(a + enlarged(self.up1(b)))
        a = a + F.relu(self.leave(a))
        return self.out(a)


class Unwrap(Task):
    """Train `EdgeNet` on single echoes of random scans.

    [data] shape = [56, 56, 56], soft = 1.0
    [network] width = 20, deep = 36
    """

    def __init__(self, data, network):  # type: ignore[no-untyped-def]
        super().__init__(data, network)
        self.shape = tuple(self.data.get("shape", (56, 56, 56)))
        self.soft = float(self.data.get("soft", 1.0))

    def sample(self, rng: np.random.Generator) -> Sample:
        """A random scan and its true turns."""
        s = echo_sample(rng, self.shape, soft=self.soft)
        turns = np.rint((s.true_phase - s.phase) / (2 * np.pi)).astype(np.int16)
        return {
            "phase": np.moveaxis(s.phase, 3, 0).copy(),
            "magnitude": np.moveaxis(s.magnitude, 3, 0).copy(),
            "turns": np.moveaxis(turns, 3, 0).copy(),
            "mask": s.mask,
            "te": np.array(s.acq.te_s, np.float32),
        }

    def augment(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Any of its echoes, with or without another one; axes swapped and mirrored, the sign turned."""
        s = turned(sample, rng, ("phase", "magnitude", "turns", "mask"), ())
        count = len(s["te"])
        echo = int(rng.integers(count))
        other = None
        if rng.random() < 0.7:
            other = int(rng.choice([e for e in (echo - 1, echo + 1) if 0 <= e < count]))
        sign = np.float32(rng.choice([-1, 1]))
        return self.prepared(s, echo, other, sign)

    def prepared(self, s: Sample, echo: int, other: int | None, sign: np.float32) -> Sample:
        """Channels and labels of one echo."""
        phase, mask = sign * s["phase"][echo], s["mask"]
        turns = (sign * s["turns"][echo]).astype(np.float32)
        channels = edge_channels(
            phase,
            s["magnitude"][echo],
            mask,
            None if other is None else sign * s["phase"][other],
            1.0 if other is None else float(s["te"][echo] / s["te"][other]),
        )
        wrapped = steps_to_next(phase, mask)
        label = np.full(wrapped.shape, -1, np.int64)
        true = phase + np.float32(2 * np.pi) * turns
        for a in range(3):
            here, there = [slice(None)] * 3, [slice(None)] * 3
            here[a], there[a] = slice(0, -1), slice(1, None)
            h, t = tuple(here), tuple(there)
            lacking = np.rint((true[t] - true[h] - wrapped[a][h]) / (2 * np.pi))
            label[a][h] = np.where(mask[t] & mask[h], 1 + np.clip(lacking, -1, 1), -1).astype(np.int64)
        return {"channels": channels, "label": label}

    def model(self) -> nn.Module:
        """Fresh weights, which doubt every step alike."""
        return EdgeNet(int(self.settings.get("width", 20)), int(self.settings.get("deep", 36)))

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """(3 axes, 3 classes, x, y, z)."""
        out: torch.Tensor = model(batch["channels"][None])[0].float()
        return out.reshape(3, CLASSES, *out.shape[1:])

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Cross entropy a step, most of the steps that are long or lack a turn, so that easy samples do not rule."""
        if "channels" not in batch:
            batch = self._held_out(batch)
        logits, label = self.logits(model, batch), batch["label"]
        known = label >= 0
        entropy = F.cross_entropy(logits, label.clamp(min=0), reduction="none")
        hard = known & ((batch["channels"][:3].abs() > 0.5) | (label != 1))
        total = (entropy * known).sum() / (hard.sum() + 0.02 * known.sum() + 1)
        with torch.no_grad():
            wrong = (logits.argmax(1) != label) & known
            lacking = known & (label != 1)
            size = known.sum().clamp(min=1)
            measures = {
                "wrong": 100 * float(wrong.sum() / size),
                "wrong_wrapped": 100 * float(lacking.sum() / size),
            }
        return total, measures

    def _held_out(self, batch: Batch) -> Batch:
        """The last echo of a held-out sample, with the one before it."""
        s = {k: v.cpu().numpy() for k, v in batch.items()}
        made = self.prepared(s, len(s["te"]) - 1, len(s["te"]) - 2, np.float32(1))
        return {k: torch.from_numpy(v).to(batch["phase"].device) for k, v in made.items()}

    def panels(self, model: nn.Module, batch: Batch) -> list[Panel]:
        """Phase, truth, the turns that the steps along y lack, and what the network thinks of them."""
        last = len(batch["te"]) - 1
        made = self._held_out(batch)
        with torch.no_grad():
            p = self.logits(model, made)[1].softmax(0)
        at = batch["mask"].shape[2] // 2
        cut = lambda v: v[:, :, at].float().cpu().numpy()  # noqa: E731
        inside = batch["mask"]
        true = batch["phase"][last] + 2 * np.pi * batch["turns"][last]
        return [
            ("phase", cut(batch["phase"][last] * inside), (-3.2, 3.2)),
            ("true", cut(true * inside), (-30, 30)),
            ("magnitude", cut(batch["magnitude"][last]), (0, 1)),
            ("lacking", cut((made["label"][1] - 1) * (made["label"][1] >= 0)), (-1, 1)),
            ("foretold", cut((p[2] - p[0]) * (made["label"][1] >= 0)), (-1, 1)),
        ]

    def export(self, model: nn.Module, path: Path) -> None:
        """One graph from the channels to the logits."""
        export_onnx(model, (torch.zeros(1, CHANNELS, 16, 16, 16),), path, ["channels"], ["logits"])
