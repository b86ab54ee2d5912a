"""The words that function signatures use for arrays and progress."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
"""A 3-D map, or a 4-D series with echoes on the last axis, as in NIfTI."""

Mask = NDArray[np.bool_]
"""A 3-D array of bool: where the data are to be used."""


class Progress(Protocol):
    """Called by long work: how far it is, and numbers worth recording.

    The facts of the last call (``change=``, ``converged=`` ...) are what logs and sidecars keep.
    """

    def __call__(self, done: int, total: int, **facts: Any) -> None: ...


def silent(done: int, total: int, **facts: Any) -> None:
    """The progress callback that says nothing."""
