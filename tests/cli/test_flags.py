"""Flags are made from the signatures of methods, for all of them."""

from __future__ import annotations

from typing import Literal

import pytest

from chimap import registry
from chimap.cli import Parser
from chimap.cli._flags import add_method_flags, convert, flag, method_values
from chimap.errors import InputError
from chimap.registry import Method, Parameter, Stage
from chimap.types import Mask, Volume

ALL = [m for methods in registry.methods().values() for m in methods.values()]


def example(
    data: Volume,
    mask: Mask,
    acq,
    *,
    weight: Volume | None = None,
    lam: float = 0.5,
    max_steps: int = 3,
    weighted: bool = True,
    kind: Literal["a", "b"] = "a",
    radii_mm: tuple[float, ...] = (1.0, 2.0),
    box: tuple[int, int, int] = (1, 2, 3),
    level: float | None = None,
    output: str = "x",
):
    """An example.

    Parameters
    ----------
    lam : float
        Weight in 100 % of
        the data.
    """


@pytest.fixture
def method():
    return Method(Stage("inversion", "", "field", "", 3), example, ("10.1/x",))


def _parse(method, argv, values=None):
    parser = Parser(prog="t")
    parser.add_argument("--output")
    add_method_flags(parser, method, values or {})
    return method_values(parser.parse_args(argv), method), parser.format_help()


def test_types(method):
    argv = [
        "--lam",
        "1e-3",
        "--max-steps",
        "7",
        "--no-weighted",
        "--kind",
        "b",
        "--radii-mm",
        "3",
        "4.5",
        "--box",
        "4",
        "5",
        "6",
        "--level",
        "2",
    ]
    values, _ = _parse(method, argv)
    assert values == {
        "lam": 1e-3,
        "max_steps": 7,
        "weighted": False,
        "kind": "b",
        "radii_mm": (3.0, 4.5),
        "box": (4, 5, 6),
        "level": 2.0,
    }
    assert _parse(method, [])[0] == {}
    assert _parse(method, ["--level", "none"])[0] == {"level": None}
    assert _parse(method, ["--inversion-output", "y"])[0] == {"output": "y"}


def test_help(method):
    _, text = _parse(method, [], {"lam": 0.25})
    assert "Weight in 100 % of the data. (default: 0.25)" in " ".join(text.split())
    assert "--weighted, --no-weighted" in text and "10.1/x" in text and "--weight " not in text


@pytest.mark.parametrize("argv", [["--max-steps", "1.5"], ["--lam", "x"], ["--box", "1", "2", "x"]])
def test_wrong_values(method, argv):
    with pytest.raises(InputError, match="is not"):
        _parse(method, argv)


def test_converts_words_of_set():
    p = Parameter("radii", tuple[float, ...], (1.0,), "")
    assert convert(p, "1,2.5") == (1.0, 2.5)
    assert convert(Parameter("on", bool, True, ""), "no") is False
    assert convert(Parameter("n", int | float, 1, ""), "3") == 3
    with pytest.raises(InputError):
        convert(Parameter("on", bool, True, ""), "maybe")


@pytest.mark.parametrize("m", ALL, ids=lambda m: f"{m.stage.name}-{m.name}")
def test_every_method_has_working_flags(m):
    """What a default is printed as is read back as the same value."""
    argv, expected = [], {}
    for p in m.parameters:
        if isinstance(p.default, bool):
            argv.append(flag(p.name) if p.default else "--no-" + p.name.replace("_", "-"))
        elif p.default is None:
            argv += [flag(p.name), "none"]
        elif isinstance(p.default, tuple):
            argv += [flag(p.name), *map(repr, p.default)]
        else:
            argv += [flag(p.name), str(p.default)]
        expected[p.name] = p.default
    parser = Parser(prog="t")
    add_method_flags(parser, m, {})
    assert method_values(parser.parse_args(argv), m) == expected
