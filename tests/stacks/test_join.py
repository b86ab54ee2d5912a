"""Joining: what was cut into stacks comes back, with motion, coil phases, noise and spoilt input."""

import numpy as np
import pytest
from stack_heads import ACQ, MOTION, apart, as_stack, centred, head, thick

from chimap.errors import InputError
from chimap.stacks.fields import join_fields
from chimap.stacks.join import join_stacks
from chimap.stacks.scan import Stack

SHAPE = (27, 27, 27)
OTHER = type(MOTION)((-1.0, 0.6, 1.2), (-1.0, 2.0, 1.0))


def error(joined, truth):
    """Relative error of the first echo, a constant phase apart."""
    found = joined.magnitude[..., 0] * np.exp(1j * joined.phase[..., 0])
    found = found * np.exp(-1j * np.angle(np.vdot(truth, found)))
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


def test_noise_free_stacks_give_the_isotropic_volume():
    truth = head(SHAPE, detail_mm=4.5)
    stacks = [thick(truth, axis) for axis in (2, 1, 0)]
    joined = join_stacks(stacks, ACQ, estimate_motion=False, rounds=3)
    single = np.linalg.norm(np.repeat(stacks[0].echo(0), 3, 2) - truth[..., 0]) / np.linalg.norm(
        truth[..., 0]
    )
    assert error(joined, truth[..., 0]) < 0.02 < 0.1 < single
    assert joined.acq.voxel_size_mm == pytest.approx((2, 2, 2)) and joined.acq.b0_dir == pytest.approx(
        (0, 0, 1)
    )
    assert joined.coverage.min() == 3
    # The phase between the echoes is the field's.
    object_ = np.abs(truth[..., 0]) > 0.3
    turn = np.angle(
        np.exp(1j * (joined.phase[..., 1] - joined.phase[..., 0]))
        * np.conj(truth[..., 1] * truth[..., 0].conj())
    )
    assert np.abs(turn[object_]).max() < 0.05


def test_motion_is_found_to_a_tenth_of_a_voxel_with_noise_and_coil_phases():
    moved = [None, MOTION, OTHER]
    stacks = [
        thick(head((36, 36, 36), motion=m, detail_mm=3.0), axis, noise=0.01, seed=axis, turn=0.4 * axis)
        for axis, m in zip((2, 1, 0), moved)
    ]
    joined = join_stacks(stacks, ACQ, rounds=1, iterations=2)
    assert apart(joined.motion[1], MOTION) < 0.2 and apart(joined.motion[2], OTHER) < 0.2
    assert joined.noise == pytest.approx([0.01] * 3, rel=0.25)
    assert joined.gain == pytest.approx([1] * 3, abs=0.02)


def test_shifted_stacks_and_slices_of_another_profile():
    truth = head((24, 24, 36), detail_mm=4.5)
    stacks = []
    for shift in (0, 1, 2):
        # Ideal slices of three voxels that start a voxel further on.
        part = truth[:, :, shift : shift + 33].reshape(24, 24, 11, 3, 2).mean(3)
        affine = centred((24, 24, 36), (2, 2, 2))
        affine[:3, 3] += affine[:3, 2] * (shift + 1)
        affine[:3, 2] *= 3
        stacks.append(as_stack(part, affine, ("kspace", "kspace", "boxcar")))
    joined = join_stacks(stacks, ACQ, voxel_mm=2.0, estimate_motion=False, regularisation=0.05)
    n = joined.phase.shape[2]
    assert n == 33
    middle = np.s_[:, :, 4:-4]
    found = (joined.magnitude[..., 0] * np.exp(1j * joined.phase[..., 0]))[middle]
    want = truth[:, :, :33, 0][middle]
    found = found * np.exp(-1j * np.angle(np.vdot(want, found)))
    plain = np.repeat(stacks[0].echo(0), 3, 2)[middle]
    error_ = np.linalg.norm(found - want)
    assert error_ < 0.03 * np.linalg.norm(want)
    assert error_ < 0.25 * np.linalg.norm(plain - want)


def test_a_noisier_stack_counts_less():
    truth = head(SHAPE, detail_mm=4.5)
    good = [thick(truth, axis, noise=0.01, seed=axis) for axis in (2, 1, 0)]
    bad = thick(truth, 0, noise=0.3, seed=7)
    only = join_stacks(good, ACQ, estimate_motion=False, rounds=2)
    both = join_stacks([*good, bad], ACQ, estimate_motion=False, rounds=2)
    assert error(both, truth[..., 0]) < 1.1 * error(only, truth[..., 0])


def test_fields():
    truth = head(SHAPE, detail_mm=4.5)[..., 0].real.astype(np.float32)
    stacks = [thick(truth[..., None].astype(np.complex64), axis) for axis in (2, 1, 0)]
    fields = [s.echo(0).real for s in stacks]
    noises = [np.full(f.shape, 0.01, np.float32) for f in fields]
    noises[1][:3], fields[1][:3] = 0, 99.0  # unknown there, and not believed
    found = join_fields(
        fields, noises, [s.affine for s in stacks], SHAPE, centred(SHAPE, (2, 2, 2)), regularisation=0.05
    )
    assert found.dtype == np.float32
    assert np.linalg.norm(found - truth) < 0.05 * np.linalg.norm(truth)
    with pytest.raises(InputError, match="not cubic"):
        join_fields(fields, noises, [s.affine for s in stacks], SHAPE, centred(SHAPE, (2, 2, 3)))


def test_refusals():
    one = as_stack(head((9, 9, 9)), centred((9, 9, 9), (2, 2, 2)))
    with pytest.raises(InputError, match="two or more"):
        join_stacks([one], ACQ)
    with pytest.raises(InputError, match="echo times"):
        join_stacks([one, one], ACQ.with_(te_s=(0.01,)))
    far = as_stack(
        head((9, 9, 9)), centred((9, 9, 9), (2, 2, 2)) + np.array([[0, 0, 0, 500]] + [[0] * 4] * 3)
    )
    with pytest.raises(InputError, match="hardly overlap"):
        join_stacks([one, far], ACQ)
    with pytest.raises(InputError, match="not finite"):
        Stack(np.full((3, 3, 3, 1), np.nan, np.float32), np.ones((3, 3, 3, 1), np.float32), np.eye(4))
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(InputError, match="right angles"):
        as_stack(head((9, 9, 9)), sheared)
