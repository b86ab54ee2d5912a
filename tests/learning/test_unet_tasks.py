"""The U-Net and its two tasks, where torch is installed: its reach, its samples, and what becomes of them when they are turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from chimap.learning.config import Config, Training, read_config  # noqa: E402
from chimap.learning.loop import train  # noqa: E402
from chimap.learning.tasks import task_of  # noqa: E402
from chimap.learning.tasks.base import Task  # noqa: E402
from chimap.learning.unet import UNet  # noqa: E402
from chimap.networks import cards, session, tiles  # noqa: E402

DATA = {"shape": [24, 24, 20]}
NETWORK = {"widths": [4, 6, 8]}
SHORT = Training(
    steps=3, warmup=1, log_every=1, validate_every=3, save_every=3, validation=1, workers=0, threads=1
)


def _task(name: str) -> Task:
    return task_of(Config(name, DATA, NETWORK, SHORT))


def _stirred(net: UNet) -> UNet:
    """The network with no weight at 0, as fresh ones have them at their end."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net.eval()


def test_no_voxel_beyond_the_margin_matters_and_one_within_does():
    net = _stirred(UNet(1, 1, (2, 3, 4), depth=2))
    n = 4 * ((2 * net.margin + 8) // 4)
    x = torch.randn(1, 1, n, 8, 8)
    at = net.margin + 1
    with torch.no_grad():
        whole = net(x)
        far, near = x.clone(), x.clone()
        far[:, :, at + net.margin + 1 :] += 5
        near[:, :, at + 2] += 5
        assert torch.equal(net(far)[:, :, at], whole[:, :, at])
        assert not torch.equal(net(near)[:, :, at], whole[:, :, at])


def test_conditions_change_the_result():
    net = _stirred(UNet(2, 1, (3, 4), conditions=5))
    x = torch.randn(1, 2, 8, 8, 8)
    with torch.no_grad():
        assert not torch.allclose(net(x, torch.zeros(1, 5)), net(x, torch.ones(1, 5)))


@pytest.mark.parametrize("name", ["background", "unet"])
def test_samples_are_repeatable_and_fit_the_network(name):
    task = _task(name)
    one, same = (task.sample(np.random.default_rng(2)) for _ in range(2))
    assert all(np.array_equal(one[k], same[k]) for k in one)
    turned = task.augment(one, np.random.default_rng(3))
    batch = {k: torch.from_numpy(v) for k, v in turned.items()}
    loss, measures = task.loss(task.model(), batch)
    assert torch.isfinite(loss) and 0 < measures["nrmse"] < 1e4


def test_turning_leaves_the_error_of_the_classical_field():
    task = _task("background")
    one = task.sample(np.random.default_rng(5))
    turned = task.augment(one, np.random.default_rng(6))
    before, after = (
        task.loss(task.model(), {k: torch.from_numpy(v) for k, v in s.items()})[1] for s in (one, turned)
    )
    assert before["nrmse_start"] == pytest.approx(after["nrmse_start"], rel=1e-3)
    assert before["nrmse"] == pytest.approx(before["nrmse_start"], rel=1e-3)  # fresh weights correct nothing


@pytest.mark.parametrize("name", ["background", "unet"])
def test_what_is_exported_is_what_inference_runs(name, tmp_path):
    config = Config(name, DATA, NETWORK, SHORT)
    model = train(config, tmp_path)
    net = session.load(model)
    task = task_of(config)
    sample = task.sample(np.random.default_rng(8))
    channels = sample["channels"].astype(np.float32)
    given = {n: np.ones(k, np.float32) for n, k in net.lengths.items()}
    out = tiles.apply(net, channels, margin=14, multiple=4, vectors=given)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["average"]
    own = task.model()
    own.load_state_dict(state)
    with torch.no_grad():
        told = [torch.ones(1, k) for k in net.lengths.values()]
        size = channels.shape[1:]
        padded = np.pad(channels, [(0, 0), *((0, -n % 4) for n in size)])
        expected = own.eval()(torch.from_numpy(padded)[None], *told)[0].numpy()
    expected = expected[:, : size[0], : size[1], : size[2]]
    assert np.abs(expected).max() > 0
    assert np.allclose(out, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["background", "unet"])
def test_the_card_knows_the_network_that_the_configuration_makes(name):
    config = read_config(cards.WEIGHTS.parent.parent / "learning" / "configs" / f"{name}.toml")
    card = cards.card_of(cards.find(name))
    net = task_of(replace(config)).model()
    assert card is not None
    assert card.parameters == sum(p.numel() for p in net.parameters())
    assert (card.margin, card.multiple) == (net.margin, net.multiple)
