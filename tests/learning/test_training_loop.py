"""Training itself, where torch is installed: it learns, resumes as if it had never stopped, and exports what inference runs."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from chimap.errors import InputError  # noqa: E402
from chimap.inversion._learned_inputs import START_ITERATIONS  # noqa: E402
from chimap.inversion.learned import learned_map  # noqa: E402
from chimap.learning.config import Config, Training  # noqa: E402
from chimap.learning.export import load_weights  # noqa: E402
from chimap.learning.loop import train  # noqa: E402
from chimap.learning.synthetic import local_sample  # noqa: E402
from chimap.learning.tasks import task_of  # noqa: E402

CONFIG = Config(
    "inversion",
    {"shape": [16, 16, 16]},
    {"steps": 2, "width": 4, "deep": 6},
    Training(
        steps=6, warmup=2, log_every=2, validate_every=3, save_every=3, validation=1, workers=0, threads=1
    ),
)


def _rows(folder):  # type: ignore[no-untyped-def]
    with (folder / "log.csv").open() as f:
        return [(r["step"], r["kind"], r["loss"]) for r in csv.DictReader(f)]


def test_a_run_in_two_parts_is_the_run_in_one(tmp_path):
    train(CONFIG, tmp_path / "whole")
    train(CONFIG, tmp_path / "parts", until=3)
    train(CONFIG, tmp_path / "parts")
    last = [[r for r in _rows(tmp_path / n) if r[0] == "6"] for n in ("whole", "parts")]
    assert last[0] and last[0] == last[1]
    states = [
        torch.load(tmp_path / n / "checkpoint.pt", weights_only=True)["average"] for n in ("whole", "parts")
    ]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_folder_of_another_run_is_refused(tmp_path):
    train(CONFIG, tmp_path, until=3)
    with pytest.raises(InputError, match="another configuration"):
        train(replace(CONFIG, training=replace(CONFIG.training, seed=2)), tmp_path)


def test_the_loss_falls_on_one_sample():
    task = task_of(CONFIG)
    torch.manual_seed(0)
    batch = {k: torch.from_numpy(v) for k, v in task.sample(np.random.default_rng(1)).items()}
    model = task.model()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss, _ = task.loss(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_inference_computes_what_training_did(tmp_path, monkeypatch):
    """The exported graph in the package's own steps gives the maps of the model in torch."""
    monkeypatch.setattr("chimap.learning.tasks.inversion.START_ITERATIONS", START_ITERATIONS)
    task = task_of(replace(CONFIG, data={"shape": [32, 32, 32]}))
    torch.manual_seed(3)
    model = task.model()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    task.export(model, tmp_path / "m.onnx")
    rng = np.random.default_rng(4)
    sample = local_sample(np.random.default_rng(4), (32, 32, 32))
    batch = {k: torch.from_numpy(v) for k, v in task.sample(rng).items()}
    with torch.no_grad():
        maps, _ = task.unrolled(model, batch)
    (tmp_path / "m.json").write_text(CARD)
    made = learned_map(
        sample.field_ppm,
        sample.mask,
        sample.acq,
        noise=sample.noise_ppm,
        magnitude=sample.magnitude,
        r2star=sample.r2star,
        model=str(tmp_path / "m.onnx"),
        refine=0,
    ).chi
    # The method gives its map the mean of the first one; the steps themselves know none.
    made = np.where(sample.mask, made - made[sample.mask].mean(), 0)
    expected = maps[-1].numpy()
    scale = made[sample.mask] @ expected[sample.mask] / (expected[sample.mask] @ expected[sample.mask])
    # The two pad their transforms differently, which moves the copies that the dipole field sees.
    assert np.linalg.norm(made / scale - expected) < 0.02 * np.linalg.norm(expected)


def test_cold_configuration_errors():
    with pytest.raises(InputError, match="no task"):
        task_of(replace(CONFIG, task="nonsense"))


CARD = """{"name": "m", "task": "dipole inversion", "summary": "test", "training_data": "none", "ranges": {}, "margin": 20,
"multiple": 4, "licence": "Apache-2.0", "inputs": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}, {"name": "e"},
{"name": "f"}, {"name": "g"}, {"name": "h"}, {"name": "i"}], "outputs": [{"name": "correction"}, {"name": "error"}]}"""


def test_weights_come_back_from_the_exported_file(tmp_path):
    task = task_of(CONFIG)
    one, other = task.model(), task.model()
    for p in one.parameters():
        torch.nn.init.normal_(p, std=0.1)
    task.export(one, tmp_path / "m.onnx")
    load_weights(other, tmp_path / "m.onnx")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    larger = task_of(replace(CONFIG, network={"steps": 2, "width": 5, "deep": 6})).model()
    with pytest.raises(InputError, match="not those"):
        load_weights(larger, tmp_path / "m.onnx")
