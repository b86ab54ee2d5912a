"""The labels of the unwrapping task, and that its network learns, where torch is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from chimap.learning.config import Config, Training  # noqa: E402
from chimap.learning.loop import train  # noqa: E402
from chimap.learning.tasks import task_of  # noqa: E402
from chimap.networks.session import load  # noqa: E402
from chimap.phase._edge_channels import CHANNELS  # noqa: E402

CONFIG = Config(
    "unwrap",
    {"shape": [20, 20, 20]},
    {"width": 4, "deep": 6},
    Training(
        steps=2, warmup=1, log_every=1, validate_every=2, save_every=2, validation=1, workers=0, threads=1
    ),
)


def test_labels_make_up_for_the_wraps() -> None:
    task = task_of(CONFIG)
    sample = task.sample(np.random.default_rng(5))
    made = task.prepared(sample, 1, 0, np.float32(1))
    assert made["channels"].shape == (CHANNELS, 20, 20, 20)
    true = sample["phase"][1] + 2 * np.pi * sample["turns"][1]
    for a in range(3):
        label = made["label"][a]
        known = label >= 0
        step = np.pi * made["channels"][a] + 2 * np.pi * (label - 1)
        there = np.roll(true, -1, a) - true
        inner = known & (np.abs(there) < 2.9 * np.pi)
        assert np.abs(step - there)[inner].max() < 1e-3


def test_augmented_samples_are_the_same_for_the_same_generator() -> None:
    task = task_of(CONFIG)
    sample = task.sample(np.random.default_rng(5))
    one, two = (task.augment(sample, np.random.default_rng(8)) for _ in range(2))
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_the_loss_falls_on_one_sample() -> None:
    task = task_of(CONFIG)
    torch.manual_seed(0)
    made = task.augment(task.sample(np.random.default_rng(5)), np.random.default_rng(0))
    batch = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in made.items()}
    model = task.model()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss, _measures = task.loss(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]


def test_the_exported_network_gives_what_the_model_gives(tmp_path: Path) -> None:
    file = train(CONFIG, tmp_path)
    channels = np.random.default_rng(0).standard_normal((CHANNELS, 16, 12, 8), dtype=np.float32)
    model = task_of(CONFIG).model()
    model.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["average"])
    with torch.no_grad():
        expected = model(torch.from_numpy(channels)[None])[0].numpy()
    assert np.abs(load(file)(channels) - expected).max() < 1e-4
