"""How much memory there is, asked before an array is made that a header claims."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from chimap.errors import InputError

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory that this process may still take: the least of what is free, its container's limit and its own limit."""
    found = [int(psutil.virtual_memory().available)]
    with contextlib.suppress(OSError, ValueError):
        # Containers; "max" stands for no limit and is no number.
        limit = int((_CGROUP / "memory.max").read_text())
        found.append(limit - int((_CGROUP / "memory.current").read_text()))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            found.append(limit - int(psutil.Process().memory_info().vms))
    return max(0, min(found))


def require_memory(needed: int, path: str | Path, what: str) -> None:
    """Raise `InputError` if `needed` bytes for `what` are more than there are."""
    # Small arrays are not worth the question.
    if needed < 1 << 27:
        return
    there = available_bytes()
    if needed > there:
        raise InputError(
            f"{what} takes {needed / 1e9:.3g} GB of memory; {there / 1e9:.3g} GB are available",
            file=path,
            fix="Check the size of the image; if it is right, use a machine with more memory",
        )
