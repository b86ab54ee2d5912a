"""Ventricles are found by low R2* deep inside, at any field strength."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.errors import InputError
from chimap.quantify.csf import ventricles
from chimap.simulate import head_phantom
from chimap.simulate.tissue import LABELS

VOXEL = (2.0, 2.0, 2.0)


def _ball(shape, centre, radius):
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum((a - c) ** 2 for a, c in zip(axes, centre)) < radius**2


def _scene(tissue=17.0, fluid=1.5):
    shape = (70, 80, 70)
    mask = _ball(shape, (35, 40, 35), 33)
    inside = _ball(shape, (30, 40, 38), 5) | _ball(shape, (41, 40, 38), 5)
    surface = mask & ~_ball(shape, (35, 40, 35), 30)
    r2star = np.where(mask, np.float32(tissue), 0).astype(np.float32)
    r2star[inside | surface] = fluid
    return r2star, mask, inside


@pytest.mark.parametrize("tissue", [9.0, 17.0, 38.0])
def test_any_field_strength(rng, tissue):
    r2star, mask, inside = _scene(tissue)
    noisy = np.maximum(r2star + rng.normal(0, 0.1 * tissue, mask.shape), 0).astype(np.float32) * mask
    found = ventricles(noisy, mask, VOXEL)
    assert found.dtype == bool and not (found & ~mask).any()
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.9


def test_nothing_there():
    r2star, mask, inside = _scene()
    r2star[inside] = 17
    with pytest.raises(InputError, match="no ventricles"):
        ventricles(r2star, mask, VOXEL)
    with pytest.raises(InputError, match="no ventricles"):
        ventricles(r2star[:12], mask[:12] | True, VOXEL)


def test_simulated_head(rng):
    head = head_phantom((2.5, 2.5, 2.5))
    r2star = np.maximum(head.r2star + rng.normal(0, 2, head.mask.shape), 0).astype(np.float32) * head.mask
    found = ventricles(r2star, head.mask, head.voxel_size_mm)
    csf = head.labels == LABELS["CSF"]
    assert (found & csf).sum() > 0.9 * found.sum()
    # True susceptibility of fluid is 0: what else got in must not shift the zero.
    assert abs(head.chi_ppm[found].mean()) < 0.002
