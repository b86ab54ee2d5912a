"""The methods paragraph names what ran, with numbered references."""

from __future__ import annotations

import pytest

from chimap.pipeline import presets
from chimap.pipeline.text import StageText, as_markdown, citation, methods_text
from chimap.registry import methods


def test_paragraph(acq):
    stages = [
        StageText("field", "weighted", "Weighted mean.", {"a": 0.5}, ("10.1/a", "10.1/b")),
        StageText("inversion", "tv", "Total variation", {"flag": True, "radii": (1.0, 2.5)}, ("10.1/b",)),
    ]
    text, citations = methods_text(stages, acq, preset="10.1002/mrm.30006", extra=["The end."])
    assert "3 echoes (TE 4, 10, 16 ms)" in text and "consensus recommendations [1]" in text
    assert "weighted (Weighted mean) [2, 3] with a = 0.5." in text
    assert "tv (Total variation) [3] with flag = true, radii = (1, 2.5)." in text and text.endswith(
        "The end."
    )
    assert [c["doi"] for c in citations] == ["10.1002/mrm.30006", "10.1/a", "10.1/b"]
    page = as_markdown(text, citations)
    assert "1. QSM Consensus Organization Committee" in page and "3. https://doi.org/10.1/b" in page


@pytest.mark.parametrize("preset", presets.names())
def test_papers_of_presets_are_known(preset):
    for stage in methods():
        for doi in presets.choose(stage, preset=preset).method.references:
            assert not citation(doi).startswith("https"), f"{doi} is missing in references.toml"
