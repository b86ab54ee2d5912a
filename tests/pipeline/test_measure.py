"""What a stage cost is measured apart from compilation."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta

import numpy as np
import pytest

from chimap.errors import OutputError
from chimap.pipeline.measure import Measure, append_log, compile_clock, plain


def test_record():
    compile_clock.start()
    seen = []
    with Measure(lambda done, total, **facts: seen.append((done, total))) as m:
        block = np.ones(20_000_000, np.uint8)
        m.progress(1, 2, iterations=7, change=np.float32(0.5))
        m.progress(2, 2, converged=np.bool_(True))
        time.sleep(0.05)
    record = m.record("stage", "method")
    assert block[0] == 1 and seen == [(1, 2), (2, 2)]
    assert record["seconds"] >= 0.05 and record["compile_seconds"] == 0
    assert record["iterations"] == 7 and record["converged"] is True and record["facts"] == {"change": 0.5}
    assert 20 < record["peak_memory_mb"] < 100_000
    assert record["process_peak_memory_mb"] > 20


def test_compilation_is_apart():
    import numba

    compile_clock.start()
    compile_clock.claim()

    @numba.njit
    def inner(x):
        return x + 1

    @numba.njit
    def outer(x):
        return inner(x) * 2

    with Measure() as m:
        start = time.perf_counter()
        assert outer(3) == 8
        wall = time.perf_counter() - start
    assert 0.5 * wall < m.compile_seconds <= wall
    assert m.seconds < 0.5 * wall


def test_plain_values():
    assert plain({"a": (np.int64(1), np.float32(0.5)), 2: np.arange(2)}) == {"a": [1, 0.5], "2": [0, 1]}
    assert plain(float("nan")) == "nan"


def test_log(tmp_path, capsys):
    append_log(None, {})
    append_log(tmp_path / "log", {"a": 1})
    append_log(tmp_path / "log", {"a": 2}, "skipped")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(e["event"], e["a"]) for e in lines] == [("done", 1), ("skipped", 2)]
    assert all(datetime.fromisoformat(e["time"]).utcoffset() == timedelta(0) for e in lines)
    append_log("-", {"a": 3})
    assert json.loads(capsys.readouterr().err)["a"] == 3
    with pytest.raises(OutputError):
        append_log(tmp_path / "none" / "log", {})
