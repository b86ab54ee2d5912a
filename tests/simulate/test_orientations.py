"""One head in several positions: the motion is what was asked for, the head and its field turn with it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.simulate import head_phantom
from chimap.simulate.orientations import (
    HeadPosition,
    moved,
    simulate_orientations,
    standard_positions,
    with_margin,
)

ACQ = Acquisition((0.004, 0.012), 3.0, voxel_size_mm=(6.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def phantom():
    return head_phantom((6.0, 6.0, 6.0))


def test_positions_are_proper_rotations_the_way_the_head_goes():
    r = HeadPosition(nod_deg=20).rotation()
    assert np.allclose(r @ r.T, np.eye(3)) and np.linalg.det(r) == pytest.approx(1)
    assert (r @ [0, 0, 1])[1] > 0.3  # the crown goes to the front, the chin to the chest
    assert (HeadPosition(tilt_deg=20).rotation() @ [0, 0, 1])[0] > 0.3  # to the right
    assert (HeadPosition(turn_deg=20).rotation() @ [0, 1, 0])[0] < -0.3  # the face to the left


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_standard_positions_keep_within_the_tilt(count):
    tilts = [np.degrees(np.arccos(p.rotation()[2, 2])) for p in standard_positions(count, 20, seed=1)]
    assert tilts[0] == 0 and len(tilts) == count
    assert all(19 < t < 20.01 for t in tilts[1:])


@pytest.mark.parametrize("call", [lambda: standard_positions(0), lambda: standard_positions(3, 95)])
def test_positions_that_cannot_be_are_refused(call):
    with pytest.raises(InputError):
        call()


def test_a_phantom_that_does_not_move_is_the_same(phantom):
    assert moved(phantom, np.eye(4)) is phantom


def test_the_head_goes_where_the_motion_says(phantom):
    wide = with_margin(phantom, ACQ)
    motion = np.eye(4)
    motion[:3, :3] = HeadPosition(0, 15).rotation()
    motion[:3, 3] = (6, -12, 0)
    turned = moved(wide, motion)
    size, centre = np.asarray(wide.voxel_size_mm), (np.asarray(wide.mask.shape) - 1) / 2
    before, after = (
        (np.asarray(ndimage.center_of_mass(m)) - centre) * size for m in (wide.mask, turned.mask)
    )
    assert after == pytest.approx(motion[:3, :3] @ before + motion[:3, 3], abs=0.5)
    assert turned.mask.sum() == pytest.approx(wide.mask.sum(), rel=0.02)
    # No edge overshoots: values stay within those of the phantom.
    assert turned.chi_ppm.min() >= wide.chi_ppm.min() and turned.chi_ppm.max() <= wide.chi_ppm.max()


def test_scans_tell_their_motion_in_mm_of_the_affine(phantom):
    acq = ACQ.with_(b0_dir=(0.0, 0.3, 1.0))
    positions = [HeadPosition(), HeadPosition(10, -12, 3, (4, 0, -5))]
    first, second = simulate_orientations(phantom, acq, positions, snr=None)
    assert np.allclose(first.parameters["head_motion"], np.eye(4))
    from chimap.simulate.dataset import scanner_affine

    affine = scanner_affine(acq, first.mask.shape)
    centres = [(affine @ (*ndimage.center_of_mass(s.mask), 1))[:3] for s in (first, second)]
    motion = np.asarray(second.parameters["head_motion"])
    assert (motion @ (*centres[0], 1))[:3] == pytest.approx(centres[1], abs=1.0)
    assert second.phase.shape == first.phase.shape
    assert not np.allclose(second.local_field_ppm, first.local_field_ppm, atol=0.01)
