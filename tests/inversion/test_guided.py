"""Guides help where they share edges with susceptibility, and do no harm where they do not."""

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError, warnings_to
from chimap.inversion._spheres import filtered, spheres_of
from chimap.inversion.guided import guided
from chimap.inversion.tv import tv
from chimap.numerics.box import working_box
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.numerics.guides import LEAST, edge_directions
from chimap.numerics.smv import depth_mm

ACQ = Acquisition((0.02,), 3.0, (0.1, 0.2, 0.97))


@pytest.fixture(scope="module")
def phantom():
    """Blocks of tissue with texture; R2* follows its size, a second image has edges elsewhere."""
    rng = np.random.default_rng(1)
    shape = (40, 42, 38)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.85
    chi = 0.05 * ((np.floor(4 * x) + np.floor(3 * y) + np.floor(3 * z)) % 2).astype(np.float32)
    chi[(np.abs(x) < 0.15) & (np.abs(z) < 0.3)] = 0.15
    chi *= mask
    field = forward_field(chi, ACQ) + rng.normal(0, 0.004, shape).astype(np.float32)
    r2star = (20 + 200 * np.abs(chi - 0.02) + rng.normal(0, 0.5, shape)).astype(np.float32)
    other = (1 + 0.5 * (np.floor(5 * y + 0.3) % 2) + rng.normal(0, 0.01, shape)).astype(np.float32)
    return chi, field * mask, mask, r2star, other


def _error(a, chi, mask):
    d = (a - chi)[mask]
    return np.linalg.norm(d - d.mean()) / np.linalg.norm(chi[mask] - chi[mask].mean())


def test_a_guide_with_the_same_edges_helps_and_one_with_others_does_little_harm(phantom):
    chi, field, mask, r2star, other = phantom
    plain = _error(tv(field, mask, ACQ, lam=20.0), chi, mask)
    helped = _error(guided(field, mask, ACQ, lam=20.0, r2star=r2star), chi, mask)
    misled = _error(guided(field, mask, ACQ, lam=20.0, magnitude=other), chi, mask)
    assert helped < 0.85 * plain
    assert misled < 1.15 * plain


def test_without_guides_it_is_tv(phantom):
    _, field, mask, _, _ = phantom
    assert np.array_equal(guided(field, mask, ACQ, lam=4.0), tv(field, mask, ACQ, lam=4.0))


def test_scale_and_sign_of_a_guide_do_not_matter(phantom):
    _, _, mask, r2star, other = phantom
    one = edge_directions([r2star, other], mask, (1, 1, 2), 0.4)
    two = edge_directions([-3 * r2star + 7, other], mask, (1, 1, 2), 0.4)
    assert np.allclose(np.abs(one), np.abs(two), atol=1e-3)
    assert np.all((one**2).sum(0) <= 1 - LEAST + 1e-5)


def test_directions_are_those_of_the_largest_eigenvalue():
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(9, 8, 7)).astype(np.float32) for _ in range(2)]
    mask = np.ones((9, 8, 7), bool)
    v = edge_directions(images, mask, (1, 1, 1), 0.5)
    flat = edge_directions([np.ones((9, 8, 7), np.float32)], mask, (1, 1, 1), 0.5)
    assert not flat.any()
    ramp = np.broadcast_to(np.arange(9, dtype=np.float32)[:, None, None], (9, 8, 7))
    along = edge_directions([ramp], mask, (1, 1, 1), 0.5)[:, 4, 4, 3]
    assert np.allclose(along, [np.sqrt(1 - 1 / (1 + 4)), 0, 0], atol=1e-3)
    assert v.any()


def test_contrast_must_be_positive(phantom):
    _, field, mask, r2star, _ = phantom
    with pytest.raises(InputError, match="contrast"):
        guided(field, mask, ACQ, r2star=r2star, contrast=0.0)


def test_with_spheres_a_field_from_outside_hardly_reaches_the_map(phantom):
    chi, field, mask, r2star, _ = phantom
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in mask.shape), indexing="ij")
    # Harmonic on these voxels: no source inside explains it.
    background = (
        0.02 * x * y + 0.02 * np.exp(1.5 * z) * np.cos(1.5 * (mask.shape[0] - 1) / (mask.shape[2] - 1) * x)
    ).astype(np.float32)
    error = {}
    for smv_mm in (0.0, 10.0):
        for name, f in (("alone", field), ("both", (field + background) * mask)):
            error[smv_mm, name] = _error(
                guided(f, mask, ACQ, r2star=r2star, lam=20.0, smv_mm=smv_mm), chi, mask
            )
    assert error[10.0, "both"] < 1.1 * error[10.0, "alone"]
    assert error[0.0, "both"] > 1.3 * error[0.0, "alone"]
    assert error[10.0, "both"] < error[0.0, "both"]
    # What it costs where there is no background.
    assert error[10.0, "alone"] < 2 * error[0.0, "alone"]


def test_parts_cover_the_mask_by_the_largest_sphere_that_fits(phantom):
    _, field, mask, _, _ = phantom
    box = working_box(mask, ACQ)
    kernel = dipole_kernel(box.shape, ACQ.voxel_size_mm, ACQ.b0_dir)
    data = filtered(field, mask, ACQ, box, kernel, spheres_of(10.0, 3, ACQ))
    inside = box.crop(mask)
    assert not data.part[~inside].any() and len(data.kernels) == 4
    assert data.share == pytest.approx((data.part > 0).sum() / mask.sum())
    for n, f in enumerate(data.fields, 1):
        assert not f[data.part != n].any()
    assert np.array_equal(sum(data.fields), data.target)
    depth = box.crop(depth_mm(mask, ACQ.voxel_size_mm))
    assert depth[data.part == 1].min() >= 10.0 > depth[data.part == 3].max()


def test_a_thin_mask_is_inverted_without_spheres_and_says_so(phantom):
    _, field, mask, _, _ = phantom
    thin = np.zeros_like(mask)
    thin[:, :, 18:20] = mask[:, :, 18:20]
    told = []
    with warnings_to(told.append):
        one = tv(field * thin, thin, ACQ, smv_mm=10.0)
    assert "smv_mm 0" in told[0]
    assert np.array_equal(one, tv(field * thin, thin, ACQ))


def test_spheres_do_not_spread_what_voxels_without_known_noise_hold(phantom):
    _, field, mask, r2star, _ = phantom
    noise = np.where(mask, np.float32(0.004), np.float32(0))
    spoiled = field.copy()
    for at in ((12, 20, 18), (25, 15, 20)):
        noise[at] = 0
        spoiled[at] = 3.0
    clean = guided(field, mask, ACQ, noise=noise, r2star=r2star, smv_mm=10.0)
    found = guided(spoiled, mask, ACQ, noise=noise, r2star=r2star, smv_mm=10.0)
    assert np.abs(found - clean).max() < 1e-3
