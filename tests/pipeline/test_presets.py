"""Presets name methods and parameters that exist."""

from __future__ import annotations

import pytest

from chimap.errors import InputError
from chimap.pipeline import presets
from chimap.registry import STAGES


def test_names():
    assert presets.names()[0] == "consensus"
    assert set(presets.names()) == {"consensus", "fast", "best"}


@pytest.mark.parametrize("name", ["consensus", "fast", "best"])
def test_every_stage_has_a_choice(name):
    assert {"title", "summary"} <= presets.load(name).keys()
    for stage in STAGES:
        choice = presets.choose(stage, preset=name)
        assert choice.all_parameters.keys() == {p.name for p in choice.method.parameters}


def test_parameters_belong_to_their_method():
    tv = presets.choose("inversion", method="tv", parameters={"tolerance": 0.5})
    assert tv.all_parameters["tolerance"] == 0.5
    with pytest.raises(InputError, match="no parameter 'nonsense'"):
        presets.choose("inversion", parameters={"nonsense": 1})


def test_what_a_preset_says_of_any_method_goes_to_those_that_know_it():
    assert presets.choose("inversion").parameters["smv_mm"] == 12.0
    assert presets.choose("inversion", method="tv").parameters == {"smv_mm": 12.0}
    assert presets.choose("inversion", method="tkd").parameters == {}
    assert presets.choose("inversion", method="tv", parameters={"smv_mm": 0.0}).parameters == {"smv_mm": 0.0}


def test_unknown_preset():
    with pytest.raises(InputError, match="no preset 'x'"):
        presets.choose("inversion", preset="x")
