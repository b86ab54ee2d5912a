"""A run that is killed in any stage goes on where it stopped, and ends bit for bit as if it had not been."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from chimap.io.inputs import find_scans
from chimap.pipeline import plan as r
from chimap.pipeline.plan import Options
from chimap.pipeline.run import run_scan
from chimap.pipeline.store import file_sha256

# The stage to kill in, and the output of the stage before whose sidecar shows that it has begun.
MOMENTS = (
    ("read", None),
    ("mask", r.COMBINED),
    ("field", r.BRAIN),
    ("background", r.R2STAR),
    ("inversion", r.LOCAL),
    ("reference", r.RAW_CHI),
    ("lesions", r.CHI),
)
OPTIONS = Options(preset="fast", lesions=True)


def _hashes(out):
    return {p.name: file_sha256(p) for p in sorted(out.rglob("sub-*")) if p.suffix in (".gz", ".tsv")}


def test_killed_in_every_stage(coarse, tmp_path):
    (scan,) = find_scans(coarse.bids, tmp_path / "work")
    run_scan(scan, tmp_path / "whole", OPTIONS)
    expected = _hashes(tmp_path / "whole")
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "chimap",
        "run",
        str(coarse.bids),
        str(out),
        "--preset",
        "fast",
        "--lesions",
        "--quiet",
    ]
    killed = 0
    for stage, before in MOMENTS:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        killed += _kill_when(process, lambda before=before: _begun(out, before))
        # Whatever is there under its own name is whole, and right.
        found = _hashes(out)
        assert found.items() <= expected.items(), stage
    # A stage of milliseconds may be over before the signal comes; most are not.
    assert killed >= 4
    result = run_scan(scan, out, OPTIONS)
    assert _hashes(out) == expected
    assert {"read", "mask", "field"} <= {s for s, d in result.done.items() if d.resumed}


def _begun(out, before):
    if before is None:
        return any(out.rglob(".*.part"))
    return (out / "sub-01" / "anat" / f"sub-01{before.suffix}.json").exists()


def _kill_when(process, begun):
    start = time.monotonic()
    while time.monotonic() - start < 60 and process.poll() is None and not begun():
        time.sleep(0.002)
    process.kill()
    return process.wait() == -signal.SIGKILL
