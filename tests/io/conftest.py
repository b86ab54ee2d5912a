"""Fixtures for the tests of reading and writing."""

from __future__ import annotations

import io_samples
import pytest


@pytest.fixture
def sample(tmp_path, rng) -> io_samples.Sample:
    """A ball with a smooth field and noise around it, and a folder to write it into."""
    return io_samples.ball(tmp_path, rng)
