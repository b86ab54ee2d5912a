"""Tiles: the result of a network does not depend on how the volume was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimap.errors import ChimapError, InputError
from chimap.networks import session, tiles
from small_nets import conv_net, down_up_net, scaled_net

SHAPE = (23, 18, 21)
# Sums of a few hundred float32 products in another order.
ROUNDING = 2e-6


@pytest.fixture
def volume(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((2, *SHAPE)).astype(np.float32)


@pytest.fixture
def mask() -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return sum(a**2 for a in axes) < 0.7  # type: ignore[return-value]


@pytest.mark.parametrize("tile", [5, (7, 18, 4)])
def test_tiles_give_what_the_whole_gives(tmp_path: Path, volume: np.ndarray, tile: object) -> None:
    net = session.load(conv_net(tmp_path / "n.onnx", (2, 4, 4, 1)))
    whole = net(volume)
    told = []
    cut = tiles.apply(net, volume, margin=3, tile=tile, progress=lambda *a, **k: told.append((a, k)))  # type: ignore[arg-type]
    assert cut.dtype == np.float32
    assert np.abs(cut - whole).max() < ROUNDING * np.abs(whole).max()
    (done, total), facts = told[-1]
    assert done == total == facts["tiles"] == len(told) > 4
    assert facts["provider"] == net.provider


def test_a_margin_below_the_receptive_field_shows(tmp_path: Path, volume: np.ndarray) -> None:
    net = session.load(conv_net(tmp_path / "n.onnx", (2, 4, 4, 1)))
    off = tiles.apply(net, volume, margin=1, tile=6) - net(volume)
    assert np.abs(off).max() > 1000 * ROUNDING


def test_tiles_of_a_network_that_halves_the_grid(tmp_path: Path, volume: np.ndarray) -> None:
    net = session.load(down_up_net(tmp_path / "n.onnx"))
    one = volume[:1]
    padded = np.zeros((1, 24, 18, 22), np.float32)
    padded[:, :23, :, :21] = one
    whole = net(padded)[:, :23, :, :21]
    for margin, tile in ((3, 6), (4, 7), (3, 100)):
        cut = tiles.apply(net, one, margin=margin, multiple=2, tile=tile)
        assert cut.shape == (1, *SHAPE)
        assert np.abs(cut - whole).max() < ROUNDING * np.abs(whole).max()


def test_an_odd_grid_without_its_multiple_is_an_error(tmp_path: Path, volume: np.ndarray) -> None:
    net = session.load(down_up_net(tmp_path / "n.onnx"))
    with pytest.raises(ChimapError):
        tiles.apply(net, volume[:1], margin=3, tile=5)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Voxels of each volume that a network was run on."""
    sizes: list[int] = []
    run = session.Network.__call__

    def counting(self: session.Network, channels: np.ndarray, vectors: Any = None) -> np.ndarray:
        sizes.append(channels[0].size)
        return run(self, channels, vectors)

    monkeypatch.setattr(session.Network, "__call__", counting)
    return sizes


@pytest.mark.parametrize("tile", [None, 6])
def test_a_mask_saves_work_and_changes_nothing_inside(
    tmp_path: Path, volume: np.ndarray, mask: np.ndarray, tile: int | None, read: list[int]
) -> None:
    net = session.load(conv_net(tmp_path / "n.onnx", (2, 4, 4, 1)))
    inside = tiles.apply(net, volume, margin=3, tile=tile, mask=mask)
    whole = net(volume)
    assert not inside[:, ~mask].any()
    assert np.abs(inside - whole)[:, mask].max() < ROUNDING * np.abs(whole).max()
    corner = np.zeros(SHAPE, bool)
    corner[:2, :2, :2] = True
    read.clear()
    tiles.apply(net, volume, margin=3, tile=tile, mask=corner)
    assert read == [5**3]


def test_tiles_without_mask_are_skipped(tmp_path: Path, volume: np.ndarray, read: list[int]) -> None:
    net = session.load(conv_net(tmp_path / "n.onnx"))
    mask = np.zeros(SHAPE, bool)
    mask[0, 0, 0] = mask[-1, -1, -1] = True
    out = tiles.apply(net, volume, margin=2, tile=8, mask=mask)
    assert read == [3**3, 3**3]
    whole = net(volume)
    assert np.allclose(out[0, -1, -1, -1], whole[0, -1, -1, -1], rtol=1e-4)


def test_memory_limits_the_tiles(tmp_path: Path, volume: np.ndarray, read: list[int]) -> None:
    net = session.load(conv_net(tmp_path / "n.onnx"))
    tiles_of = {}
    for gb in (2.0, 4e-3, 2e-3):
        read.clear()
        tiles.apply(net, volume, margin=2, memory_gb=gb)
        assert max(read) * 2048 <= gb * 1e9
        tiles_of[gb] = len(read)
    assert tiles_of[2.0] == 1 < tiles_of[4e-3] < tiles_of[2e-3]
    with pytest.raises(InputError, match="Allow more memory"):
        tiles.apply(net, volume, margin=2, memory_gb=1e-5)


def test_vectors_reach_every_tile(tmp_path: Path, volume: np.ndarray) -> None:
    net = session.load(scaled_net(tmp_path / "n.onnx"))
    out = tiles.apply(net, volume[:1], margin=0, tile=9, vectors={"b0_dir": (1.0, 2.0, -0.5)})
    assert np.allclose(out, 2.5 * volume[:1])
    with pytest.raises(InputError, match="b0_dir"):
        tiles.apply(net, volume[:1], margin=0)


def test_what_does_not_fit_is_refused(tmp_path: Path, volume: np.ndarray, mask: np.ndarray) -> None:
    net = session.load(conv_net(tmp_path / "n.onnx"))
    with pytest.raises(InputError, match="takes 2 channels, but 1 is given"):
        tiles.apply(net, volume[:1], margin=2)
    with pytest.raises(InputError, match="has no model card"):
        tiles.apply(net, volume)
    with pytest.raises(InputError, match="mask has shape"):
        tiles.apply(net, volume, margin=2, mask=mask[1:])
    with pytest.raises(InputError, match="mask is empty"):
        tiles.apply(net, volume, margin=2, mask=np.zeros_like(mask))
    with pytest.raises(InputError, match="margin is"):
        tiles.apply(net, volume, margin=-1)
    volume[0, 3, 3, 3] = np.inf
    with pytest.raises(ChimapError, match="NaN or infinity"):
        tiles.apply(net, volume, margin=2)


def test_the_input_is_not_changed(tmp_path: Path, volume: np.ndarray) -> None:
    before = volume.copy()
    tiles.apply(session.load(conv_net(tmp_path / "n.onnx")), volume, margin=2, tile=8)
    assert np.array_equal(before, volume)
