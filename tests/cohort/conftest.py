"""Fixtures of the cohorts' tests."""

from __future__ import annotations

import pytest

from coarse_scan import Coarse, coarse_scan


@pytest.fixture(scope="session")
def coarse() -> Coarse:
    """A simulated head of 3 mm, as BIDS and as flat files."""
    return coarse_scan()
