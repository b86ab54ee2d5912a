"""Parameters that several methods of this folder share, checked."""

from __future__ import annotations

from chimap.errors import InputError


def check_smoothing(smoothing_mm: float, order: int) -> None:
    """Raise `InputError` unless a Gaussian and a polynomial's degree can be used to smooth a phase."""
    if not smoothing_mm >= 0:
        raise InputError(f"smoothing_mm is {smoothing_mm}", fix="Give 0 or more")
    if not 0 <= order <= 6:
        raise InputError(f"order is {order}", fix="Give 0 to 6")
