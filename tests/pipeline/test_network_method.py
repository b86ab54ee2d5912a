"""A method that runs a network: its weights decide whether it has to run again, and its warnings reach sidecar and report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chimap import registry
from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.cli._report import report_data
from chimap.errors import ChimapWarning, InputError
from chimap.io.inputs import find_scans
from chimap.networks import session, tiles
from chimap.pipeline import plan as r
from chimap.pipeline.plan import Options, Result
from chimap.pipeline.run import run_scan
from chimap.types import Mask, Progress, Volume, silent
from coarse_scan import Coarse
from small_nets import add, conv_net

WARNED = "voxel edges 3 mm, trained on 0.5 to 1.2 mm"


@pytest.fixture(autouse=True)
def learned(monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Method]:
    """An inversion method that runs a network, as long as the test lasts."""
    registry.methods("inversion")
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))

    @registry.method("inversion", network=True)
    def learned(
        local_field: Volume,
        mask: Mask,
        acq: Acquisition,
        *,
        model: str = "none",
        noise: Volume | None = None,
        progress: Progress = silent,
    ) -> Volume:
        """A network with random weights."""
        net = session.load(model)
        net.check(acq, noise=noise, mask=mask, te=False)
        return tiles.apply(net, np.stack([local_field, mask]), mask=mask, progress=progress)[0]

    yield learned


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return add(tmp_path / "weights", "mynet")


def test_in_python_it_is_a_warning(learned: registry.Method, weights: Path) -> None:
    acq = Acquisition((0.01,), 3.0, voxel_size_mm=(3.0, 3.0, 3.0))
    field = np.ones((6, 6, 6), np.float32)
    with pytest.warns(ChimapWarning, match=WARNED):
        chi = learned(field, field > 0, acq, model=str(weights))
    assert chi.any()


def test_a_run_with_a_network(
    coarse: Coarse, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scan,) = find_scans(coarse.bids, tmp_path / "work")
    out = tmp_path / "out"

    def run(**options: object) -> Result:
        return run_scan(scan, out, Options(preset="fast", **options))  # type: ignore[arg-type]

    def network() -> Result:
        return run(methods={"inversion": "learned"}, parameters={"inversion": {"model": str(weights)}})

    # A classical run works where ONNX Runtime cannot even be imported.
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        assert not any("network" in w for w in run().warnings)
        with pytest.raises(InputError, match="there is no network 'none'"):
            run(methods={"inversion": "learned"})
    result = network()
    assert sum(WARNED in w for w in result.warnings) == 1
    about = json.loads((out / "sub-01" / "anat" / f"sub-01{r.RAW_CHI.suffix}.json").read_text())["Chimap"]
    assert WARNED in about["warnings"][0]
    assert about["parameters"] == {"model": "mynet.onnx"}
    assert about["inputs"]["weights"] == {"file": "mynet.onnx", "sha256": session.sha256(weights)}
    assert about["facts"]["model"] == "mynet" and about["facts"]["provider"]
    assert any(WARNED in w for w in report_data(result).warnings)
    assert str(tmp_path) not in json.dumps(about)

    again = network()
    assert again.done["inversion"].resumed
    assert sum(WARNED in w for w in again.warnings) == 1
    conv_net(weights, (2, 3, 1))
    assert not network().done["inversion"].resumed


def test_a_single_stage_command_warns(
    coarse: Coarse, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    truth = coarse.flat / "truth"
    words = ["invert", "--method", "learned", "--model", str(weights), "--log-json", str(log)]
    words += ["--field", str(truth / "localfield.nii.gz"), "--mask", str(coarse.flat / "mask.nii.gz")]
    words += ["-o", str(tmp_path / "chi.nii.gz")]
    assert main(words) == 0
    assert (
        f"chimap: warning: this scan is outside what network mynet was trained on: {WARNED}"
        in capsys.readouterr().err
    )
    line = json.loads(log.read_text())
    assert WARNED in line["warnings"][0]
    assert line["parameters"] == {"model": "mynet.onnx"}
