"""The block of text to make the maps again: nothing left out."""

from __future__ import annotations

import json

import numpy as np

from chimap.report import ReportData, StageItem
from chimap.report.html import render
from chimap.report.reproduce import reproduction_text


def data(**changes):
    stages = [
        StageItem("field", "weighted", parameters={"offset": "mcpc3ds", "at": np.float32(0.5)}),
        StageItem("inversion", "tv", parameters={"lam": 0.003, "voxels": (1, 2)}),
    ]
    values = {
        "title": "Test", "subject": "sub-01", "command": "chimap run INPUT OUT --preset 'a b'", "version": "9.9", "created": "today",
        "affine": np.eye(4), "voxel_size_mm": (1, 1, 1), "software": {"NumPy": "2.0", "Numba": "0.60"},
        "inputs": [{"file": "phase.nii", "sha256": "a" * 64}], "outputs": [{"file": "sub-01_Chimap.nii.gz", "sha256": "b" * 64}],
        "stages": stages,
    }  # fmt: skip
    return ReportData(**(values | changes))


def test_everything_is_there():
    lines = reproduction_text(data()).splitlines()
    for line in (
        "chimap run INPUT OUT --preset 'a b'", "chimap 9.9", "NumPy 2.0", "Numba 0.60",
        f"{'a' * 64}  phase.nii", f"{'b' * 64}  sub-01_Chimap.nii.gz",
    ):  # fmt: skip
        assert line in lines
    stage, method, values = next(s for s in lines if s.startswith("inversion")).split(" ", 2)
    assert (stage, method) == ("inversion", "tv")
    assert json.loads(values) == {"lam": 0.003, "voxels": [1, 2]}
    assert '"at": 0.5' in next(s for s in lines if s.startswith("field"))


def test_page_holds_it_with_a_button():
    page = render(data())
    assert '<pre id="reproduce-text"># Command\nchimap run INPUT OUT --preset &#39;a b&#39;' in page
    assert 'data-copy="reproduce-text"' in page


def test_without_command_or_stages():
    text = reproduction_text(data(command="", stages=(), inputs=(), outputs=()))
    assert "(not known)" in text
    assert "SHA-256" not in text and "parameters" not in text
