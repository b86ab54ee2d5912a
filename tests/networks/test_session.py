"""Loading networks: once, with errors that say what is wrong with the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import ChimapError, ChimapWarning, InputError
from chimap.networks import cards, session
from chimap.numerics.threads import set_threads
from small_nets import add, conv_net, flat_net, scaled_net


def test_a_network_is_loaded_once(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "n.onnx")
    first = session.load(path)
    assert session.load(str(path)) is first
    assert (first.name, first.inputs, first.card) == ("n", 2, None)
    conv_net(path, (3, 1))
    os.utime(path, ns=(0, 0))
    assert session.load(path).inputs == 3


@pytest.mark.parametrize("shape", [(3, 5, 7), (11, 10, 9), (61, 62, 63)])
def test_same_bits_for_any_number_of_threads(
    tmp_path: Path, rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    path = conv_net(tmp_path / "n.onnx", (2, 48, 48, 1))
    volume = rng.standard_normal((2, *shape)).astype(np.float32)
    results = []
    try:
        for threads in (1, 2, 3, 5):
            set_threads(threads)
            results.append(session.load(path)(volume))
    finally:
        set_threads(None)
    assert all(np.array_equal(results[0], r) for r in results)


def test_the_processor_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(session.PROCESSOR_ONLY, "1")
    assert session.load(conv_net(tmp_path / "n.onnx")).provider == "CPU"


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    good = conv_net(tmp_path / "good.onnx")
    (tmp_path / "text.onnx").write_text("no network\n" * 100)
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "short.onnx").write_bytes(good.read_bytes()[:400])
    for name in ("text", "empty", "short"):
        with pytest.raises(InputError, match="not an ONNX model") as e:
            session.load(tmp_path / f"{name}.onnx")
        assert f"{name}.onnx" in str(e.value)
    with pytest.raises(InputError, match="no such file"):
        session.load(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match="folder"):
        session.load(tmp_path / "folder.onnx")


def test_networks_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="32 x 32 x 32 voxels only"):
        session.load(conv_net(tmp_path / "fixed.onnx", size=(32, 32, 32)))
    with pytest.raises(InputError, match="batch, channel, x, y, z"):
        session.load(flat_net(tmp_path / "flat.onnx"))


def test_names_of_shipped_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    with pytest.raises(InputError, match="none comes with this version"):
        session.load("chi")
    add(tmp_path, "chi")
    assert session.load("chi").card == cards.read_card(tmp_path / "chi.json")
    with pytest.raises(InputError, match="one of: chi"):
        session.load("chii")


def test_weights_of_another_card_are_refused(tmp_path: Path) -> None:
    path = add(tmp_path, "chi", sha256="0" * 64)
    with pytest.raises(InputError, match="hash differs"):
        session.load(path)
    good = add(tmp_path, "good", sha256=session.sha256(path))
    assert session.load(good).sha256 == session.sha256(path)


def test_wrong_vectors_are_an_error(tmp_path: Path) -> None:
    net = session.load(scaled_net(tmp_path / "n.onnx"))
    with pytest.raises(ChimapError, match="network n failed"):
        net(np.ones((1, 3, 3, 3), np.float32), {"b0_dir": (1.0, 2.0)})


def test_a_scan_outside_the_training_is_a_warning(tmp_path: Path, acq: Acquisition) -> None:
    net = session.load(add(tmp_path, "chi"))
    with pytest.warns(ChimapWarning, match="voxel edges 1 to 1.5 mm, trained on 0.5 to 1.2 mm"):
        told = net.check(acq)
    assert len(told) == 1
    bare = session.load(conv_net(tmp_path / "bare.onnx"))
    with pytest.warns(ChimapWarning, match="no model card"):
        bare.check(acq)


@pytest.mark.parametrize(
    "code",
    [
        "import chimap; chimap.methods()",
        "from chimap.cli import main; main(['--help'])",
        "from chimap.cli import main; main(['methods'])",
        "from chimap.cli import main; main(['models'])",
        "from chimap.networks import cards, session, tiles",
    ],
)
def test_onnx_runtime_is_not_imported_without_need(code: str) -> None:
    check = f"{code}\nimport sys; sys.exit('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
