"""The task from wrapped phase to susceptibility, where torch is installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from chimap.acquisition import Acquisition  # noqa: E402
from chimap.inversion.learned_phase import learned_phase  # noqa: E402
from chimap.learning.config import Config, Training  # noqa: E402
from chimap.learning.loop import train  # noqa: E402
from chimap.learning.synthetic.echoes import echo_sample  # noqa: E402
from chimap.learning.tasks import task_of  # noqa: E402
from chimap.learning.tasks.phase_inversion import Outside  # noqa: E402
from chimap.networks.cards import WEIGHTS  # noqa: E402
from chimap.numerics.dipole import dipole_kernel, forward_field  # noqa: E402

CONFIG = Config(
    "phase_inversion",
    {"shape": [20, 20, 20]},
    {"steps": 2, "width": 4, "deep": 6},
    Training(
        steps=2, warmup=1, log_every=1, validate_every=2, save_every=2, validation=1, workers=0, threads=1
    ),
)


def test_the_same_generator_gives_the_same_sample() -> None:
    task = task_of(CONFIG)
    one, two = (task.sample(np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_outside_sources_explain_a_background_but_not_what_lies_inside() -> None:
    acq = Acquisition((0.01,), 3.0)
    x, y, z = np.meshgrid(*(np.arange(24) - 12.0,) * 3, indexing="ij")
    mask = x**2 + y**2 + z**2 < 49
    grid = (32, 32, 32)
    background = Outside(
        torch.from_numpy(dipole_kernel(grid, (1, 1, 1), (0, 0, 1))),
        grid,
        torch.from_numpy(mask.astype(np.float32)),
        torch.from_numpy(mask.astype(np.float32)),
    )

    def left(sources: np.ndarray) -> float:
        field = forward_field(sources.astype(np.float32), acq) * mask
        rest = field - background(torch.from_numpy(field)).numpy()
        return float(np.linalg.norm(rest[mask]) / np.linalg.norm(field[mask]))

    assert left((x - 10) ** 2 + y**2 + z**2 < 2) < 0.2
    assert left(x**2 + y**2 + z**2 < 2) > 0.5


def test_a_trained_network_runs(tmp_path: Path) -> None:
    file = train(CONFIG, tmp_path)
    s = echo_sample(np.random.default_rng(1), (20, 20, 20), careful=True)
    card = json.loads((WEIGHTS / "phase_inversion.json").read_text("utf-8")) | {"name": "model", "sha256": ""}
    file.with_suffix(".json").write_text(json.dumps(card), "utf-8")
    chi = learned_phase(s.phase, s.mask, s.acq, magnitude=s.magnitude, model=str(file), memory_gb=0.5)
    assert np.isfinite(chi).all() and chi[s.mask].any()
