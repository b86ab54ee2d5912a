"""Parameters that choose themselves."""

from __future__ import annotations

import json
from typing import Literal

import nibabel as nib
import numpy as np
import pytest

import chimap
from chimap import registry, tuning
from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.cli._flags import convert
from chimap.errors import InputError
from chimap.numerics.dipole import forward_field
from chimap.pipeline import presets
from chimap.registry import Parameter
from chimap.tuning.prediction import _impulse
from chimap.tuning.problem import Problem, make_problem, middle, noise_level, open_parameter
from chimap.tuning.rules import crossing, minimum
from chimap.types import silent
from coarse_scan import coarse_scan

SD = 0.004


@pytest.fixture(scope="module")
def scan():
    """Blobs in a ball of 30 mm; field with noise."""
    rng = np.random.default_rng(5)
    acq = Acquisition((0.005, 0.015), 3.0, (0.1, 0.0, 1.0), (1.0, 1.0, 1.2))
    shape = (32, 30, 27)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.9
    chi = np.zeros(shape, np.float32)
    for _ in range(12):
        c, r = rng.uniform(-0.6, 0.6, 3), rng.uniform(0.1, 0.3)
        chi[(x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2 < r**2] = rng.uniform(-0.1, 0.15)
    chi *= mask
    field = (forward_field(chi, acq) + SD * rng.standard_normal(shape).astype(np.float32)) * mask
    noise = (SD * mask).astype(np.float32)
    return acq, mask, chi, field, noise


@pytest.fixture(autouse=True)
def coarse_phantom(monkeypatch):
    """A whole head of 1 mm takes seconds."""
    monkeypatch.setattr("chimap.tuning.phantom.FINEST_MM", 4.0)


def problem_of(scan, method, **fixed) -> Problem:
    acq, mask, _, field, noise = scan
    return make_problem(
        field,
        mask,
        acq,
        method=method,
        parameter=None,
        noise=noise,
        arrays={},
        fixed=fixed,
        crop=0,
        progress=silent,
    )


@pytest.mark.parametrize("rule", sorted(tuning.rules()))
def test_every_rule_chooses(scan, rule):
    acq, mask, _, field, noise = scan
    calls = []
    found = tuning.tune(
        field,
        mask,
        acq,
        method="tkd",
        rule=rule,
        noise=noise,
        progress=lambda done, total, **facts: calls.append(done),
    )
    again = tuning.tune(field, mask, acq, method="tkd", rule=rule, noise=noise)
    assert (found.value, found.values, found.scores) == (again.value, again.values, again.scores)
    assert found.parameter == "threshold" and found.values[0] <= found.value <= found.values[-1]
    assert list(found.values) == sorted(found.values) and np.isfinite(found.scores).all()
    assert found.runs == len(calls) > 0 and found.references
    rows = found.as_tsv().splitlines()
    assert len(rows) == len(found.values) + 1 and rows[0].startswith("threshold\tscore")
    assert sum(r.endswith("\t1") for r in rows[1:]) >= 1
    json.dumps(found.record())


def test_rules_are_documented():
    for rule in tuning.rules().values():
        assert len(rule.summary) > 20 and rule.best in ("min", "max", "zero")
        assert all(doi in (rule.function.__doc__ or "") for doi in rule.references)


def test_choice_is_close_to_the_best_value(scan):
    _, mask, chi, _, _ = scan
    p = problem_of(scan, "tv")

    def error(value):
        d = p.run(value) - chi[mask]
        return float(np.std(d) / np.std(chi[mask]))

    tried = [1.0, 2.0, 4.0, 8.0, 16.0]
    found = tuning.rules()["crossvalidation"].function(p, tried)
    assert error(found.value) < 1.05 * min(error(v) for v in tried)
    p = problem_of(scan, "tkd")
    found = tuning.rules()["phantom"].function(p, None)
    # Blobs are not the head that the rule simulates.
    assert error(found.value) < 1.15 * min(error(v) for v in p.grid(9))


def test_trace_by_impulse_is_the_mean_of_the_filter(scan):
    from chimap.numerics.dipole import dipole_kernel

    acq = scan[0]
    p = problem_of(scan, "tkd", correction=False)
    n = 128
    kernel = dipole_kernel((n, n, n), acq.voxel_size_mm, acq.b0_dir)
    passed = np.abs(kernel) / np.maximum(np.abs(kernel), 0.2)
    weight = np.where((np.arange(kernel.shape[2]) == 0) | (np.arange(kernel.shape[2]) == n // 2), 1, 2)
    assert _impulse(p, 0.2) == pytest.approx(float((passed * weight).sum() / n**3), abs=0.03)


def test_noise_is_estimated(scan, rng):
    acq, mask, _, field, _ = scan
    assert noise_level(field, mask) == pytest.approx(SD, rel=0.25)
    found = tuning.tune(field, mask, acq, method="tkd", rule="discrepancy")
    assert "noise was estimated" in found.note


def test_crop_takes_the_rest_away(scan):
    acq, mask, chi, _, noise = scan
    p = make_problem(
        forward_field(chi, acq) * mask, mask, acq, method="tkd", parameter=None, noise=noise, arrays={}, fixed={}, crop=4000,
        progress=silent,
    )  # fmt: skip
    assert p.mask.size < 0.3 * mask.size
    cut = middle(mask, acq, 4000)
    own = forward_field(np.ascontiguousarray(chi[cut]), acq)
    whole = forward_field(chi, acq)[cut]
    left, before = p.field_ppm - own, whole - own
    assert np.std(left) < 0.6 * np.std(before)


def test_number_given_as_rule(scan):
    acq, mask, _, field, noise = scan
    found = tuning.tune(field, mask, acq, method="tkd", rule="frequency", noise=noise)
    a = chimap.invert(field, mask, acq, method="tkd", noise=noise, threshold="auto:frequency")
    assert np.array_equal(a, chimap.invert(field, mask, acq, method="tkd", threshold=found.value))


def test_a_method_by_itself_refuses_words_and_says_who_chooses(scan):
    acq, mask, _, field, _ = scan
    for name, number in (("tv", "lam"), ("tkd", "threshold"), ("ndi", "iterations")):
        with pytest.raises(InputError, match="numbers only") as caught:
            registry.get("inversion", name)(field, mask, acq, **{number: "auto:gcv"})
        assert f'chimap.invert(..., method="{name}", {number}="auto:gcv")' in str(caught.value)
    with pytest.raises(InputError, match="numbers only") as caught:
        registry.get("inversion", "tfi")(field, mask, acq, lam="auto")  # no rule chooses this one
    assert "chimap.invert" not in str(caught.value)
    with pytest.raises(InputError, match="'big', not a number"):
        chimap.invert(field, mask, acq, method="tv", lam="big")


def test_tune_is_at_the_root():
    assert chimap.tune is tuning.tune and "tune" in chimap.__all__


def test_what_cannot_be_chosen(scan):
    acq, mask, _, field, _ = scan
    for params, text in (
        ({"threshold": "auto:nonsense"}, "no rule 'nonsense'"),
        ({"nonsense": "auto"}, "no parameter"),
    ):
        with pytest.raises(InputError, match=text):
            chimap.invert(field, mask, acq, method="tkd", **params)
    with pytest.raises(InputError, match="both"):
        chimap.invert(field, mask, acq, method="tv", lam="auto", tau="auto")
    with pytest.raises(InputError, match="cannot be chosen automatically"):
        tuning.check(registry.get("background", "vsharp"), {"threshold": "auto"})
    with pytest.raises(InputError, match="no number"):
        open_parameter(registry.get("inversion", "tkd"), "correction")
    with pytest.raises(InputError, match="two or more"):
        tuning.tune(field, mask, acq, values=[0.1])
    with pytest.raises(InputError, match="no rule"):
        presets.choose("inversion", method="tv", parameters={"lam": "auto:x"})
    assert (
        presets.choose("inversion", method="tv", parameters={"lam": "auto:lcurve"}).parameters["lam"]
        == "auto:lcurve"
    )


def test_words_of_the_command_line():
    assert convert(Parameter("lam", float, 1.0, ""), "auto:lcurve") == "auto:lcurve"
    assert convert(Parameter("n", int | None, 1, ""), ["auto"]) == "auto"
    assert convert(Parameter("kind", Literal["auto", "x"] | float, "auto", ""), "auto") == "auto"
    with pytest.raises(InputError, match="is not"):
        convert(Parameter("box", tuple[float, float], (1.0, 1.0), ""), "auto")


def test_search_goes_past_the_end_and_refines(scan):
    p = problem_of(scan, "tkd")
    p.method = registry.get("inversion", "tv")
    p.parameter = "lam"
    far = 4 * 10**2.2
    curve = minimum(p, lambda v: (np.log(v) - np.log(far)) ** 2, None)
    assert abs(np.log10(curve.value / far)) < 0.13 and not curve.note
    assert len(curve.values) < 16
    value, note = crossing(p, [1.0, 10.0, 100.0], [-1.0, 1.0, 3.0])
    assert value == pytest.approx(10**0.5, rel=0.01) and not note
    value, note = crossing(p, [1.0, 10.0], [2.0, 1.0])
    assert value == 10.0 and "not reached" in note


def test_figure(scan):
    from chimap.report.curve import curve_figure

    acq, mask, _, field, noise = scan
    found = tuning.tune(field, mask, acq, method="tkd", rule="lcurve", noise=noise)
    svg, png = curve_figure(found), curve_figure(found, "png")
    assert svg.startswith(b"<?xml") and png.startswith(b"\x89PNG") and svg == curve_figure(found)


def test_command(scan, tmp_path, capsys):
    acq, mask, _, field, noise = scan
    for name, volume in (("f", field), ("m", mask.astype(np.float32)), ("n", noise)):
        nib.save(nib.Nifti1Image(volume, np.diag([*acq.voxel_size_mm, 1])), tmp_path / f"{name}.nii.gz")
    common = ["--method", "tkd", "--field", tmp_path / "f.nii.gz", "--mask", tmp_path / "m.nii.gz", "--quiet"]
    common += ["--noise", tmp_path / "n.nii.gz", "--b0-dir", *acq.b0_dir]
    argv = [
        "tune",
        *common,
        "--rule",
        "discrepancy",
        "--figure",
        tmp_path / "c.svg",
        "--table",
        tmp_path / "c.tsv",
    ]
    assert main([str(a) for a in [*argv, "-o", tmp_path / "chi.nii.gz"]]) == 0
    value = float(capsys.readouterr().out)
    side = json.loads((tmp_path / "chi.json").read_text())
    assert side["Tuning"]["value"] == value and side["Tuning"]["rule"] == "discrepancy"
    assert (tmp_path / "c.svg").stat().st_size > 1000 and "misfit" in (tmp_path / "c.tsv").read_text()
    argv = ["invert", *common, "--threshold", "auto:discrepancy", "-o", tmp_path / "two.nii.gz"]
    assert main([str(a) for a in argv]) == 0
    assert np.array_equal(
        nib.load(tmp_path / "two.nii.gz").get_fdata(), nib.load(tmp_path / "chi.nii.gz").get_fdata()
    )
    assert json.loads((tmp_path / "two.json").read_text())["Tuning"]["value"] == value
    assert main([str(a) for a in ["tune", *common, "--figure", tmp_path / "c.pdf"]]) == 2
    assert main([str(a) for a in ["tune", *common, "--rule", "x"]]) == 2


def test_whole_run(tmp_path):
    coarse = coarse_scan()
    flat = coarse.flat
    argv = ["run", tmp_path, "--phase", flat / "phase.nii.gz", "--magnitude", flat / "magnitude.nii.gz"]
    argv += [
        "--mask",
        flat / "mask.nii.gz",
        "--te",
        *coarse.acq.te_s,
        "--b0",
        3,
        "--preset",
        "fast",
        "--quiet",
    ]
    argv += ["--set", "inversion.threshold=auto:discrepancy"]
    assert main([str(a) for a in argv]) == 0
    (side,) = tmp_path.rglob("*_desc-unreferenced_Chimap.json")
    record = json.loads(side.read_text())["Chimap"]
    assert record["tuning"]["rule"] == "discrepancy" and record["tuning"]["parameter"] == "threshold"
    assert record["parameters"]["threshold"] == record["tuning"]["value"]
    (text,) = tmp_path.rglob("*_methods.md")
    assert "chosen by rule discrepancy" in text.read_text() and "Engl" in text.read_text()
