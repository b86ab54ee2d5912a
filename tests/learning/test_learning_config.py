"""Configurations of training runs, and which sample each step gets."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.learning.config import Training, read_config
from chimap.learning.stream import generator, index_at, stream


def _write(tmp_path, text):  # type: ignore[no-untyped-def]
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_values_of_the_file_and_defaults(tmp_path):
    c = read_config(
        _write(tmp_path, 'task = "inversion"\n[training]\nsteps = 7\nlearning_rate = 1\n[network]\nwidth = 8')
    )
    assert (c.task, c.network, c.training.steps, c.training.learning_rate) == (
        "inversion",
        {"width": 8},
        7,
        1.0,
    )
    assert c.training.reuse == Training().reuse


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task = 3", "no task"),
        ("x = ", "TOML"),
        ('task = "a"\nmore = 1', "more"),
        ('task = "a"\ndata = 1', "data"),
        ('task = "a"\n[training]\nstep = 1', "step"),
        ('task = "a"\n[training]\nsteps = "many"', "steps"),
        ('task = "a"\n[training]\nsteps = true', "steps"),
        ('task = "a"\n[training]\nsteps = 0', "positive"),
        ('task = "a"\n[training]\nprecision = "half"', "precision"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, said):
    path = _write(tmp_path, text)
    with pytest.raises(InputError, match=said) as e:
        read_config(path)
    assert e.value.file == str(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


def test_each_sample_is_new_once_and_used_again():
    settings = Training(steps=60, reuse=3, cache=5)
    order = [index_at(s, settings) for s in range(60)]
    assert order[::3] == list(range(20))
    for s, index in enumerate(order):
        assert s // 3 - 5 < index <= s // 3


def _number(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": rng.random(3)}


def _marked(sample, rng):  # type: ignore[no-untyped-def]
    return {**sample, "turn": rng.integers(0, 1000, 1)}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_stream_goes_on_as_the_whole_one(workers):
    settings = Training(steps=14, reuse=3, cache=3, workers=workers)
    whole = list(stream(_number, _marked, settings))
    rest = list(stream(_number, _marked, settings, start=7))
    assert len(whole) == 14 and len(rest) == 7
    for a, b in zip(whole[7:], rest, strict=True):
        assert np.array_equal(a["x"], b["x"]) and a["turn"] == b["turn"]


def test_training_and_validation_share_no_sample():
    assert generator(1, 0, 5).random() != generator(1, 1, 5).random()
