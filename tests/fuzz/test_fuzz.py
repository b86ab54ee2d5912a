"""A short, seeded part of the fuzzing; `fuzz_run.py` does the long one."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from pathlib import Path

import pytest
from fuzz_run import Fuzz

from chimap.cli import main

# Found by the long runs; each was a traceback, a warning of Python's or a wait without end.
FOUND = [5, 7, 20, 39, 40, 55, 127, 159, 171, 260, 273, 1966]
DRAWN = range(5000, 5042)


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    return Fuzz(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("numbers", [FOUND, *(DRAWN[n : n + 14] for n in range(0, len(DRAWN), 14))])
def test_spoiled_input(fuzz, numbers):
    outcomes = [fuzz.case(n) for n in numbers]
    wrong = [(o.case, o.command, o.spoiled, o.status, o.wrong, o.said[-300:]) for o in outcomes if o.wrong]
    assert not wrong
    assert {o.status for o in outcomes} <= {0, 2}


def test_good_input_passes(fuzz):
    """Otherwise all that is spoiled would be refused for another reason."""
    assert set(fuzz.unspoiled.values()) == {0}


REFUSED = {
    "pipe as sidecar": (lambda p: _replace(p, os.mkfifo), "params.json", "device or a pipe"),
    "folder as sidecar": (lambda p: _replace(p, os.mkdir), "params.json", "folder"),
    "endless file": (lambda p: _replace(p, lambda q: os.symlink("/dev/zero", q)), "params.json", "device"),
    "deep JSON": (lambda p: p.write_text("[" * 200_000), "params.json", "too deeply"),
    "UTF-16": (lambda p: p.write_bytes(p.read_text().encode("utf-16")), "params.json", "UTF-8"),
    "huge number": (lambda p: p.write_text('{"TE": 1' + "0" * 400 + ', "B0": 3}'), "params.json", ""),
    "large text": (lambda p: p.write_bytes(b" " * (40 << 20)), "params.json", "MB"),
    "pipe as image": (lambda p: _replace(p, os.mkfifo), "magnitude.nii.gz", "device or a pipe"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(fuzz, tmp_path, capsys, case):
    """One line that names the file and the cause, at once, and nothing written."""
    change, name, said = REFUSED[case]
    flat = Path(shutil.copytree(fuzz.good / "flat", tmp_path / "flat"))
    change(flat / name)
    argv = [
        "mask",
        "--magnitude",
        flat / "magnitude.nii.gz",
        "--acq",
        flat / "params.json",
        "-o",
        tmp_path / "m.nii.gz",
    ]
    assert main([str(a) for a in argv]) == 2
    err = capsys.readouterr().err
    assert err.startswith("chimap: error: ") and err.count("\n") == 1 and name in err and said in err
    assert not (tmp_path / "m.nii.gz").exists()


def test_more_memory_than_there_is(fuzz, tmp_path, capsys, monkeypatch):
    """A header whose zipped zeros bear it out is refused before the array is made."""
    image = tmp_path / "chi.nii.gz"
    image.write_bytes((fuzz.good / "flat" / "chi.nii.gz").read_bytes())
    data = bytearray(gzip.decompress(image.read_bytes()))
    data[40:56] = struct.pack("<8h", 3, 1000, 1000, 1000, 1, 1, 1, 1)
    image.write_bytes(gzip.compress(bytes(data), 1) + gzip.compress(bytes(1 << 24), 9) * 240)
    monkeypatch.setattr("chimap.io.memory.available_bytes", lambda: 2_000_000_000)
    mask = fuzz.good / "flat" / "mask.nii.gz"
    assert (
        main(["reference", "--chi", str(image), "--mask", str(mask), "-o", str(tmp_path / "o.nii.gz")]) == 2
    )
    err = capsys.readouterr().err
    assert "chi.nii.gz" in err and "takes 4 GB of memory; 2 GB are available" in err


def test_echo_number_that_would_fill_the_memory(fuzz, tmp_path, capsys):
    bids = Path(shutil.copytree(fuzz.good / "bids", tmp_path / "bids"))
    (old,) = bids.rglob("*echo-1_part-phase_MEGRE.nii.gz")
    old.rename(old.with_name(old.name.replace("echo-1", "echo-99999999999")))
    assert main(["check", str(bids)]) == 2
    assert "echo" in capsys.readouterr().out


def _replace(path, make):
    path.unlink()
    make(path)
