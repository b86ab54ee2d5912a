"""Label images: whole numbers, or an error that names the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chimap.errors import InputError
from chimap.types import Volume

LARGEST = 2**31 - 1


def whole_numbers(volume: Volume, file: str | Path) -> np.ndarray:
    """Labels as int32, rounded; NaN counts as background.

    Raises
    ------
    InputError
        If a value is infinite or beyond 2^31, as labels never are.
    """
    found = np.nan_to_num(volume, nan=0.0, posinf=np.inf, neginf=-np.inf)
    largest = float(np.abs(found).max(initial=0))
    # float32 cannot hold 2^31 - 1 itself.
    if largest >= LARGEST:
        raise InputError(
            f"the label image has values up to {largest:.3g}; whole numbers below 2^31 are expected",
            file=file,
            fix="Give a label image",
        )
    return np.rint(found).astype(np.int32)
