"""White matter with fibres: known tensors, and fields of several positions."""

import numpy as np
import pytest

from chimap import InputError
from chimap.numerics.tensor import to_matrix
from chimap.simulate import head_phantom
from chimap.simulate.anisotropic import anisotropic_head, positions, scan_positions
from chimap.simulate.tissue import LABELS


@pytest.fixture(scope="module")
def head():
    return anisotropic_head(head_phantom((4.0,) * 3))


def test_tensors_are_cylinders_along_the_fibres_in_white_matter_only(head):
    p = head.phantom
    fibrous = np.isin(p.labels, [LABELS["white matter"], LABELS["brain stem"]]) & p.mask
    assert ((head.anisotropy_ppm > 0) == fibrous).all()
    values, vectors = np.linalg.eigh(to_matrix(head.tensor_ppm[fibrous].astype(float)))
    np.testing.assert_allclose(values[:, 2] - values[:, 1], head.anisotropy_ppm[fibrous], atol=1e-6)
    np.testing.assert_allclose(values[:, 0], values[:, 1], atol=1e-6)
    assert np.abs((vectors[:, :, 2] * head.fibres[fibrous]).sum(axis=1)).min() > 0.99
    np.testing.assert_allclose(values.mean(axis=1), p.chi_ppm[fibrous], atol=1e-6)
    others = p.mask & ~fibrous
    np.testing.assert_allclose(
        to_matrix(head.tensor_ppm[others]), p.chi_ppm[others][:, None, None] * np.eye(3)
    )


def test_fibres_run_where_they_do_in_a_head(head):
    shape = head.fibres.shape[:3]
    mm = [(np.arange(n) - (n - 1) / 2) * 4.0 + c for n, c in zip(shape, (0, -9, -8), strict=True)]
    x, y, z = np.meshgrid(*mm, indexing="ij")
    fibrous = head.anisotropy_ppm > 0
    middle = fibrous & (np.abs(x) < 6) & (np.abs(y) < 25) & (z > 18) & (z < 32)
    stem = fibrous & (np.abs(x) < 14) & (z < -30) & (np.abs(y + 22) < 14)
    side = fibrous & (np.abs(np.abs(x) - 38) < 4) & (np.abs(z - 14) < 8) & (np.abs(y + 12) < 30)
    for where, axis in ((middle, 0), (stem, 2), (side, 1)):
        assert where.sum() > 20
        assert np.median(np.abs(head.fibres[where][:, axis])) > 0.85
    # Neighbours run alike: smooth fields of fibres.
    a, b = head.fibres[:-1], head.fibres[1:]
    both = fibrous[:-1] & fibrous[1:]
    assert np.median(np.abs((a * b).sum(axis=-1))[both]) > 0.95


def test_the_field_of_the_fibres_and_its_direction(head):
    def scan(delta, directions):
        return scan_positions(
            anisotropic_head(head.phantom, delta_chi_ppm=delta), directions, (4.0,) * 3, snr=None
        )

    h = [[0, 0, 1], [0, 0, -1], [1, 0, 0]]
    found = scan(0.018, h)
    np.testing.assert_array_equal(found.fields_ppm[..., 0], found.fields_ppm[..., 1])
    assert not found.fields_ppm[~found.mask].any()
    difference = found.fields_ppm - scan(0.0, h).fields_ppm
    assert 8e-4 < np.abs(difference[found.white_matter > 0.9]).mean() < 6e-3


def test_noise_is_that_of_the_snr(head):
    clean, noisy, better = (
        scan_positions(head, positions(2), (4.0,) * 3, snr=s, seed=3) for s in (None, 60.0, 120.0)
    )
    m = noisy.mask
    z = ((noisy.fields_ppm - clean.fields_ppm)[m] / noisy.noise_ppm[m]).ravel()
    assert z.std() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(noisy.noise_ppm[m], 2 * better.noise_ppm[m], rtol=1e-5)
    # Five echoes to 25 ms at 3 T: below 1 ppb.
    assert 4e-4 < np.median(noisy.noise_ppm[noisy.white_matter > 0.9]) < 1e-3


@pytest.mark.parametrize(("count", "most"), [(6, 90.0), (12, 35.0), (2, 20.0)])
def test_positions_are_spread_over_the_cap(count, most):
    h = positions(count, most)
    np.testing.assert_allclose(np.linalg.norm(h, axis=1), 1)
    assert h.shape == (count, 3) and np.degrees(np.arccos(h[:, 2].min())) <= most + 1e-6
    near = np.abs(h @ h.T) - 2 * np.eye(count)
    assert np.degrees(np.arccos(near.max())) > 0.45 * most / np.sqrt(count)


def test_wrong_numbers_are_refused(head):
    with pytest.raises(InputError, match="anisotropy"):
        anisotropic_head(head.phantom, delta_chi_ppm=18.0)
    with pytest.raises(InputError, match="positions"):
        positions(0)
    with pytest.raises(InputError, match="SNR"):
        scan_positions(head, [[0, 0, 1]], (4.0,) * 3, snr=-1)
