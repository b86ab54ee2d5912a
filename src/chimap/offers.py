"""Maps that a method makes beside its result, for whoever wants them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from chimap.types import Volume

DEVIATION = "deviation"
"""Standard deviation that a method expects of its result's error, in the result's unit."""
RESIDUAL = "residual"
"""What of the data the result does not explain, in the data's unit."""

_taker: ContextVar[dict[str, Volume] | None] = ContextVar("chimap_taker", default=None)


def offer(name: str, volume: Volume) -> None:
    """Hand a map to the caller of the method, who takes it within `offers_taken` and else never sees it."""
    taker = _taker.get()
    if taker is not None:
        taker[name] = volume


@contextlib.contextmanager
def offers_taken() -> Iterator[dict[str, Volume]]:
    """The maps that methods offer while the context lasts, by name; the last of a name stays."""
    taken: dict[str, Volume] = {}
    token = _taker.set(taken)
    try:
        yield taken
    finally:
        _taker.reset(token)
