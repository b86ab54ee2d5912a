"""One map of several orientations: exact without noise, on masks, oblique and anisotropic grids, and what it warns of."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.dipole import forward_field
from chimap.numerics.threads import get_threads, set_threads
from chimap.orientation.cosmos import cosmos

PLANE = (0.0, 60.0, 120.0)


def acquisitions(degrees=PLANE, voxel=(1.0, 1.0, 1.0), twist=0.0):
    """B0 at these angles in a plane that is turned by `twist` degrees about z."""
    out = []
    for a in np.deg2rad(degrees):
        t = np.deg2rad(twist)
        b = (np.sin(a) * np.sin(t), np.sin(a) * np.cos(t), np.cos(a))
        out.append(Acquisition((0.02,), 3.0, tuple(map(float, b)), voxel))
    return out


def blobs(shape, seed=0):
    """A few boxes of susceptibility well inside the grid, and a ball around them as the mask."""
    rng = np.random.default_rng(seed)
    chi = np.zeros(shape, np.float32)
    for _ in range(8):
        low = [int(rng.integers(n // 3, n // 2)) for n in shape]
        size = [int(rng.integers(3, n // 4)) for n in shape]
        chi[tuple(slice(a, a + s) for a, s in zip(low, size))] += rng.uniform(-0.1, 0.1)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return chi, sum(g * g for g in grid) < 0.7


def error(found, truth, mask):
    r, t = found[mask] - found[mask].mean(), truth[mask] - truth[mask].mean()
    return np.linalg.norm(r - t) / np.linalg.norm(t)


@pytest.mark.parametrize(
    "shape, voxel, twist", [((25, 25, 25), (1, 1, 1), 0), ((25, 27, 27), (1, 1.5, 2), 37)]
)
def test_exact_in_closed_form_where_the_field_is_known_everywhere(shape, voxel, twist):
    chi, _ = blobs(shape)
    acqs = acquisitions(voxel=voxel, twist=twist)
    fields = [forward_field(chi, a, pad=1.0) for a in acqs]
    everywhere = np.ones(shape, bool)
    found = cosmos(fields, [everywhere] * 3, acqs, regularisation="none")
    # Odd sizes, which are transformed without padding: on the Nyquist planes of even ones all dipoles may be 0. The mean (k = 0) is in no field.
    assert error(found.chi_ppm, chi, everywhere) < 1e-4
    assert found.conditioning.number == pytest.approx(2.03, abs=0.01)
    assert found.regularisation == "none" and not found.warnings


@pytest.mark.parametrize("voxel, twist", [((1, 1, 1), 0), ((1, 1, 1.6), 25)])
def test_recovered_in_masks_of_different_scans(voxel, twist):
    shape = (28, 27, 26)
    chi, mask = blobs(shape)
    acqs = acquisitions(voxel=voxel, twist=twist)
    fields = [forward_field(chi, a) for a in acqs]
    masks = [mask.copy() for _ in acqs]
    masks[1][:, :, :8] = False
    masks[2][:6] = False
    for f, m in zip(fields, masks):
        f[~m] = np.nan
    found = cosmos(fields, masks, acqs, regularisation="none", tolerance=1e-5, iterations=200)
    assert error(found.chi_ppm, chi, found.mask) < 0.02
    np.testing.assert_array_equal(found.mask, np.sum(masks, axis=0) >= 2)
    assert not found.chi_ppm[~found.mask].any()


def test_one_orientation_alone_is_far_worse():
    chi, mask = blobs((28, 28, 28))
    acqs = acquisitions((0.0, 25.0, -25.0))
    fields = [forward_field(chi, a) * mask for a in acqs]
    errors = [
        error(cosmos(f, [mask] * len(f), a, regularisation="l2").chi_ppm, chi, mask)
        for f, a in ((fields[:1] * 2, acqs[:1] * 2), (fields, acqs))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_total_variation_lowers_the_noise_and_keeps_the_map():
    chi, mask = blobs((28, 28, 28))
    acqs = acquisitions()
    rng = np.random.default_rng(0)
    sd = np.where(mask, np.float32(0.004), np.float32(0))
    fields = [
        (forward_field(chi, a) + sd * rng.standard_normal(chi.shape).astype(np.float32)) * mask for a in acqs
    ]
    plain, smooth = (
        cosmos(fields, [mask] * 3, acqs, noise=[sd] * 3, regularisation=r) for r in ("none", "tv")
    )
    assert error(smooth.chi_ppm, chi, mask) < 0.7 * error(plain.chi_ppm, chi, mask)
    assert error(smooth.chi_ppm, chi, mask) < 0.25


def test_a_noisy_orientation_counts_less():
    chi, mask = blobs((28, 28, 28))
    acqs = acquisitions((0.0, 60.0, 120.0, 90.0))
    rng = np.random.default_rng(1)
    sd = [np.full(chi.shape, s, np.float32) for s in (0.001, 0.001, 0.001, 0.05)]
    fields = [
        (forward_field(chi, a) + s * rng.standard_normal(chi.shape).astype(np.float32)) * mask
        for a, s in zip(acqs, sd)
    ]
    weighted, blind = (cosmos(fields, [mask] * 4, acqs, noise=n, regularisation="none") for n in (sd, None))
    assert error(weighted.chi_ppm, chi, mask) < 0.5 * error(blind.chi_ppm, chi, mask)


def test_ill_conditioned_directions_are_regularised_and_said():
    chi, mask = blobs((20, 20, 20))
    acqs = acquisitions((0.0, 15.0))
    fields = [forward_field(chi, a) * mask for a in acqs]
    found = cosmos(fields, [mask] * 2, acqs, regularisation="none")
    assert found.regularisation == "l2"
    assert "ill-conditioned" in found.warnings[0] and "infinite" in found.warnings[0]
    twins = cosmos([fields[0], *fields], [mask] * 3, acquisitions((0.0, 1.0, 15.0)))
    assert "within 2 degrees" in twins.warnings[0]


def test_the_same_bits_for_any_number_of_threads():
    chi, mask = blobs((20, 21, 22))
    acqs = acquisitions()
    fields = [forward_field(chi, a) * mask for a in acqs]
    before = get_threads()
    try:
        maps = []
        for n in (1, 2):
            set_threads(n)
            maps.append(cosmos(fields, [mask] * 3, acqs, iterations=15).chi_ppm)
    finally:
        set_threads(before)
    np.testing.assert_array_equal(*maps)


def test_what_does_not_fit_is_refused():
    chi, mask = blobs((16, 16, 16))
    acqs = acquisitions()
    fields = [forward_field(chi, a) * mask for a in acqs]
    masks = [mask] * 3
    with pytest.raises(InputError, match="two or more"):
        cosmos(fields[:1], masks[:1], acqs[:1])
    with pytest.raises(InputError, match="3 fields but 2 masks"):
        cosmos(fields, masks[:2], acqs)
    with pytest.raises(InputError, match="shape"):
        cosmos([*fields[:2], fields[2][:-1]], masks, acqs)
    with pytest.raises(InputError, match="voxel sizes"):
        cosmos(fields, masks, [*acqs[:2], acqs[2].with_(voxel_size_mm=(2, 2, 2))])
    with pytest.raises(InputError, match="no regularisation"):
        cosmos(fields, masks, acqs, regularisation="l1")
    fields[1][mask] = np.nan
    with pytest.raises(InputError, match="field 2"):
        cosmos(fields, masks, acqs)
