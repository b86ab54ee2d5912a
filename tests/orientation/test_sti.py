"""Tensors from fields of several positions: noise-free recovery, known axes, priors, and what is refused."""

import numpy as np
import pytest

from chimap import Acquisition, InputError
from chimap.numerics.tensor import from_matrix, tensor_field, to_matrix
from chimap.orientation.sti import direction_condition, sti
from chimap.orientation.tensor_maps import tensor_maps
from chimap.simulate.anisotropic import positions

VOXEL = (2.0, 2.0, 2.5)


def acquisitions(directions):
    return [Acquisition((0.02,), 3.0, tuple(h), VOXEL) for h in directions]


@pytest.fixture(scope="module")
def sample():
    """A ball of fluid with a bent bundle of fibres and a ball of iron in it."""
    shape = (26, 28, 22)
    p = [(i - (n - 1) / 2) * d for i, n, d in zip(np.indices(shape), shape, VOXEL, strict=True)]
    mask = sum(c * c for c in p) < 22**2
    radius = np.hypot(p[0], p[1] + 12)
    bundle = (np.abs(radius - 14) < 5) & (np.abs(p[2]) < 8) & mask
    v = np.stack([-(p[1] + 12), p[0], 0.3 * radius], axis=-1)
    v = np.where(bundle[..., None], v / np.linalg.norm(v, axis=-1, keepdims=True), 0).astype(np.float32)
    iron = (sum((c - o) ** 2 for c, o in zip(p, (0, 15, 0), strict=True)) < 16) & mask
    mean = np.where(bundle, -0.03, np.where(iron, 0.1, 0))
    delta = np.where(bundle, 0.018, 0)
    eye = np.eye(3) * np.ones((*shape, 1, 1))
    outer = v[..., :, None] * v[..., None, :]
    x = mean[..., None, None] * eye + delta[..., None, None] * (outer - eye / 3)
    return {"tensor": from_matrix(x).astype(np.float32), "mask": mask, "bundle": bundle, "v": v, "mean": mean}


def fields_of(sample, directions):
    return tensor_field(sample["tensor"], directions, VOXEL) * sample["mask"][..., None]


def errors(found, sample):
    """Largest error of the tensor in ppm, median angle in degrees, and mean anisotropy in ppm over the bundle."""
    b = sample["bundle"]
    maps = tensor_maps(found.tensor_ppm, sample["mask"])
    cosine = np.abs((maps.direction[b] * sample["v"][b]).sum(axis=1))
    worst = np.abs(found.tensor_ppm - sample["tensor"]).max()
    return worst, np.median(np.degrees(np.arccos(np.clip(cosine, 0, 1)))), maps.anisotropy_ppm[b].mean()


def test_six_spread_directions_give_the_tensor_back(sample):
    h = positions(6)
    found = sti(
        fields_of(sample, h), sample["mask"], acquisitions(h),
        isotropic=~sample["bundle"], smooth=0, smooth_mean=0, tolerance=1e-5, iterations=300,
    )  # fmt: skip
    worst, angle, anisotropy = errors(found, sample)
    # What is left comes from the periodic copies of the object.
    apart = (found.tensor_ppm - sample["tensor"])[sample["bundle"]]
    assert worst < 5e-3 and np.sqrt((apart**2).mean()) < 3e-4
    assert angle < 1 and anisotropy == pytest.approx(0.018, rel=0.01)
    assert found.tensor_ppm[~sample["mask"]].max() == 0 and found.converged


def test_without_isotropic_tissue_it_is_found_up_to_the_edge(sample):
    h = positions(8)
    found = sti(
        fields_of(sample, h), sample["mask"], acquisitions(h), smooth=0, smooth_mean=0, iterations=200
    )
    _, angle, anisotropy = errors(found, sample)
    assert angle < 6 and anisotropy == pytest.approx(0.018, rel=0.15)


def test_two_directions_do_with_known_fibres(sample):
    h = positions(2, 40)
    found = sti(
        fields_of(sample, h), sample["mask"], acquisitions(h), model="axis", axis=sample["v"],
        smooth=0, smooth_mean=0, tolerance=1e-5, iterations=500,
    )  # fmt: skip
    worst, angle, anisotropy = errors(found, sample)
    assert worst < 0.02 and angle < 0.1 and anisotropy == pytest.approx(0.018, rel=0.05)


def test_known_axes_pull_where_noise_rules(sample):
    h = positions(6, 35)
    rng = np.random.default_rng(0)
    noisy = fields_of(sample, h) + 1e-3 * rng.standard_normal((*sample["mask"].shape, 6)).astype(np.float32)
    given = {"isotropic": ~sample["bundle"], "smooth": 0.03}
    free = errors(sti(noisy, sample["mask"], acquisitions(h), **given), sample)[1]
    led = errors(sti(noisy, sample["mask"], acquisitions(h), axis=sample["v"], **given), sample)[1]
    assert led < 0.6 * free


def test_without_symmetry_the_smooth_solution_agrees(sample):
    h = positions(12)
    f = fields_of(sample, h)
    given = {"isotropic": ~sample["bundle"], "smooth": 0.02}
    six = sti(f, sample["mask"], acquisitions(h), **given)
    nine = sti(f, sample["mask"], acquisitions(h), model="asymmetric", **given)
    b = sample["bundle"]
    apart = np.abs(six.tensor_ppm - nine.tensor_ppm)[b].mean()
    assert 0 < apart < 0.1 * np.abs(six.tensor_ppm[b]).mean()
    assert errors(nine, sample)[1] < 8


def test_isotropic_tissue_is_isotropic(sample):
    h = positions(6)
    f = fields_of(sample, h)
    for model in ("symmetric", "asymmetric"):
        found = sti(
            f, sample["mask"], acquisitions(h), model=model, isotropic=~sample["bundle"], iterations=5
        )
        m = to_matrix(found.tensor_ppm[sample["mask"] & ~sample["bundle"]])
        np.testing.assert_allclose(m, m[:, :1, :1] * np.eye(3), atol=1e-7)


def test_bad_data_of_a_position_count_less_by_their_noise_and_mask(sample):
    h = positions(8)
    f = fields_of(sample, h)
    masks = [sample["mask"].copy() for _ in h]
    noise = np.full_like(f, 1e-3)
    spoiled = f.copy()
    spoiled[10:14, 10:20, :, 3] += 0.3
    given = {"isotropic": ~sample["bundle"], "smooth": 0, "smooth_mean": 0, "tolerance": 1e-4}
    plain_angle = errors(sti(spoiled, sample["mask"], acquisitions(h), **given), sample)[1]
    noise[10:14, 10:20, :, 3] = 1.0
    by_noise = sti(spoiled, sample["mask"], acquisitions(h), noise=noise, noise_floor=0, **given)
    masks[3][10:14, 10:20] = False
    spoiled[10:14, 10:20, :, 3] = np.nan
    by_mask = sti(spoiled, masks, acquisitions(h), **given)
    assert plain_angle > 5
    assert errors(by_noise, sample)[1] < 1 and errors(by_mask, sample)[1] < 1


def test_a_guide_keeps_edges(sample):
    h = positions(8)
    f = fields_of(sample, h)
    given = {"smooth": 2.0, "smooth_mean": 2.0, "isotropic": ~sample["bundle"]}
    iron = sample["mean"] > 0.05
    guide = sample["mean"].astype(np.float32)
    with_guide = sti(f, sample["mask"], acquisitions(h), guide=guide, edges=0.2, **given)
    without = sti(f, sample["mask"], acquisitions(h), **given)
    values = [t.tensor_ppm[iron][:, [0, 3, 5]].mean() for t in (with_guide, without)]
    assert abs(values[0] - 0.1) < 0.7 * abs(values[1] - 0.1)


def test_the_same_bits_for_any_number_of_threads(sample):
    from chimap.numerics.threads import get_threads, set_threads

    h = positions(6)
    f = fields_of(sample, h)
    before, maps = get_threads(), []
    try:
        for n in (1, 3):
            set_threads(n)
            maps.append(sti(f, sample["mask"], acquisitions(h), iterations=3).tensor_ppm)
    finally:
        set_threads(before)
    np.testing.assert_array_equal(maps[0], maps[1])


def test_condition_of_directions():
    assert direction_condition(positions(12)) < 3
    assert direction_condition(positions(12, 20)) > 30
    assert direction_condition(positions(5)) == np.inf
    # Six on one cone leave a component unseen.
    a = np.arange(6) * np.pi / 3
    cone = np.stack([0.5 * np.cos(a), 0.5 * np.sin(a), np.full(6, 0.87)], axis=1)
    assert direction_condition(cone) > 1e6


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (5, {}, "do not determine"),
        (1, {"isotropic": True}, "within 5 degrees"),
        (6, {"model": "axis"}, "needs the fibre directions"),
        (6, {"model": "asymmetric", "axis": True}, "takes no fibre directions"),
        (6, {"model": "cubic"}, "no tensor model"),
        (6, {"smooth": -1}, "not negative"),
        (6, {"edges": 1.0, "guide": True}, "edges"),
    ],
)
def test_what_cannot_be_solved_is_refused(sample, count, options, words):
    h = positions(count)
    arrays = {"isotropic": ~sample["bundle"], "axis": sample["v"], "guide": sample["mean"]}
    options = {k: arrays[k] if v is True else v for k, v in options.items()}
    with pytest.raises(InputError, match=words):
        sti(fields_of(sample, h), sample["mask"], acquisitions(h), **options)


def test_wrong_shapes_and_nan_are_refused(sample):
    h = positions(6)
    f, m, acqs = fields_of(sample, h), sample["mask"], acquisitions(h)
    with pytest.raises(InputError, match="5 acquisitions"):
        sti(f, m, acqs[:5])
    with pytest.raises(InputError, match="field 2 has shape"):
        sti([f[..., 0], f[:-1, ..., 1], *np.moveaxis(f[..., 2:], -1, 0)], m, acqs)
    bad = f.copy()
    bad[13, 14, 11, 4] = np.nan
    with pytest.raises(InputError, match="field 5"):
        sti(bad, m, acqs)
