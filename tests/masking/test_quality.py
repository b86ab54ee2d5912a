import numpy as np
import pytest

from chimap import Acquisition
from chimap.errors import InputError
from chimap.masking import quality
from chimap.numerics import threads

TE = (0.005, 0.012)
ACQ = Acquisition(TE, 3.0, voxel_size_mm=(1.0, 1.2, 2.0))


def scan(noisy=None, shape=(31, 28, 17)):
    """A phase that is linear in space and wraps often; noise where `noisy` is set."""
    rng = np.random.default_rng(0)
    x, y, z = np.indices(shape)
    ramp = 0.9 * x - 0.7 * y + 1.1 * z
    phase = np.stack([np.angle(np.exp(1j * ramp * te / TE[0])) for te in TE], -1)
    magnitude = np.ones_like(phase)
    if noisy is not None:
        phase[noisy] = rng.uniform(-np.pi, np.pi, (int(noisy.sum()), len(TE)))
        magnitude[noisy] = 0.05
    return phase.astype(np.float32), magnitude.astype(np.float32)


def box(shape, margin):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(margin, n - margin) for n in shape)] = True
    return mask


def test_linear_phase_is_perfect_and_noise_is_nothing():
    phase, magnitude = scan()
    np.testing.assert_allclose(quality.phase_quality(phase, magnitude, ACQ), 1, atol=1e-4)
    rng = np.random.default_rng(1)
    noise = rng.uniform(-np.pi, np.pi, (30, 30, 30)).astype(np.float32)
    one = Acquisition((0.01,), 3.0)
    assert quality.phase_quality(noise, None, one).mean() < 0.2


def test_refine_takes_the_bad_rim_and_keeps_the_bad_vein():
    shape = (31, 28, 17)
    mask = box(shape, 2)
    noisy = np.zeros(shape, bool)
    noisy[:6] = True  # a bad slab at the edge
    noisy[18:20, 14:16, :] = True  # a bad vein, in the middle
    noisy[:, :, :4] = noisy[:, :, 13:] = False
    noisy[18:20, 14:16, 5:12] = True
    phase, magnitude = scan(noisy)
    kept = quality.refine(mask, phase, magnitude, ACQ, rim_mm=5.0)
    assert (kept <= mask).all()
    assert not kept[2:4, 8:20, 7:10].any()
    assert kept[18:20, 14:16, 6:11].all()
    assert kept[10:28, 5:23, 5:12].all()
    holed = mask.copy()
    holed[14, 14, 8] = False
    assert quality.refine(holed, phase, magnitude, ACQ)[14, 14, 8]


def test_threshold_zero_keeps_the_mask_and_input_stays():
    phase, magnitude = scan()
    phase[0, 0, 0] = np.nan
    before = phase.copy()
    mask = box(phase.shape[:3], 3)
    threads.set_threads(1)
    one = quality.refine(mask, phase, magnitude, ACQ, threshold=0.0)
    threads.set_threads(3)
    np.testing.assert_array_equal(one, quality.refine(mask, phase, magnitude, ACQ, threshold=0.0))
    threads.set_threads(0)
    np.testing.assert_array_equal(one, mask)
    np.testing.assert_array_equal(phase, before)


def test_bad_input_is_named():
    phase, magnitude = scan()
    mask = box(phase.shape[:3], 3)
    with pytest.raises(InputError, match="threshold"):
        quality.refine(mask, phase, magnitude, ACQ, threshold=2.0)
    with pytest.raises(InputError, match="echo"):
        quality.phase_quality(phase[..., :1], None, ACQ)
    with pytest.raises(InputError, match="shape"):
        quality.refine(mask[1:], phase, magnitude, ACQ)
