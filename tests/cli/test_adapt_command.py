"""chimap adapt where torch is not installed, and flags that contradict each other."""

import sys

import pytest

import chimap.learning
from chimap.cli import main


def test_without_torch_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "chimap.learning.adapt", raising=False)
    monkeypatch.delattr(chimap.learning, "adapt", raising=False)
    assert main(["adapt", "field.nii", "--mask", "mask.nii", "-o", "mine.onnx"]) == 2
    said = capsys.readouterr().err
    assert "package torch" in said and 'pip install "chimap[learning]"' in said


def test_untrained_with_a_model_is_refused(capsys):
    pytest.importorskip("torch")
    given = [
        "adapt",
        "field.nii",
        "--mask",
        "mask.nii",
        "-o",
        "mine.onnx",
        "--untrained",
        "--model",
        "inversion",
    ]
    assert main(given) == 2
    assert "--model" in capsys.readouterr().err
