"""What a stage cost: seconds without just-in-time compilation, peak memory, and the facts it reported."""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from chimap.errors import OutputError

_SAMPLE_S = 0.02


class CompileClock:
    """Counts the seconds that Numba spends compiling, in whatever thread.

    Kernels with an explicit signature compile when their module is imported, so the clock has to
    run before the methods are imported; `claim` hands out what has gathered since the last claim.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._depth = 0
        self._started = 0.0
        self._installed = False

    def start(self) -> None:
        """Begin to count. Imports Numba's event module; calling it again does nothing."""
        if self._installed:
            return
        from numba.core import event

        clock = self

        class Listener(event.Listener):
            def on_start(self, event: Any) -> None:
                # A kernel that calls another compiles it on the way: only the outermost counts.
                if clock._depth == 0:
                    clock._started = time.perf_counter()
                clock._depth += 1

            def on_end(self, event: Any) -> None:
                clock._depth = max(0, clock._depth - 1)
                if clock._depth == 0:
                    clock._seconds += time.perf_counter() - clock._started

        event.register("numba:compile", Listener())
        self._installed = True

    def claim(self) -> float:
        """Seconds of compilation since the last claim."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def read(self) -> float:
        """Seconds of compilation since the last claim, left in place."""
        return self._seconds


compile_clock = CompileClock()


class Measure:
    """Context manager around the call of one method.

    Attributes
    ----------
    seconds : float
        Wall time inside the context without compilation.
    compile_seconds : float
        Seconds of compilation since the last stage that was measured (imports included).
    peak_mb : float
        Largest resident memory seen inside the context, in MB (10^6 byte).
    facts : dict
        The facts of the last `progress` call that carried any.
    """

    def __init__(self, forward: Callable[..., None] | None = None):
        self.seconds = 0.0
        self.compile_seconds = 0.0
        self.peak_mb = 0.0
        self.facts: dict[str, Any] = {}
        self._forward = forward
        self._done = threading.Event()

    def progress(self, done: int, total: int, **facts: Any) -> None:
        """The callback to hand to the method: keeps the facts, passes the call on."""
        self.facts.update(facts)
        if self._forward is not None:
            self._forward(done, total, **facts)

    def __enter__(self) -> Measure:
        self._thread = threading.Thread(target=self._sample, name="chimap-memory", daemon=True)
        self._process = psutil.Process()
        self._thread.start()
        self._compiled_before = compile_clock.read()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: Any) -> None:
        wall = time.perf_counter() - self._start
        self.seconds = max(0.0, wall - (compile_clock.read() - self._compiled_before))
        self.compile_seconds = compile_clock.claim()
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / 1e6)
            if self._done.wait(_SAMPLE_S):
                break
        self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / 1e6)

    def record(self, stage: str, method: str) -> dict[str, Any]:
        """The line of a log: what ran and what it cost."""
        facts = plain(self.facts)
        return {
            "stage": stage,
            "method": method,
            "seconds": round(self.seconds, 4),
            "compile_seconds": round(self.compile_seconds, 4),
            "peak_memory_mb": round(self.peak_mb, 1),
            "process_peak_memory_mb": round(process_peak_mb(), 1),
            "iterations": facts.pop("iterations", None),
            "converged": facts.pop("converged", None),
            "facts": facts,
        }


def release_memory() -> None:
    """Hand freed memory back to the system, where the C library can (glibc).

    It keeps freed blocks of up to 32 MB for later, which between stages is several volumes of a whole head.
    """
    gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return None


def process_peak_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 byte)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def plain(value: Any) -> Any:
    """`value` as JSON knows it: NumPy numbers as numbers, tuples as lists, paths as text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def append_log(path: str | Path | None, record: dict[str, Any], event: str = "done") -> None:
    """Add `record` as one line of JSON to the file, or to stderr for "-" (nothing without a path).

    In front go ``time`` (UTC, ISO 8601) and ``event``: start, done (a stage ran), skipped (it was done before), end, failed.
    """
    if path is None:
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "event": event, **plain(record)}) + "\n"
    if str(path) == "-":
        sys.stderr.write(line)
        sys.stderr.flush()
        return
    try:
        # One write a line: those of scans that run side by side do not mix.
        with open(path, "a", encoding="utf-8") as f:
            f.write(line)
    except OSError as e:
        raise OutputError(f"the log cannot be written ({e.strerror})", file=path) from e
