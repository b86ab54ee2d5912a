import numpy as np
import pytest

from chimap import Acquisition, registry
from chimap.errors import InputError
from chimap.numerics import threads

from .heads import overlap, small_head


def run(name, magnitude, acq, **parameters):
    facts = {}
    mask = registry.get("mask", name)(
        magnitude, acq, progress=lambda done, total, **f: facts.update(f), **parameters
    )
    return mask, facts


def ball(shape=(45, 40, 33), radius=12.0, noise=0.03):
    rng = np.random.default_rng(1)
    grid = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    inside = (grid**2).sum(0) <= radius**2
    volume = np.abs(inside + noise * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)))
    return volume.astype(np.float32), inside


@pytest.mark.parametrize(
    "options", [{}, {"shading": 0.5}, {"voxel": (4.0, 2.5, 3.1)}], ids=["plain", "shaded", "anisotropic"]
)
def test_bet_finds_the_cranial_cavity(options):
    magnitude, brain, acq = small_head(**options)
    mask, facts = run("bet", magnitude, acq)
    dice, missed, extra = overlap(mask, brain)
    assert dice > 0.97 and missed < 0.03 and extra < 0.02
    assert facts["movement_mm"] < 0.05


def test_bet_keeps_all_brain_when_it_leaves_the_csf_rim_out():
    magnitude, cavity, acq = small_head()
    brain = cavity & (magnitude[..., 0] > 0.75)
    mask, facts = run("bet", magnitude, acq, csf_mm=0.0)
    assert 0.7 < facts["csf_level"] < 0.95
    assert (brain & ~mask).sum() < 0.01 * brain.sum()
    wide, _ = run("bet", magnitude, acq, csf_mm=3.0)
    assert (mask <= wide).all() and wide.sum() > mask.sum()


def test_bet_is_the_same_for_flipped_axes_and_any_number_of_threads():
    magnitude, _, acq = small_head(voxel=(4.0, 4.0, 4.0))
    mask, _ = run("bet", magnitude, acq)
    threads.set_threads(1)
    one, _ = run("bet", magnitude, acq)
    threads.set_threads(0)
    np.testing.assert_array_equal(mask, one)
    turned = np.ascontiguousarray(magnitude.transpose(2, 0, 1, 3)[::-1])
    again, _ = run("bet", turned, acq)
    assert overlap(again[::-1].transpose(1, 2, 0), mask)[0] > 0.98


def test_auto_tells_a_head_from_other_things():
    magnitude, _, acq = small_head(voxel=(4.0, 4.0, 4.0))
    assert run("auto", magnitude, acq)[1]["method"] == "bet"
    volume, inside = ball()
    phantom = Acquisition((0.005,), 3.0, voxel_size_mm=(5.0, 5.0, 5.0))
    mask, facts = run("auto", volume, phantom)
    assert facts["method"] == "threshold"
    assert overlap(mask, inside)[0] > 0.98


def test_threshold_of_a_volume_without_background_keeps_the_tissue():
    rng = np.random.default_rng(2)
    crop = (1 + 0.15 * rng.standard_normal((31, 29, 21))).astype(np.float32)
    crop[:3, :3, :3] = 0.05
    mask, _ = run("threshold", crop, Acquisition((0.005,), 3.0, voxel_size_mm=(0.5, 0.5, 1.0)))
    assert mask.mean() > 0.99 and not mask[:3, :3, :3].any()


def test_threshold_follows_a_strong_shading():
    volume, inside = ball(radius=13.0)
    shading = np.linspace(0.4, 2.5, volume.shape[0], dtype=np.float32)[:, None, None]
    signal = np.where(inside, volume * shading, volume)
    mask, _ = run("threshold", signal, Acquisition((0.005,), 7.0, voxel_size_mm=(3.0, 3.0, 3.0)))
    assert overlap(mask, inside)[0] > 0.97


@pytest.mark.parametrize("name", ["threshold", "auto"])
def test_contract_of_odd_thin_and_broken_input(name):
    volume, inside = ball()
    acq = Acquisition((0.005,), 3.0, voxel_size_mm=(2.0, 2.2, 1.7))
    broken = volume.copy()
    broken[0, 0, :5] = np.nan
    broken[3, 2, 1] = np.inf
    before = broken.copy()
    mask, _ = run(name, broken, acq)
    np.testing.assert_array_equal(broken, before)
    assert mask.dtype == bool and mask.shape == volume.shape and mask.flags.c_contiguous
    assert overlap(mask, inside)[0] > 0.97
    thin, _ = run(name, volume[:, :, 16:17], acq)
    assert overlap(thin, inside[:, :, 16:17])[0] > 0.95
    with pytest.raises(InputError, match="zero everywhere"):
        run(name, np.zeros_like(volume), acq)


def test_parameters_out_of_range_are_named():
    volume, _ = ball()
    acq = Acquisition((0.005,), 3.0)
    for name, parameters in (
        ("bet", {"fraction": 1.5}),
        ("bet", {"csf_mm": -1.0}),
        ("threshold", {"level": 0.0}),
    ):
        with pytest.raises(InputError, match=next(iter(parameters))):
            run(name, volume, acq, **parameters)
