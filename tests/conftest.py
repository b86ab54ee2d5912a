"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from chimap.acquisition import Acquisition


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of larger sample data: CHIMAP_SHARED, or `shared` beside the checkout; skips without it."""
    given = os.environ.get("CHIMAP_SHARED")
    shared = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    if not (shared / "data").is_dir():
        pytest.skip("no sample data (set CHIMAP_SHARED)")
    return shared / "data"


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def acq() -> Acquisition:
    """Three echoes at 3 T, B0 a little oblique, anisotropic voxels."""
    return Acquisition(
        te_s=(0.004, 0.010, 0.016), b0_t=3.0, b0_dir=(0.1, -0.2, 0.97), voxel_size_mm=(1.0, 1.1, 1.5)
    )
