"""How many threads the numerics use, and how they share a volume among them.

Kernels are compiled for one thread with the interpreter lock released, and `slabs` runs them on
consecutive parts of the first axis. Compiled that way they start from the disk cache in milliseconds,
and the result does not depend on the number of threads as long as each output value is computed by one
call alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from chimap.errors import InputError

_threads = 0
_pool: ThreadPoolExecutor | None = None
_pool_owner = (0, 0)


def available() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(n: int | None) -> None:
    """Use `n` threads from now on (None or 0: all available cores)."""
    global _threads
    if n is not None and n < 0:
        raise InputError(f"{n} threads asked for", fix="Give 1 or more, or 0 for all cores")
    _threads = n or 0


def get_threads() -> int:
    """Number of threads in use."""
    return _threads or available()


def jit(signature_or_function: Any = None, **options: Any) -> Any:
    """`numba.njit` as the package uses it: cached on disk, lock released, NaN respected.

    Give an explicit signature: one specialisation is compiled, and it is compiled once.
    """
    options = {"cache": True, "nogil": True, "fastmath": {"contract", "arcp", "nsz", "reassoc"}, **options}
    if callable(signature_or_function):
        return numba.njit(**options)(signature_or_function)
    if signature_or_function is None:
        return numba.njit(**options)
    return numba.njit(signature_or_function, **options)


def slabs(kernel: Callable[..., Any], n: int, *args: Any) -> list[Any]:
    """Call ``kernel(start, stop, *args)`` on consecutive parts of ``range(n)``, one a thread, and wait.

    Returns what the calls returned, in order. For sums that must not depend on the number of threads let the
    kernel write one partial sum per index into an array.
    """
    threads = min(get_threads(), n)
    if threads <= 1:
        return [kernel(0, n, *args)]
    edges = np.linspace(0, n, threads + 1).astype(int)
    pool = _executor(threads)
    futures = [pool.submit(kernel, int(a), int(b), *args) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return [f.result() for f in futures]


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_owner
    if _pool is None or _pool_owner != (threads, os.getpid()):
        _pool = ThreadPoolExecutor(threads, thread_name_prefix="chimap")
        _pool_owner = (threads, os.getpid())
    return _pool
