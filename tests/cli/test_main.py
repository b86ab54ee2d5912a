"""The command itself: help, unknown words, and how errors reach the user."""

from __future__ import annotations

import errno
import subprocess
import sys
import time

import pytest

from chimap import cli
from chimap.cli import COMMANDS, main
from chimap.errors import ChimapError, InputError, OutputError


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from chimap.cli import main; main(['--help']); "
        "print(sorted(m for m in ('numpy', 'scipy', 'numba', 'nibabel', 'tqdm') if m in sys.modules))"
    )
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - start < 5
    assert out.endswith("[]\n")
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"usage: chimap {command}" in out
    for flag in ("--threads", "--log-json", "--quiet", "--debug"):
        assert flag in out


def test_version_and_empty(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out.startswith("chimap ")
    assert main([]) == 0 and "usage: chimap COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["inverse"], "Did you mean invert?"),
        (["nonsense"], "Choose one of: demo, run"),
        (["invert", "--field", "f"], "the following arguments are required"),
        (["methods", "--tolerence", "1"], "unknown argument '--tolerence'"),
        (["invert", "--method", "nonsense"], "has no method 'nonsense'"),
        (["invert", "--preset", "nonsense"], "no preset 'nonsense'"),
        (["methods", "nonsense"], "no stage 'nonsense'"),
        (["methods", "--threads", "x"], "invalid int value"),
        (["methods", "--threads", "-2"], "-2 threads"),
    ],
)
def test_wrong_words(argv, said, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("chimap: error: ") and said in err and err.count("\n") == 1


def test_unknown_flag_lists_the_valid_ones(capsys):
    assert main(["invert", "--method", "tv", "--tolerence", "1"]) == 2
    err = capsys.readouterr().err
    assert "Did you mean --tolerance?" in err and "--iterations" in err and "--noise" in err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("too bad", file="f.nii", fix="Do this"), 2, "chimap: error: f.nii: too bad. Do this.\n"),
        (OutputError("full"), 2, "chimap: error: full.\n"),
        (ChimapError("odd"), 1, "chimap: error: odd.\n"),
        (OSError(errno.ENOSPC, "x", "out.nii"), 2, "out.nii: the disk is full"),
        (OSError(errno.EROFS, "x", "out.nii"), 2, "read-only"),
        (PermissionError(errno.EACCES, "x", "out.nii"), 2, "permission denied"),
        (MemoryError(), 1, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("by\nzero"), 1, "ZeroDivisionError: by zero (a bug in chimap; add --debug"),
    ],
)
def test_errors_are_one_line(error, status, said, monkeypatch, capsys):
    def fail(argv):
        raise error

    monkeypatch.setattr(cli, "_command", fail)
    assert main(["x"]) == status
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    with pytest.raises(type(error)):
        main(["x", "--debug"])
