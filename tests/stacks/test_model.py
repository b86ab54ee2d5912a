"""The operators: exact for what the grid can hold, and the adjoint is the adjoint."""

import numpy as np
import pytest
from stack_heads import centred, head, thick, turned

from chimap.errors import InputError
from chimap.stacks._model import model
from chimap.stacks._profile import weights
from chimap.stacks._shears import shears
from chimap.stacks._solve import gradient_weights, smoothing
from chimap.stacks.scan import Grid, Motion

SHAPE = (20, 27, 24)


def noise(shape, seed):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize(
    "turn", [(0, 0, 0), (5, 0, 0), (0, 0, -7), (3, -4, 5), (1e-7, 1e-3, 2), (20, -15, 30)]
)
def test_shears_turn_exactly_and_are_unitary(turn):
    middle = (np.array(SHAPE) - 1) / 2
    matrix = turned(turn)
    shift = middle - matrix @ middle + np.array([1.3, -0.7, 0.4])
    moved = shears(SHAPE, matrix, shift)

    def blob(at):
        d = at - middle - np.array([1, 2, -1])
        return np.exp(-(d[..., 0] ** 2 / 9 + d[..., 1] ** 2 / 12 + d[..., 2] ** 2 / 7) + 0.3j * d[..., 1])

    at = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).astype(float)
    found = moved.forward(blob(at).astype(np.complex64))
    np.testing.assert_allclose(found, blob(at @ matrix.T + shift), atol=1e-3)
    a, b = noise(SHAPE, 0), noise(SHAPE, 1)
    left, right = np.vdot(b, moved.forward(a)), np.vdot(moved.adjoint(b), a)
    assert abs(left - right) < 1e-4 * np.linalg.norm(a)


@pytest.mark.parametrize("profile", ["kspace", "boxcar", "gaussian"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_adjoint(axis, profile):
    cut = tuple(9 if a == axis else n for a, n in enumerate(SHAPE))
    voxel = tuple(SHAPE[a] / 9 if a == axis else 1 for a in range(3))
    affine = centred(cut, voxel)
    affine[:3, :3] = turned((4, -3, 2)) @ affine[:3, :3]
    profiles = tuple(profile if a == axis else "kspace" for a in range(3))
    m = model(cut, affine, profiles, Grid(SHAPE, centred(SHAPE, (1, 1, 1))), Motion((0.4, -1, 2), (3, 1, -2)))
    a, b = noise(SHAPE, 2), noise(cut, 3)
    left, right = np.vdot(b, m.forward(a)), np.vdot(m.adjoint(b), a)
    assert abs(left - right) < 1e-4 * np.linalg.norm(a)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stack_is_what_its_k_space_gives(axis):
    # 9 slices: an odd number has no frequency that belongs to both ends.
    shape = tuple(27 if a == axis else 24 for a in range(3))
    echoes = head(shape)
    stack = thick(echoes, axis)
    m = model(stack.shape, stack.affine, stack.profile, Grid(shape, centred(shape, (2, 2, 2))))
    np.testing.assert_allclose(m.forward(np.ascontiguousarray(echoes[..., 1])), stack.echo(1), atol=2e-3)


def test_axes_in_any_order_and_direction():
    shape = (24, 27, 20)
    echoes = head(shape)
    stack = thick(echoes, 1)
    other = np.transpose(stack.echo(0), (1, 2, 0))[::-1]
    affine = stack.affine[:, [1, 2, 0, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * (stack.shape[1] - 1)
    affine[:3, 0] *= -1
    m = model(other.shape, affine, stack.profile, Grid(shape, centred(shape, (2, 2, 2))))
    np.testing.assert_allclose(m.forward(np.ascontiguousarray(echoes[..., 0])), other, atol=2e-3)
    np.testing.assert_allclose(m.lift(other), model(stack.shape, stack.affine, stack.profile, Grid(shape, centred(shape, (2, 2, 2)))).lift(stack.echo(0)), atol=1e-4)  # fmt: skip


def test_profiles_keep_a_constant():
    fine = np.arange(40.0)
    for profile in ("kspace", "boxcar", "gaussian"):
        w = weights(np.arange(10) * 4 + 1.5, 4.0, fine, profile)
        np.testing.assert_allclose(w.sum(1)[3:7], 1, atol=2e-3)
    # An ideal slice of four samples: none beyond its neighbours counts much, and those inside nearly alike.
    w = weights(np.array([1.5, 5.5, 9.5, 13.5]), 4.0, np.arange(16.0), "boxcar")
    assert abs(w[1, 4:8].sum() - 1) < 0.05


def test_an_unknown_profile_is_refused():
    with pytest.raises(InputError, match="no slice profile"):
        weights(np.arange(3.0), 1.0, np.arange(3.0), "triangle")


def test_smoothing_is_the_gradient_of_the_penalty():
    u, step = noise((5, 6, 7), 4), noise((5, 6, 7), 5)
    lam, delta = 0.7, 0.3

    def penalty(x):
        total = 0.0
        square = np.full(x.shape, delta**2)
        for axis in range(3):
            d = np.diff(x.astype(np.complex128), axis=axis)
            square[tuple(slice(0, n) for n in d.shape)] += np.abs(d) ** 2
        total = lam * np.sqrt(square).sum()
        return total

    slope = (penalty(u + 1e-4 * step) - penalty(u - 1e-4 * step)) / 2e-4
    found = np.vdot(smoothing(u, gradient_weights(u, lam, delta)), step).real
    assert found == pytest.approx(slope, rel=1e-3)
