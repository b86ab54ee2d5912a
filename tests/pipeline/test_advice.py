"""Advice on echo times: T2* by field, the noise formula against a simulation, the limits by wraps."""

import json

import numpy as np
import pytest

from chimap.cli import main
from chimap.errors import InputError
from chimap.pipeline.advice import field_noise_ppb, judge, propose, t2star


def of(b0):
    return {t.name: t for t in t2star(b0)}


def test_t2star_falls_with_the_field_and_says_where_it_is_extrapolated():
    values = [of(b0)["white matter"].t2star_ms for b0 in (1.5, 3, 5, 7, 9.4)]
    assert values == sorted(values, reverse=True)
    assert of(7)["putamen"].t2star_ms == pytest.approx(16.1) and not of(7)["putamen"].extrapolated
    assert of(9.4)["putamen"].extrapolated and of(9.4)["putamen"].t2star_ms < 14
    with pytest.raises(InputError, match="no T2"):
        t2star(21)


def test_one_echo_is_best_at_t2star():
    te = np.arange(2, 80, 0.5)
    noise = [field_noise_ppb([t], 25.0, 7.0) for t in te]
    assert te[int(np.argmin(noise))] == pytest.approx(25, abs=0.5)


def test_the_noise_is_what_a_simulation_gives():
    rng = np.random.default_rng(0)
    te, t2, b0, snr = np.array([4.0, 10.0, 16.0]), 20.0, 7.0, 100.0
    size = np.exp(-te / t2)
    signal = size + (rng.standard_normal((20000, 3)) + 1j * rng.standard_normal((20000, 3))) / snr
    # Least squares of the phase over TE, weighted by the squared signal.
    slope = (np.angle(signal) * te * size**2).sum(1) / (te**2 * size**2).sum()
    ppb = slope / (2 * np.pi * 42.577478 * b0 * 1e-3) * 1e3
    assert ppb.std() == pytest.approx(field_noise_ppb(te, t2, b0, snr), rel=0.03)


def test_limits_by_wraps():
    e = judge([4, 9, 14], 7.0)
    # 5 ms and half a turn: 100 Hz; at 7 T one ppm is 298 Hz.
    assert e.span_ppm == pytest.approx(100 / 298.04, rel=1e-3)
    assert e.step_ppm == pytest.approx(1000 / 28 / 298.04, rel=1e-3)
    with pytest.raises(InputError, match="increasing"):
        judge([5, 4], 7.0)


@pytest.mark.parametrize("b0", [1.5, 3.0, 7.0, 9.4])
def test_a_proposal_meets_its_own_rules(b0):
    e = propose(b0)
    assert 3 <= len(e.te_ms) <= 8 and e.span_ppm > 0.3
    assert e.te_ms[-1] > 0.8 * of(b0)["white matter"].t2star_ms
    # It ends at the T2* of white matter: longer trains would add less for what loses its signal first.
    assert 1 < e.of_best["putamen"] < e.of_best["white matter"] < 1.8


def test_command(capsys):
    assert main(["advise", "--b0", "7"]) == 0
    said = capsys.readouterr().out
    assert "putamen" in said and "16.1 ms" in said and "proposed echoes" in said
    assert main(["advise", "--b0", "9.4", "--te", "0.003", "0.008", "0.013", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["te_ms"] == pytest.approx([3, 8, 13]) and found["tissues"][0]["extrapolated"]
    assert main(["advise", "--b0", "7", "--te", "4", "8"]) == 2
    assert "milliseconds" in capsys.readouterr().err
