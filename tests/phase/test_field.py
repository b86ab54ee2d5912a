"""Total field: the value, its standard deviation, the offset."""

from __future__ import annotations

import numpy as np
import pytest
from phase_scans import ellipsoid, scan
from scipy.ndimage import binary_erosion

from chimap import estimate_field, registry
from chimap.errors import InputError
from chimap.numerics.threads import set_threads

FIELDS = sorted(registry.methods("field"))


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    "te_s",
    [(0.004, 0.010), (0.003, 0.009, 0.011, 0.020), tuple(0.003 + 0.0025 * np.arange(12))],
    ids=["2 echoes", "unequal", "12 echoes"],
)
def test_field_and_its_noise(name, te_s):
    s = scan(te_s, shape=(60, 55, 50), snr=40)
    out = estimate_field(s.phase, s.mask, s.acq, magnitude=s.magnitude, method=name)
    error = (out.field_ppm - s.field)[s.mask]
    score = error / out.noise_ppm[s.mask]
    assert 0.9 < score.std() < 1.15
    assert abs(error.mean()) < 0.15 * error.std()
    # No worse than the bound for a known offset (two echoes share their noise with the offset's smooth part).
    k = np.array([s.acq.rad_per_ppm(t) for t in te_s]) * np.exp(-20 * np.array(te_s))
    assert error.std() < 1.1 * s.sigma / np.sqrt((k**2).sum())
    for volume in (out.field_ppm, out.noise_ppm, out.offset_rad, out.residual):
        assert volume.dtype == np.float32 and volume.shape == s.mask.shape and not volume[~s.mask].any()
    assert out.unwrapped_rad is None


@pytest.mark.parametrize("name", FIELDS)
def test_single_echo(name):
    s = scan((0.010,), shape=(50, 45, 40), offset=False, snr=40)
    out = estimate_field(s.phase[..., 0], s.mask, s.acq, magnitude=s.magnitude[..., 0], method=name)
    error = (out.field_ppm - s.field)[s.mask]
    assert 0.9 < (error / out.noise_ppm[s.mask]).std() < 1.15
    assert out.offset_rad is None and out.residual is None


@pytest.mark.parametrize("name", FIELDS)
def test_a_lost_echo_raises_the_noise_not_the_error(name):
    s = scan((0.004, 0.010, 0.016, 0.022), shape=(50, 45, 40), snr=60)
    lost = ellipsoid(s.mask.shape, 0.25)
    rng = np.random.default_rng(5)
    s.phase[lost, 3] = rng.uniform(-np.pi, np.pi, lost.sum())
    s.magnitude[lost, 3] *= 0.3
    out = estimate_field(s.phase, s.mask, s.acq, magnitude=s.magnitude, method=name)
    error = np.abs(out.field_ppm - s.field)
    assert np.median(error[lost]) < 6 * np.median(error[s.mask & ~lost])
    assert np.median(out.noise_ppm[lost]) > 2 * np.median(out.noise_ppm[s.mask & ~lost])


def test_structure_finer_than_a_voxel_counts_as_noise():
    s = scan(shape=(50, 45, 40))
    vein = np.zeros(s.mask.shape, bool)
    vein[:, 22:24, 19:21] = True
    turn = 0.3 * np.array([s.acq.rad_per_ppm(t) for t in s.acq.te_s])
    s.phase[vein] = np.angle(np.exp(1j * (s.phase[vein] + turn)))
    out = estimate_field(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    plain = estimate_field(s.phase, s.mask, s.acq, magnitude=s.magnitude, structure_noise=0)
    far = binary_erosion(~vein, iterations=4) & s.mask
    assert np.median(out.noise_ppm[vein & s.mask]) > 5 * np.median(out.noise_ppm[far])
    assert np.median(plain.noise_ppm[vein & s.mask]) < 2 * np.median(plain.noise_ppm[far])


def test_offset_is_found_to_its_border():
    s = scan(shape=(60, 55, 50), snr=60)
    offset = registry.get("offset", "mcpc3ds")(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    error = np.angle(np.exp(1j * (offset - s.offset)))[s.mask]
    assert np.abs(error).max() < 0.05 and not offset[~s.mask].any()
    single = scan((0.01,))
    assert not registry.get("offset", "mcpc3ds")(single.phase, single.mask, single.acq).any()


def test_unwrapped_phase_on_request():
    s = scan()
    out = estimate_field(s.phase, s.mask, s.acq, magnitude=s.magnitude, keep_unwrapped=True)
    turns = (out.unwrapped_rad - s.phase)[s.mask] / (2 * np.pi)
    assert np.abs(turns - np.rint(turns)).max() < 1e-5


def test_without_magnitude_and_with_lost_voxels():
    s = scan()
    out = estimate_field(s.phase, s.mask, s.acq)
    assert np.abs(out.field_ppm - s.field)[s.mask].max() < 0.05
    s.magnitude[12:15, 12:15, 12:15] = 0
    out = estimate_field(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    assert np.isfinite(out.field_ppm).all() and np.isfinite(out.noise_ppm).all()
    assert (out.noise_ppm[13, 13, 13] > 10 * np.median(out.noise_ppm[s.mask])).all()


@pytest.mark.parametrize("axis", [0, 2])
def test_one_slice(axis):
    shape = [60, 57, 53]
    shape[axis] = 1
    s = scan(shape=tuple(shape))
    out = estimate_field(s.phase, s.mask, s.acq, magnitude=s.magnitude)
    assert np.abs(out.field_ppm - s.field)[s.mask].max() < 0.05


def test_threads_do_not_matter_and_nothing_outside_the_mask():
    s = scan()
    s.phase[~s.mask] = np.nan
    s.magnitude[~s.mask] = np.inf
    results = []
    for n in (1, 2, 3):
        set_threads(n)
        try:
            results.append(estimate_field(s.phase, s.mask, s.acq, magnitude=s.magnitude))
        finally:
            set_threads(None)
    for other in results[1:]:
        for name in ("field_ppm", "noise_ppm", "offset_rad", "residual"):
            np.testing.assert_array_equal(getattr(results[0], name), getattr(other, name))


def test_errors_say_what_to_do():
    s = scan()
    with pytest.raises(InputError, match=r"outlier_rad is -1\. Give 0 or more"):
        estimate_field(s.phase, s.mask, s.acq, outlier_rad=-1)
    with pytest.raises(InputError, match=r"no method 'no'\. Choose one of: .*romeo"):
        estimate_field(s.phase, s.mask, s.acq, unwrapping="no")
    with pytest.raises(InputError, match="smoothing_mm"):
        registry.get("offset", "mcpc3ds")(s.phase, s.mask, s.acq, smoothing_mm=-1)
    with pytest.raises(InputError, match="order is 9"):
        registry.get("offset", "mcpc3ds")(s.phase, s.mask, s.acq, order=9)
