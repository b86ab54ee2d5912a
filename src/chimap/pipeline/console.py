"""What a user sees while the work goes on: one bar on a terminal, one line a stage elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

# Rough shares of the whole time, for the bar.
_WEIGHTS = {
    "read": 6,
    "mask": 10,
    "field": 25,
    "r2star": 4,
    "background": 20,
    "inversion": 45,
    "lesions": 8,
    "quality": 6,
    "report": 10,
    "head": 15,
    "scan": 10,
    "files": 5,
}


class Console:
    """Progress on stderr.

    Parameters
    ----------
    quiet : bool
        Say nothing but notes that are warnings.
    title : str
        In front of every line (the scan's name).
    """

    def __init__(self, *, quiet: bool = False, title: str = ""):
        self.quiet = quiet
        self.title = title
        self._tty = sys.stderr.isatty()
        self._bar: tqdm[Any] | None = None
        self._before = 0.0

    def note(self, text: str) -> None:
        """A line that matters (a warning, what was detected)."""
        if self.quiet:
            return
        line = f"chimap: {self.title + ': ' if self.title else ''}{text}"
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def whole(self, stages: tuple[str, ...], title: str) -> Iterator[Console]:
        """One bar over all `stages` of the scan `title`."""
        self.title, self._before = title, 0.0
        if self._tty and not self.quiet:
            self._bar = self._new(sum(_WEIGHTS.get(s, 1) for s in stages), title)
        try:
            yield self
        finally:
            if self._bar is not None:
                self._bar.close()
                self._bar = None
            self.title = ""

    @contextlib.contextmanager
    def stage(self, stage: str, detail: str = "") -> Iterator[Callable[..., None]]:
        """While `stage` runs; gives the callback ``(done, total, **facts)`` that moves the bar."""
        name = f"{stage} ({detail})" if detail else stage
        own = self._bar is None and self._tty and not self.quiet
        bar = self._new(1.0, "") if own else self._bar
        weight = 1.0 if own else float(_WEIGHTS.get(stage, 1))
        before = 0.0 if own else self._before
        if bar is not None:
            bar.set_description_str(f"{self.title} {name}".strip())
        start = time.perf_counter()

        def progress(done: int, total: int, **facts: Any) -> None:
            if bar is not None:
                bar.n = max(bar.n, before + weight * min(1.0, done / total if total else 0.0))
                bar.refresh()

        try:
            yield progress
        finally:
            if own and bar is not None:
                bar.n = bar.total
                bar.close()
        if not own:
            self._before += weight
            if bar is not None:
                bar.n = self._before
                bar.refresh()
            elif not self.quiet:
                line = f"chimap: {self.title + ': ' if self.title else ''}{name} {time.perf_counter() - start:.1f} s"
                print(line, file=sys.stderr, flush=True)

    def skipped(self, stage: str, detail: str = "") -> None:
        """`stage` was already done: its results are used."""
        self._before += float(_WEIGHTS.get(stage, 1))
        if self._bar is not None:
            self._bar.n = self._before
            self._bar.refresh()
        elif not self.quiet:
            name = f"{stage} ({detail})" if detail else stage
            print(
                f"chimap: {self.title + ': ' if self.title else ''}{name} done before",
                file=sys.stderr,
                flush=True,
            )

    def _new(self, total: float, title: str) -> tqdm[Any]:
        wide = _columns() > 0
        return tqdm(
            total=total,
            desc=title,
            file=sys.stderr,
            leave=True,
            # A terminal that does not tell its width would get an empty bar.
            dynamic_ncols=wide,
            ncols=None if wide else 80,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}",
        )


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # no terminal, or no file behind stderr
        return 0
