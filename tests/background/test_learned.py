"""The learned background removal: what is taken off is harmonic whatever the network says, and less wrong than the classical one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from chimap.acquisition import Acquisition
from chimap.background.learned import harmonic_part, learned
from chimap.errors import InputError
from chimap.learning.synthetic.outside import total_sample
from chimap.networks import cards
from chimap.registry import get
from chimap.simulate.analytic import sphere
from small_nets import add

SHAPE = (34, 32, 26)
ACQ = Acquisition(te_s=0.02, b0_t=3.0, b0_dir=(0.2, 0.1, 0.97), voxel_size_mm=(1.7, 1.7, 2.1))


def _laplacian(v: np.ndarray, where: np.ndarray) -> np.ndarray:
    return sum(
        (np.roll(v, 1, a) + np.roll(v, -1, a) - 2 * v)[where] / ACQ.voxel_size_mm[a] ** 2 for a in range(3)
    )


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * v for n, v in zip(SHAPE, ACQ.voxel_size_mm)), indexing="ij"
    )
    return (x / 24) ** 2 + (y / 23) ** 2 + (z / 24) ** 2 < 1


@pytest.fixture(scope="module")
def background() -> np.ndarray:
    return sum(
        sphere(SHAPE, ACQ, radius_mm=5.0, chi_ppm=9.4, centre_mm=c).field_ppm
        for c in ((34.0, 0.0, 8.0), (-5.0, -35.0, -10.0))
    )


@pytest.fixture(scope="module")
def total(background: np.ndarray) -> np.ndarray:
    return background + sphere(SHAPE, ACQ, radius_mm=4.0, chi_ppm=0.3).field_ppm


def test_a_harmonic_field_is_its_own_harmonic_part(mask, background):
    smooth = harmonic_part(background * mask, mask, ACQ.voxel_size_mm)
    again = harmonic_part(smooth, mask, ACQ.voxel_size_mm)
    assert np.abs(again - smooth)[mask].max() < 2e-3 * np.abs(smooth)[mask].max()
    assert np.sqrt(((smooth - background)[mask] ** 2).mean()) < 0.02 * background[mask].std()


def test_the_harmonic_part_of_noise_is_harmonic_and_the_rim_stays(mask):
    noise = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32) * mask
    part = harmonic_part(noise, mask, ACQ.voxel_size_mm, rim=2)
    core = binary_erosion(mask, iterations=2)
    inner = binary_erosion(core)
    rough = np.abs(_laplacian(noise, inner)).mean()
    assert np.abs(_laplacian(part, inner)).mean() < 0.01 * rough
    assert np.array_equal(part[mask & ~core], noise[mask & ~core])


def test_the_background_that_is_taken_off_is_harmonic_inside(mask, total):
    taken = total * mask - learned(total, mask, ACQ).field_ppm
    inner = binary_erosion(mask, iterations=2)
    parts = np.abs(_laplacian(total, inner)).mean()
    assert np.abs(_laplacian(taken, inner)).mean() < 0.01 * parts


def test_a_stronger_field_gives_a_stronger_result(mask, total):
    noise = np.where(mask, np.float32(0.002), np.float32(0))
    one = learned(total, mask, ACQ, noise=noise).field_ppm
    three = learned(3 * total, mask, ACQ, noise=3 * noise).field_ppm
    # Not the same: what is believed of sources beforehand has a unit.
    assert np.linalg.norm(three - 3 * one) < 0.1 * np.linalg.norm(three)


def test_the_whole_mask_is_kept_and_its_mean_is_zero(mask, total):
    out = learned(total, mask, ACQ)
    assert np.array_equal(out.mask, mask) and out.noise_ppm is None
    assert out.field_ppm[mask].mean() == pytest.approx(0, abs=1e-5)
    assert not out.field_ppm[~mask].any()


def test_less_wrong_than_pdf_on_random_objects():
    ratios = []
    for seed in range(5):
        s = total_sample(np.random.default_rng([99, seed]), (32, 32, 32))
        truth = (s.total_ppm - s.background_ppm)[s.mask]
        errors = []
        for name in ("learned", "pdf"):
            d = get("background", name)(s.total_ppm, s.mask, s.acq, noise=s.noise_ppm).field_ppm[s.mask]
            errors.append((d - truth).std())
        ratios.append(errors[0] / errors[1])
    assert np.exp(np.log(ratios).mean()) < 0.95


def test_a_network_of_another_kind_is_refused(tmp_path: Path, mask, total):
    with pytest.raises(InputError, match="not one of background removal"):
        learned(total, mask, ACQ, model=str(add(tmp_path, "other")))
    with pytest.raises(InputError, match="rim"):
        learned(total, mask, ACQ, rim=-1)


def test_a_scan_outside_the_training_is_warned_of(mask, total):
    card = cards.card_of(cards.find("background"))
    assert card is not None and card.ranges.voxel_size_mm is not None
    far = ACQ.with_(voxel_size_mm=(4.0, 4.0, 4.0))
    with pytest.warns(UserWarning, match="outside what network background was trained on"):
        learned(total, mask, far)
