"""Geometry that comes from an affine is rounded: 1.9999999 for 2 mm. Maps must not depend on that."""

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.inversion.tkd import tkd
from chimap.numerics.box import whole_voxels, working_box


def test_grid_does_not_depend_on_rounding():
    mask = np.zeros((24, 22, 18), bool)
    mask[2:-2, 2:-2, 1:-1] = True
    shapes = {
        working_box(mask, Acquisition((0.01,), 3.0, (0, 0, 1), (2.0, v, w))).shape
        for v in (1.9999999, 2.0, 2.0000001)
        for w in (2.49999669, 2.5)
    }
    assert len(shapes) == 1
    assert (whole_voxels(4, 2), whole_voxels(4.1, 2), whole_voxels(0, 2)) == (2, 3, 0)


@pytest.mark.parametrize("shape", [(24, 22, 18), (20, 18, 16)])
def test_map_does_not_depend_on_rounding(shape):
    """As DICOM and NIfTI of one scan give it: in TKD the sign on the cone of zeros was decided by it."""
    mask = np.zeros(shape, bool)
    mask[2:-2, 2:-2, 1:-1] = True
    field = (0.01 * np.random.default_rng(0).standard_normal(shape) * mask).astype(np.float32)
    maps = [
        tkd(field, mask, Acquisition((0.01,), 3.0, b0, voxel))
        for b0, voxel in (
            ((0, -0.2588190472348609, 0.9659258257177096), (2.0, 1.99999998, 2.49999669)),
            ((0, -0.2588190489026918, 0.9659258252708156), (2.0, 2.00000001, 2.50000001)),
        )
    ]
    # A relative change of 1e-6 of the geometry, divided by a threshold of 0.18.
    assert np.abs(maps[0] - maps[1]).max() < 2e-5 * maps[0].std()
