"""Progress: a bar on a terminal, a line a stage elsewhere, nothing when quiet."""

from __future__ import annotations

import sys

import pytest

from chimap.pipeline.console import Console


def _work(console):
    with console.whole(("read", "mask", "field"), "sub-01"):
        console.skipped("read")
        with console.stage("mask", "bet") as tell:
            tell(1, 2, change=0.1)
            tell(2, 2)
        console.note("a word")
        with console.stage("field") as tell:
            tell(0, 0)


def test_lines(capsys):
    _work(Console())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "chimap: sub-01: read done before"
    assert lines[1].startswith("chimap: sub-01: mask (bet) 0.")
    assert lines[2] == "chimap: sub-01: a word" and lines[3].startswith("chimap: sub-01: field 0.")


def test_quiet(capsys):
    _work(Console(quiet=True))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("one_bar", [True, False])
def test_bar_on_a_terminal(capsys, monkeypatch, one_bar):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    console = Console()
    if one_bar:
        _work(console)
    else:
        with console.stage("mask") as tell:
            tell(1, 2)
    err = capsys.readouterr().err
    assert "mask" in err and "100%" in err and "chimap: sub-01: mask" not in err


def test_an_error_closes_the_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    console = Console()
    with pytest.raises(ZeroDivisionError), console.whole(("read",), "x"), console.stage("read"):
        raise ZeroDivisionError
    assert console._bar is None
