"""Model cards: read strictly, compared with scans, shown to people; and the cards of the networks that come along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.errors import InputError
from chimap.networks import cards, session
from chimap.networks.ranges import check_ranges
from chimap.networks.text import card_text, table
from small_nets import add, card


def make(tmp_path: Path, **changes: Any) -> cards.Card:
    path = tmp_path / "chi.json"
    path.write_text(json.dumps(card("chi", **changes)), "utf-8")
    return cards.read_card(path)


def test_a_card_survives_its_file(tmp_path: Path) -> None:
    one = make(tmp_path)
    assert one.inputs[1] == cards.Channel("mask")
    assert one.ranges.b0_t == (1.5, 7.0)
    assert one.ranges.b0_angle_deg is None
    (tmp_path / "chi.json").write_text(json.dumps(one.to_dict()), "utf-8")
    assert cards.read_card(tmp_path / "chi.json") == one


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"margin": "2"}, "margin is '2', not a number"),
        ({"margin": True}, "margin is True"),
        ({"task": 3}, "task is 3, not text"),
        ({"nonsense": 1}, "unknown nonsense"),
        ({"ranges": {"b0_t": [7, 1.5]}}, "ranges.b0_t is .* larger"),
        ({"ranges": {"b0_t": 3}}, "ranges.b0_t is 3, not a list of 2"),
        ({"ranges": {"b0": [1, 2]}}, "ranges: unknown b0"),
        ({"inputs": [{"unit": "ppm"}]}, r"inputs\[0\]: missing name"),
        ({"scores": [7]}, r"scores\[0\] is not a JSON object"),
    ],
)
def test_wrong_cards_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as e:
        make(tmp_path, **changes)
    assert "chi.json" in str(e.value)


def test_cards_that_are_no_objects_or_miss_fields(tmp_path: Path) -> None:
    path = tmp_path / "chi.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="it is not a JSON object"):
        cards.read_card(path)
    path.write_text("{}")
    with pytest.raises(InputError, match=r"missing .*licence, margin"):
        cards.read_card(path)


def test_ranges_say_what_is_outside(tmp_path: Path) -> None:
    trained = make(
        tmp_path,
        ranges={
            "voxel_size_mm": [0.5, 1.5],
            "anisotropy": [1, 2],
            "b0_angle_deg": [0, 30],
            "b0_t": [3, 3],
            "te_s": [0.004, 0.03],
            "echoes": [3, 8],
            "snr": [20, 200],
            "noise_ppm": [0.001, 0.01],
        },
    )
    fits = Acquisition((0.004, 0.012, 0.03), 3.0, (0.0, 0.4, -0.9), (1.0, 1.0, 1.5005))
    mask = np.ones((4, 4, 4), bool)
    noise = np.full((4, 4, 4), 0.005, np.float32)
    assert check_ranges(trained, fits, noise=noise, mask=mask, snr=50) == []
    odd = Acquisition((0.002, 0.012), 7.0, (0.0, 1.0, 0.9), (0.4, 1.0, 1.0))
    said = "\n".join(check_ranges(trained, odd, noise=20 * noise, mask=mask, snr=5))
    for text in (
        "voxel edges 0.4 to 1 mm, trained on 0.5 to 1.5 mm",
        "longest over shortest voxel edge 2.5, trained on 1 to 2",
        "angle between B0 and the third voxel axis 48 degrees, trained on 0 to 30 degrees",
        "field strength 7 T, trained on 3 T",
        "echo times 0.002 to 0.012 s, trained on 0.004 to 0.03 s",
        "number of echoes 2, trained on 3 to 8",
        "signal-to-noise ratio 5, trained on 20 to 200",
        "median noise of the field 0.1 ppm, trained on 0.001 to 0.01 ppm",
    ):
        assert text in said
    assert "echo" not in "".join(check_ranges(trained, odd, te=False))


def test_noise_counts_inside_the_mask(tmp_path: Path) -> None:
    trained = make(tmp_path, ranges={"noise_ppm": [0.001, 0.01]})
    acq = Acquisition((0.01,), 3.0)
    noise = np.full((4, 4, 4), 9.0, np.float32)
    mask = np.zeros((4, 4, 4), bool)
    mask[1:3, 1:3, 1:3] = True
    noise[mask] = 0.005
    assert check_ranges(trained, acq, noise=noise, mask=mask) == []
    assert len(check_ranges(trained, acq, noise=noise)) == 1


def test_a_card_as_text(tmp_path: Path) -> None:
    one = make(tmp_path)
    text = card_text(one)
    for part in ("dipole inversion", "local field [ppm]", "any direction of B0", "NRMSE 55.5%", "too weak"):
        assert part in text
    assert "| [`chi`](#chi) | dipole inversion |" in table([one])
    assert table([]) == "This version comes without networks."


def test_models_lists_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    assert main(["models", "--folder", str(folder)]) == 0
    assert "There are no networks in" in capsys.readouterr().out
    add(folder, "chi")
    add(folder, "bare").with_suffix(".json").unlink()
    assert main(["models", "--folder", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "chi: dipole inversion" in out and "bare: no model card" in out
    assert main(["models", "--folder", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chi"]["margin"] == 2 and found["bare"] is None
    assert main(["models", "chi", "--folder", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("chi\nRandom weights")
    assert main(["models", str(folder / "chi.onnx"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["licence"] == "Apache-2.0"


def test_models_without_networks_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "This version of chimap comes without networks.\n"
    assert main(["models", "chi"]) == 2
    assert "there is no network 'chi'" in capsys.readouterr().err
    assert main(["models", "--folder", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    add(tmp_path, "bare").with_suffix(".json").unlink()
    assert main(["models", "bare"]) == 2
    assert "no model card" in capsys.readouterr().err


def test_networks_that_come_along_are_whole(rng: np.random.Generator) -> None:
    for name in cards.names():
        path = cards.find(name)
        assert path.stat().st_size <= cards.MOST_BYTES, name
        net = session.load(name)
        about = net.card
        assert about is not None, name
        assert about.name == name
        assert about.sha256 == net.sha256, name
        assert about.scores and about.failures and about.seeds and about.config and about.hours, name
        assert net.inputs == len(about.inputs), name
        if not net.vectors:
            edge = -(-16 // about.multiple) * about.multiple
            channels = rng.standard_normal((net.inputs, edge, edge, edge)).astype(np.float32)
            assert net(channels).shape == (len(about.outputs), edge, edge, edge), name
    orphans = {p.stem for p in cards.WEIGHTS.glob("*.json")} - set(cards.names())
    assert not orphans
