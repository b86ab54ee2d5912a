"""Kill runs of a cohort and their workers at random moments; the results must be those of a run that nobody disturbed.

    python -m benchmarks.kill_cohort OUT --kills 12

Simulates subjects and sessions (benchmarks/cohort_data.py), runs participant and group once in peace, then again with `kill -9` of the whole
process tree's head or of one worker at random moments, started anew after each death, until so many kills have hit and the last run went
through. Volumes, tables, methods texts and the group report are compared byte by byte; sidecars without seconds and memory. Reports of scans
hold the date and the seconds, and are only looked for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cohort_data import make_cohort

_COSTS = {"seconds", "compile_seconds", "peak_memory_mb", "process_peak_memory_mb"}


def main() -> None:
    """Command line; exit status 1 where results differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--voxel", type=float, default=3.0)
    parser.add_argument("--n-procs", type=int, default=2)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bids = make_cohort(args.out / "bids", args.subjects, args.sessions, args.voxel)
    flags = ["--preset", "fast", "--labels", str(bids / "derivatives" / "truth"), "--quiet"]
    calm, killed = args.out / "calm", args.out / "killed"
    begin = time.monotonic()
    _run(bids, calm, [*flags, "--n-procs", str(args.n_procs)])
    length = time.monotonic() - begin
    _run(bids, calm, [], "group")
    expected = contents(calm)
    print(f"undisturbed: {length:.0f} s, {len(expected)} files", flush=True)

    random.seed(args.seed)
    shutil.rmtree(killed, ignore_errors=True)
    hits: Counter[str] = Counter()
    rounds = 1
    while True:
        status = _disturbed(bids, killed, [*flags, "--n-procs", str(args.n_procs)], hits, args.kills)
        # The list of reports grows with the scans, and names the group report once that is there.
        wrong = [n for n, h in contents(killed).items() if n != "report.html" and expected.get(n, h) != h]
        if wrong:
            raise SystemExit(f"after {sum(hits.values())} kills these differ: {wrong}")
        if status != 0:
            continue
        if sum(hits.values()) >= args.kills:
            break
        shutil.rmtree(killed)
        rounds += 1
    _run(bids, killed, [], "group")
    found = contents(killed)
    reports = {p.relative_to(calm) for p in calm.glob("sub-*/**/*_report.html")}
    missing = [p for p in reports if not (killed / p).is_file()]
    different = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    told = ", ".join(f"{n} of {what}" for what, n in sorted(hits.items()))
    print(
        f"{sum(hits.values())} kills ({told}) in {rounds} outputs; {len(found)} files compared, {len(different)} differ"
    )
    if different or missing:
        raise SystemExit(f"these differ: {different}, reports missing: {missing}")


def _command(bids: Path, out: Path, flags: list[str], level: str) -> list[str]:
    return [sys.executable, "-m", "chimap", "run", str(bids), str(out), level, *flags]


def _run(bids: Path, out: Path, flags: list[str], level: str = "participant") -> None:
    subprocess.run(_command(bids, out, flags, level), check=True, stdout=subprocess.DEVNULL)


def _disturbed(bids: Path, out: Path, flags: list[str], hits: Counter[str], most: int) -> int:
    """One run; until so many kills have hit, its head or one of its workers is killed some seconds after it has begun to write."""
    begin = time.time()
    process = subprocess.Popen(_command(bids, out, flags, "participant"), stdout=subprocess.DEVNULL)
    while process.poll() is None and sum(hits.values()) < most:
        while process.poll() is None and not _written_since(out, begin):
            time.sleep(0.1)
        try:
            process.wait(random.uniform(0, 12))
        except subprocess.TimeoutExpired:
            workers = _workers(process.pid)
            stage = _stage_of(out)
            if workers and random.random() < 0.5:
                random.choice(workers).send_signal(signal.SIGKILL)
                hits["a worker"] += 1
                print(f"killed a worker, {stage}", flush=True)
            else:
                process.kill()
                hits["the whole run"] += 1
                print(f"killed the run, {stage}", flush=True)
                # Its workers see that it is gone, and end by themselves.
                psutil.wait_procs(workers, timeout=30)
                break
    return process.wait()


def _written_since(out: Path, begin: float) -> bool:
    """Whether a volume was: tables are written again by every run."""
    return any(p.stat().st_mtime > begin for p in out.glob("sub-*/**/*.nii.gz"))


def _workers(pid: int) -> list[psutil.Process]:
    """The processes in which scans are computed."""
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [p for p in children if any("spawn_main" in word for word in p.cmdline())]
    except psutil.Error:
        return []


def _stage_of(out: Path) -> str:
    done = len(list(out.glob("sub-*/**/*_report.html")))
    volumes = [p for p in out.glob("sub-*/**/*.nii.gz") if not p.name.startswith(".")]
    last = max(volumes, key=lambda p: p.stat().st_mtime, default=None)
    return f"{done} scans done, last written: {last.name if last else 'nothing'}"


def contents(out: Path) -> dict[str, str]:
    """Hash of each result below a folder; of sidecars without what they cost."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        of_a_scan = path.name.endswith(("_report.html", "_report.json")) and path.name != "group_report.html"
        if not path.is_file() or path.name.startswith(".") or of_a_scan:
            continue
        data = path.read_bytes()
        if path.suffix == ".json":
            data = json.dumps(_without_costs(json.loads(data)), sort_keys=True).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def _without_costs(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_costs(v) for k, v in value.items() if k not in _COSTS}
    return [_without_costs(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
