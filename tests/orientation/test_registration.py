"""Motion of the head is found, fields are carried over, and B0 turns with them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.io.geometry import b0_direction
from chimap.numerics.dipole import forward_field
from chimap.numerics.echoes import root_sum_of_squares
from chimap.orientation import registration
from chimap.orientation.registration import Image, angle_deg, centre_of, register
from chimap.orientation.resample import b0_in_frame, resample
from chimap.simulate import head_phantom
from chimap.simulate.dataset import scanner_affine
from chimap.simulate.orientations import HeadPosition, simulate_orientations

ACQ = Acquisition((0.006, 0.015), 3.0, (0.0, 0.2, 1.0), (4.0, 4.0, 4.0))


def affine_of(rotation, shape, voxel):
    out = np.eye(4)
    out[:3, :3] = rotation @ np.diag(voxel)
    out[:3, 3] = -out[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return out


def test_motion_of_15_degrees_is_found():
    pytest.importorskip("SimpleITK")
    positions = [HeadPosition(), HeadPosition(15, 0, 4, (5, -3, 2)), HeadPosition(-4, -15, -6, (-2, 6, 4))]
    scans = list(simulate_orientations(head_phantom((4.0, 4.0, 4.0)), ACQ, positions, snr=40))
    affine = scanner_affine(ACQ, scans[0].mask.shape)
    images = [Image(root_sum_of_squares(s.magnitude), s.mask, affine) for s in scans]
    centre = centre_of(images[0])
    for scan, image in zip(scans[1:], images[1:]):
        found = register(images[0], image)
        miss = np.linalg.inv(scan.parameters["head_motion"]) @ found.matrix
        assert angle_deg(miss) < 0.3
        assert np.linalg.norm((miss @ (*centre, 1))[:3] - centre) < 0.3
        assert found.correlation > 0.6 > found.correlation_before
        assert found.inverse_mm < 0.5 and found.inverse_deg < 0.5


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(registration.importlib, "import_module", missing)
    image = Image(np.ones((4, 4, 4), np.float32), np.ones((4, 4, 4), bool), np.eye(4))
    with pytest.raises(InputError, match=r"chimap\[registration\]"):
        register(image, image)


def test_b0_turns_with_the_head():
    # Two oblique slabs; the head tilted by 20 degrees in the second.
    r = HeadPosition(20, 0).rotation()
    first, second = HeadPosition(5, 10).rotation(), HeadPosition(-8, 3, 30).rotation()
    frame, affine = affine_of(first, (9, 9, 9), (1, 1, 2)), affine_of(second, (8, 8, 8), (1.5, 1, 1))
    motion = np.eye(4)
    motion[:3, :3] = r
    found = b0_in_frame(b0_direction(affine), affine, frame, motion)
    # In the scanner B0 is z; in the head at its first place it is the inverse rotation of z.
    assert first @ found == pytest.approx(r.T @ [0, 0, 1])
    assert b0_in_frame(b0_direction(affine), affine, frame) == pytest.approx(b0_direction(frame))


def test_a_map_is_carried_back_to_where_it_came_from():
    rng = np.random.default_rng(0)
    shape, voxel = (36, 38, 34), (1.5, 1.5, 2.0)
    smooth = gaussian_filter(rng.normal(size=shape), 2.0).astype(np.float32)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = sum(g * g for g in grid) < 0.5
    frame = affine_of(np.eye(3), shape, voxel)
    other = affine_of(HeadPosition(10, -20).rotation(), shape, voxel)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = HeadPosition(0, 12, 5).rotation(), (2, -3, 1)
    moved, there = resample(smooth, mask, frame, other, shape, np.linalg.inv(motion))
    back, inside = resample(moved, there, other, frame, shape, motion)
    assert 0.6 * mask.sum() < inside.sum() <= mask.sum() and not (inside & ~mask).any()
    core = inside & (sum(g * g for g in grid) < 0.25)
    assert np.abs(back - smooth)[core].max() < 0.02 * np.abs(smooth[core]).max()
    assert not back[~inside].any()


def test_where_nothing_moves_nothing_is_interpolated():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(7, 8, 9)).astype(np.float32)
    mask = volume > 0
    affine = affine_of(np.eye(3), volume.shape, (1, 1, 1))
    same, inside = resample(volume, mask, affine, affine, volume.shape)
    np.testing.assert_array_equal(same, volume * mask)
    np.testing.assert_array_equal(inside, mask)


def test_a_field_in_the_frame_of_the_head_is_that_of_the_turned_b0():
    # A ball and its field with B0 tilted, scanned by a slab that is turned by as much: in the frame of the head it is one field.
    shape = (32, 32, 32)
    grid = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij")
    chi = gaussian_filter((sum(g * g for g in grid) < 30).astype(np.float32), 2.0)
    acq = Acquisition((0.02,), 3.0)
    r = HeadPosition(0, 30).rotation()
    motion = np.eye(4)
    motion[:3, :3] = r
    eye = affine_of(np.eye(3), shape, (1, 1, 1))
    # In the scanner the ball looks the same, and B0 is along z.
    field = forward_field(chi, acq)
    moved, inside = resample(field, np.ones(shape, bool), eye, eye, shape, motion)
    b0 = b0_in_frame(acq.b0_dir, eye, eye, motion)
    expected = forward_field(chi, acq.with_(b0_dir=b0))
    core = inside & (sum(g * g for g in grid) < 100)
    off, without = (np.linalg.norm((f - expected)[core]) for f in (moved, field))
    assert off < 0.02 * np.linalg.norm(expected[core]) and off < 0.05 * without
