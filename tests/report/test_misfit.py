"""The residual of an inversion is what the map does not explain, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.numerics.dipole import forward_field
from chimap.report.misfit import inversion_residual, residual_caption

ACQ = Acquisition((0.01,), 3.0, (0.1, 0.2, 1.0), (1.0, 1.2, 1.5))


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(2)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (36, 32, 28)), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.5
    chi = (0.1 * rng.standard_normal(mask.shape) * mask).astype(np.float32)
    return chi, forward_field(chi, ACQ), mask


def test_explained_field_leaves_nothing(maps):
    chi, field, mask = maps
    rest = inversion_residual(field + np.float32(0.03), chi, mask, ACQ)
    assert rest.dtype == np.float32
    # The box around the mask has its periodic copies at another distance than the whole grid.
    assert np.abs(rest).max() < 0.05 * field[mask].std()
    assert not rest[~mask].any()


def test_what_is_missing_in_the_map_is_seen(maps):
    chi, field, mask = maps
    spot = np.zeros_like(chi)
    spot[18, 16, 14] = 1.0
    rest = inversion_residual(field + forward_field(spot, ACQ), chi, mask, ACQ)
    expected = forward_field(spot, ACQ)
    assert np.corrcoef(rest[mask], expected[mask])[0, 1] > 0.99


def test_caption(maps):
    chi, field, mask = maps
    rest = np.where(mask, np.float32(0.002), np.float32(0))
    rest[18] *= -1
    text = residual_caption(rest, mask, 0.003 * mask.astype(np.float32))
    assert (
        f"Standard deviation {1000 * rest[mask].std():.2g} ppb; median noise of the local field 3 ppb."
        in text
    )
    assert "noise" not in residual_caption(rest, mask, None)
    nothing = np.zeros_like(mask)
    assert not inversion_residual(field, chi, nothing, ACQ).any()
    assert "ppb" not in residual_caption(rest, nothing, None)
