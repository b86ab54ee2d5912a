import numpy as np
import pytest

from chimap.errors import InputError
from chimap.numerics.threads import set_threads
from chimap.simulate import head_phantom
from chimap.simulate.tissue import LABELS, TISSUES


@pytest.fixture(scope="module")
def phantom():
    return head_phantom((3, 3, 3), seed=3)


def test_every_tissue_is_there_even_on_a_coarse_grid(phantom):
    assert set(np.unique(phantom.labels)) == set(LABELS.values())
    assert {name: number for name, (number, _) in phantom.table.items()} == LABELS


@pytest.mark.parametrize("seed", [0, 7])
def test_every_person_has_every_tissue(seed):
    assert set(np.unique(head_phantom((3, 3, 3), seed=seed).labels)) == set(LABELS.values())


def test_properties_are_those_of_the_tissues(phantom):
    for name, t in TISSUES.items():
        where = phantom.labels == t.label
        # Small regions may sit on one side of the smooth texture.
        assert phantom.chi_ppm[where].mean() == pytest.approx(t.chi_ppm, abs=2 * t.texture_ppm + 1e-6), name
    for a in (phantom.chi_ppm, phantom.m0, phantom.r1, phantom.r2star):
        assert a.dtype == np.float32 and a.shape == phantom.labels.shape and np.isfinite(a).all()
    assert (phantom.r2star > 0).all() and (phantom.m0 >= 0).all()


def test_the_brain_is_inside_the_skull_and_of_human_size(phantom):
    volume = phantom.mask.sum() * 27 / 1e6
    assert 1.2 < volume < 1.9
    outside = [LABELS[n] for n in ("background air", "skin", "bone", "air", "muscle", "fat", "marrow", "eye")]
    assert not np.isin(phantom.labels[phantom.mask], outside).any()
    nuclei = phantom.labels[~phantom.mask]
    assert not np.isin(
        nuclei, [LABELS[n] for n in ("putamen", "white matter", "veins", "calcification")]
    ).any()


def test_cortex_is_folded():
    labels = head_phantom((2, 2, 2)).labels
    grey, white = (labels == LABELS[n] for n in ("grey matter", "white matter"))
    assert 0.6 < grey.sum() / white.sum() < 1.6
    # The border of grey and white matter is far longer than that of a smooth shape of this volume.
    border = sum((np.diff(white.astype(np.int8), axis=a) != 0).sum() for a in range(3))
    smooth = 6 * (white.sum() * 3 / (4 * np.pi)) ** (2 / 3) * np.pi / 6 * 6 / 4
    assert border > 5 * smooth


def test_the_same_seed_is_the_same_head_whatever_the_threads(phantom):
    try:
        set_threads(1)
        again = head_phantom((3, 3, 3), seed=3)
    finally:
        set_threads(None)
    for name in ("labels", "chi_ppm", "m0", "r2star", "mask"):
        np.testing.assert_array_equal(getattr(again, name), getattr(phantom, name))
    other = head_phantom((3, 3, 3), seed=4)
    assert (other.labels != phantom.labels).mean() > 0.01


def test_relaxation_follows_the_field():
    low, high = head_phantom((4, 4, 4), b0_t=3), head_phantom((4, 4, 4), b0_t=7)
    iron = low.labels == LABELS["globus pallidus"]
    assert high.r2star[iron].mean() > 1.7 * low.r2star[iron].mean()
    assert high.r1[iron].mean() < low.r1[iron].mean()
    np.testing.assert_array_equal(low.chi_ppm, high.chi_ppm)


@pytest.mark.parametrize(
    "arguments", [{"voxel_size_mm": (0.1, 1, 1)}, {"voxel_size_mm": (1, 1)}, {"scale": 3}]
)
def test_bad_parameters_are_told(arguments):
    with pytest.raises(InputError):
        head_phantom(**arguments)
