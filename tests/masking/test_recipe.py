"""Mask recipes: what each step does, on a head with known brain, and what is said about wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from chimap import brain_mask
from chimap.errors import InputError
from chimap.masking import morphology, steps
from chimap.masking.recipe import STEPS, parse, recipe

from .heads import overlap, small_head


@pytest.fixture(scope="module")
def head():
    """A shaded head whose phase is smooth in the tissue but in one corner of the brain's rim."""
    magnitude, brain, acq = small_head(voxel=(4.0, 4.0, 4.0), shading=0.3)
    rng = np.random.default_rng(4)
    x, y, z = np.indices(brain.shape)
    smooth = (0.5 * x - 0.3 * y + 0.2 * z)[..., None] * np.array(acq.te_s) / acq.te_s[0]
    bad = brain & (z < 0.35 * brain.shape[2])
    phase = smooth + np.where(
        (magnitude > 0.2) & ~bad[..., None], 0, rng.uniform(-np.pi, np.pi, magnitude.shape)
    )
    return magnitude, np.angle(np.exp(1j * phase)).astype(np.float32), brain, bad, acq


def run(head, text):
    magnitude, phase, _, _, acq = head
    return brain_mask(magnitude, acq, method="recipe", phase=phase, recipe=text)


def test_a_long_recipe(head):
    magnitude, _, brain, bad, acq = head
    told = []
    found = recipe(
        magnitude,
        acq,
        phase=head[1],
        recipe="magnitude, homogeneous, bet:0.5, quality:0.3, fill, erode:1",
        progress=lambda done, total, **facts: told.append((done, total, facts["step"], facts["voxels"])),
    )
    assert [t[:3] for t in told] == [
        (n, 6, s) for n, s in enumerate(["magnitude", "homogeneous", "bet", "quality", "fill", "erode"], 1)
    ]
    assert told[1][3] == 0 and told[-1][3] == found.sum()
    good = brain & ~bad
    # A millimetre is less than a voxel: nothing is eroded.
    assert (found & good).sum() > 0.93 * good.sum()
    assert (found & bad).sum() < 0.3 * bad.sum()


def test_the_default_is_a_brain(head):
    found = brain_mask(head[0], head[4], method="recipe")
    assert overlap(found, head[2])[0] > 0.96


def test_steps_are_the_functions(head):
    magnitude, phase, _, _, acq = head
    voxel = acq.voxel_size_mm
    image = steps.homogeneous(steps.combined(magnitude), voxel)
    np.testing.assert_array_equal(run(head, "homogeneous,threshold:0.5"), steps.above(image, 0.5))
    np.testing.assert_array_equal(run(head, "quality:0.6"), steps.good_phase(phase, magnitude, acq, 0.6))
    both = steps.above(image, 0.5) & steps.good_phase(phase, magnitude, acq, 0.6)
    np.testing.assert_array_equal(run(head, "homogeneous,threshold:0.5,quality:0.6"), both)
    np.testing.assert_array_equal(
        run(head, "magnitude:0.3,largest"),
        morphology.largest_component(steps.above(steps.combined(magnitude), 0.3)),
    )
    start = steps.above(steps.combined(magnitude), 0.3)
    for name, function in (
        ("erode", morphology.erode),
        ("dilate", morphology.dilate),
        ("open", morphology.open_),
        ("close", morphology.close),
    ):
        np.testing.assert_array_equal(run(head, f"magnitude:0.3,{name}:8"), function(start, 8, voxel))


def test_homogeneous_evens_out_the_coils():
    magnitude, brain, acq = small_head(voxel=(4.0, 4.0, 4.0), shading=0.6)
    inner = morphology.erode(brain, 12, acq.voxel_size_mm) & (magnitude[..., 1] > 0.4 * magnitude[..., 0])
    before = steps.combined(magnitude)
    after = steps.homogeneous(before, acq.voxel_size_mm)

    def unevenness(v):
        y = np.indices(v.shape)[1]
        front, back = inner & (y > 0.65 * v.shape[1]), inner & (y < 0.35 * v.shape[1])
        return abs(np.log(np.median(v[front]) / np.median(v[back])))

    assert unevenness(before) > 0.5
    assert unevenness(after) < 0.3 * unevenness(before)
    assert np.median(after[brain]) == pytest.approx(1, abs=0.1)
    assert np.median(after[0]) < 0.2


def test_fast_edges_go_and_a_fast_vein_stays(head):
    acq = head[4]
    te = np.array(acq.te_s)
    rate = np.full((20, 20, 20), 20.0)
    rate[:5] = 150.0  # an edge
    rate[10:14, 9:12, 9:12] = 150.0  # a bleed
    magnitude = np.exp(-rate[..., None] * te).astype(np.float32)
    fine = acq.with_(voxel_size_mm=(1.0, 1.0, 1.0))
    kept = steps.without_fast_edges(np.ones(rate.shape, bool), magnitude, fine, 80.0)
    assert not kept[:4].any() and kept[6:].all()
    with pytest.raises(InputError, match="two echoes"):
        steps.without_fast_edges(kept, magnitude[..., :1], fine.with_(te_s=(0.01,)), 80.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" , ", "empty"),
        ("magnitude,skullstrip", r"no step 'skullstrip'.*bet\[:fraction\].*erode:mm"),
        ("bet,,fill", "no step ''"),
        ("bet:half", "'half' in the step 'bet:half' is not a number"),
        ("bet:", "not a number"),
        ("bet:2", "fraction 2 of the step bet is not between 0 and 1"),
        ("bet,erode", "needs a number. Write erode:mm"),
        ("bet,erode:-1", "not 0 or more"),
        ("bet,erode:inf", "not 0 or more"),
        ("bet,fill:3", "fill takes no number"),
        ("fill,bet", "fill comes before there is a mask"),
        ("magnitude,homogeneous", "makes no mask"),
        ("magnitude:0.5,erode:200", "nothing is left of the mask after step 2, erode"),
    ],
)
def test_wrong_recipes(head, text, said):
    with pytest.raises(InputError, match=said):
        run(head, text)


def test_quality_without_phase(head):
    with pytest.raises(InputError, match="needs the phase"):
        brain_mask(head[0], head[4], method="recipe", recipe="bet,quality")


def test_every_step_is_documented():
    parameter = next(p for p in recipe.parameters if p.name == "recipe")
    for name, step in STEPS.items():
        assert step.usage(name) in parameter.help, name
        assert step.help
    assert parse(parameter.default)
