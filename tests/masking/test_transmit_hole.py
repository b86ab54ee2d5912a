"""Holes of the transmit field: the mask keeps the brain in them as long as there is signal."""

import numpy as np
import pytest

from chimap import registry
from chimap.errors import InputError
from chimap.simulate.effects import transmit_hole

from .heads import small_head

SNR = 60


@pytest.fixture(scope="module")
def clean():
    return small_head(voxel=(4.0, 4.0, 4.0), snr=1e9)


@pytest.mark.parametrize(
    "centre_mm", [(45.0, 0.0, -25.0), (0.0, -50.0, -40.0)], ids=["temporal", "cerebellum"]
)
def test_no_brain_is_lost_where_the_signal_falls_to_a_fifth(clean, centre_mm):
    magnitude, brain, acq = clean
    one = np.ones((*brain.shape, 1), np.complex64)
    hole = transmit_hole(one, acq, centre_mm=centre_mm, depth=0.8)[..., 0].real
    assert hole[brain].min() == pytest.approx(0.2, abs=0.01)
    echoes = transmit_hole(magnitude.astype(np.complex64), acq, centre_mm=centre_mm, depth=0.8)
    noise = np.random.default_rng(1).standard_normal((2, *magnitude.shape)) / SNR
    mask = registry.get("mask", "auto")(np.abs(echoes + noise[0] + 1j * noise[1]).astype(np.float32), acq)
    lost = brain & ~mask
    assert lost[hole < 0.5].sum() < 0.03 * (brain & (hole < 0.5)).sum()
    assert lost.sum() < 0.005 * brain.sum()


def test_a_depth_beyond_all_signal_is_refused(clean):
    with pytest.raises(InputError, match="outside 0 to 1"):
        transmit_hole(np.ones((4, 4, 4, 1), np.complex64), clean[2], depth=1.5)
