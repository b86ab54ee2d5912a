"""The head's paramagnetic and diamagnetic sources, and the R2' they make."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.errors import InputError
from chimap.simulate import head_phantom, simulate_scan
from chimap.simulate.sources import DR_HZ_PER_PPM_3T, PARAMAGNETIC_PPM
from chimap.simulate.tissue import LABELS, TISSUES


@pytest.fixture(scope="module")
def phantom():
    return head_phantom((3, 3, 3), seed=3, sources=True)


def test_parts_have_their_signs_and_sum_to_the_susceptibility(phantom):
    para = phantom.sources.paramagnetic_ppm
    assert (para >= 0).all() and (phantom.chi_ppm - para <= 0).all()
    for name, mean in PARAMAGNETIC_PPM.items():
        where = phantom.labels == LABELS[name]
        assert para[where].mean() == pytest.approx(mean, abs=0.25 * mean + 0.004), name


def test_r2prime_follows_the_line_and_r2star_follows_r2prime(phantom):
    para, r2prime = phantom.sources.paramagnetic_ppm, phantom.sources.r2prime
    for name in ("white matter", "putamen", "globus pallidus"):
        where = phantom.labels == LABELS[name]
        line = DR_HZ_PER_PPM_3T * (2 * para - phantom.chi_ppm)[where]
        assert np.allclose(r2prime[where], line, rtol=1e-3)
        r2 = (phantom.r2star - r2prime)[where]
        assert r2.mean() == pytest.approx(TISSUES[name].r2, rel=0.1)
    # Calcification is no scattered source.
    stone = phantom.labels == LABELS["calcification"]
    assert r2prime[stone].max() < 0.5 * DR_HZ_PER_PPM_3T * 2.5


def test_the_rest_of_the_head_is_the_same(phantom):
    plain = head_phantom((3, 3, 3), seed=3)
    assert plain.sources is None
    assert np.array_equal(plain.chi_ppm, phantom.chi_ppm) and np.array_equal(plain.labels, phantom.labels)


def test_r2prime_grows_with_the_field_and_may_deviate(phantom):
    strong = head_phantom((3, 3, 3), b0_t=6.0, seed=3, sources=True).sources.r2prime
    off = head_phantom((3, 3, 3), seed=3, sources=True, r2prime_deviation=0.2).sources.r2prime
    where = (phantom.labels == LABELS["white matter"]) & phantom.mask
    r2prime = phantom.sources.r2prime[where]
    assert np.allclose(strong[where], 2 * r2prime, rtol=1e-4)
    assert 0.1 < np.std(off[where] / r2prime) < 0.3
    with pytest.raises(InputError, match="r2prime_deviation"):
        head_phantom((6, 6, 6), sources=True, r2prime_deviation=2)


def test_a_scan_knows_the_parts(phantom):
    acq = Acquisition((0.005, 0.015), 3.0, voxel_size_mm=(6, 6, 6))
    scan = simulate_scan(phantom, acq, snr=None)
    m = scan.mask
    total = scan.paramagnetic_ppm + scan.diamagnetic_ppm
    assert np.allclose(total[m], scan.chi_ppm[m], atol=1e-5)
    assert (scan.paramagnetic_ppm[m] >= 0).all() and (scan.diamagnetic_ppm[m] <= 0).all()
    assert 3 < scan.r2prime[m].mean() < 10 < scan.r2star[m].mean()


def test_the_command_writes_them(tmp_path):
    argv = ["simulate", str(tmp_path), "--voxel", "6", "6", "6", "--te", "0.005", "0.015", "--format", "flat"]
    assert main([*argv, "--sources", "--quiet"]) == 0
    names = {p.name for p in (tmp_path / "truth").iterdir()}
    assert {"paramagnetic.nii.gz", "diamagnetic.nii.gz", "r2prime.nii.gz"} <= names
    assert main([*argv, "--sources", "--object", "sphere"]) == 2
