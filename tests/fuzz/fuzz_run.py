"""Spoiled input through the real commands, in this process: ``python tests/fuzz/fuzz_run.py --cases 2000 [--set dicom]``.

Each case copies good input, spoils one or two of its files and runs a command on it. What must hold: exit status 0 or 2, one
plain line on an error, no traceback and no warning of Python's, 10 seconds of the processor at most, a bounded peak of memory, no file half
written, and none written elsewhere. A case is told by its set and number: ``--only 1234`` repeats it with all its output.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import fuzz_dicom
import nibabel as nib
import numpy as np
import psutil
from fuzz_answers import write_answers
from fuzz_commands import SETS
from fuzz_files import cut, flip_bytes, json_forms, noise, spoils_for, write_input

from chimap.cli import main

LONGEST_S, WAITS_S = 10, 60
"""Seconds of the processor that a case may take, and seconds on the clock after which it is taken for hanging."""
MOST_MB = 400
"""What a case may add to the memory in use; the good input takes 60 at most."""


class TooLongError(BaseException):
    """No `Exception`, so that nothing takes it for an error of the input."""


@dataclass
class Outcome:
    """What became of a case: its exit status and what was not as it must be."""

    case: int
    command: str
    spoiled: list[str]
    status: int | None = None
    seconds: float = 0.0
    added_mb: float = 0.0
    said: str = ""
    wrong: list[str] = field(default_factory=list)


class Fuzz:
    """Good input, made once, and the cases on copies of it."""

    def __init__(self, folder: Path, seed: int = 0, which: str = "files"):
        self.folder, self.seed, self.commands = folder, seed, SETS[which]
        self.good = folder / "good"
        write_input(self.good)
        if which == "answers":
            write_answers(self.good)
        elif which == "dicom":
            fuzz_dicom.write_dicom(self.good)
        self.done = folder / "done"
        # What is compiled and imported at the first use must not count. Were good input refused, spoiled input would tell nothing.
        self.unspoiled: dict[str, int] = {}
        for name in self.commands:
            out = self.done if name == "resume" else folder / "warm" / name
            self.unspoiled[name] = self._call(self._argv(name, self.good, out))[0]

    def case(self, number: int) -> Outcome:
        """Run one case."""
        rng = np.random.default_rng([self.seed, number])
        names = list(self.commands)
        shares = np.array([self.commands[n][0] for n in names])
        name = names[rng.choice(len(names), p=shares / shares.sum())]
        root = Path(tempfile.mkdtemp(dir=self.folder, prefix="case-"))
        try:
            spoiled = self._spoil(name, root, rng)
            before = _listed(root)
            outcome = Outcome(number, name, spoiled)
            self._judge(outcome, self._argv(name, root / "in", root / "out"), root / "out")
            outcome.wrong += [f"{p} was made" for p in _strays(root, before)]
        finally:
            shutil.rmtree(root, ignore_errors=True)
        return outcome

    def _spoil(self, name: str, root: Path, rng: np.random.Generator) -> list[str]:
        shutil.copytree(self.good, root / "in")
        if name == "resume":
            shutil.copytree(self.done, root / "out")
            files = sorted(
                p for p in (root / "out" / "sub-01").rglob("*") if p.suffix in (".json", ".gz", ".html")
            )
            chosen = [files[i] for i in rng.choice(len(files), 3, replace=False)]
            kinds = [(flip_bytes, cut, noise, *([json_forms] if p.suffix == ".json" else [])) for p in chosen]
        else:
            allowed = self.commands[name][2]
            files = sorted(p for p in (root / "in").rglob("*") if p.is_file())
            # A name that is there three times is spoiled three times as often.
            files = [
                p for p in files
                for word in allowed if word in (p.relative_to(root / "in").parts[0], p.name.partition(".")[0])
            ]  # fmt: skip
            count = min(int(rng.integers(1, 3)), len(files))
            chosen = [files[i] for i in rng.choice(len(files), count, replace=False)]
            chosen = list(dict.fromkeys(chosen))
            kinds = [fuzz_dicom.SPOILS if _is_dicom(p) else spoils_for(p) for p in chosen]
        told = []
        for path, choice in zip(chosen, kinds):
            spoil = choice[rng.integers(len(choice))]
            if spoil.__name__ in fuzz_dicom.ALL_FILES and rng.random() < 0.4:
                like = rng.integers(1 << 30)
                for other in sorted(path.parent.iterdir()):
                    if _is_dicom(other):
                        spoil(other, np.random.default_rng(like))
                told.append(f"{spoil.__name__} of all files")
                continue
            if path.is_file():
                spoil(path, rng)
            told.append(f"{spoil.__name__} {path.name}")
        return told

    def _argv(self, name: str, source: Path, out: Path) -> list[str]:
        words = [w.format(i=source, f=source / "flat", o=out) for w in self.commands[name][1]]
        return [*words, "--threads", "1"]

    @staticmethod
    def _call(argv: list[str]) -> tuple[int, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            # Python shows a warning once a place, which would depend on the order of the cases.
            warnings.simplefilter("always")
            status = _looked_at(argv) if argv[0] == "view" else main(argv)
        # As a terminal would: what cannot be encoded is an error of the command.
        out.getvalue().encode("utf-8", "backslashreplace")
        return status, err.getvalue() + ("\n" + out.getvalue() if "Traceback" in out.getvalue() else "")

    def _judge(self, outcome: Outcome, argv: list[str], out: Path) -> None:
        def late(*_: object) -> None:
            raise TooLongError

        before, children = _peak_from_now(), _children_mb()
        start, computed = time.perf_counter(), _computed_s()
        old = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, WAITS_S)
        try:
            outcome.status, outcome.said = self._call(argv)
        except TooLongError:
            outcome.wrong.append("hangs")
        except BaseException as e:
            outcome.wrong.append(f"{type(e).__name__} comes through: {e}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        outcome.seconds = time.perf_counter() - start
        # The peak of programs that were called is known over all of them only.
        called = _children_mb() if _children_mb() > children else 0.0
        outcome.added_mb = max(_peak_mb() - before, called)
        said = outcome.said
        if outcome.status not in (0, 2, None):
            outcome.wrong.append(f"exit status {outcome.status}")
        for word in ("Traceback", "a bug in chimap", "Warning:"):
            if word in said:
                outcome.wrong.append(word)
        if outcome.status == 2 and said:
            last = said.strip().splitlines()[-1]
            if not last.startswith("chimap: error: "):
                outcome.wrong.append("no error line")
        # Of the processor: a machine that is busy with other things is no fault of the input's.
        computed = _computed_s() - computed
        if computed > LONGEST_S:
            outcome.wrong.append(f"{computed:.0f} s of computing")
        if outcome.added_mb > MOST_MB:
            outcome.wrong.append(f"{outcome.added_mb:.0f} MB more")
        outcome.wrong += _half_written(out, failed=outcome.status == 2, resumed=outcome.command == "resume")


def _is_dicom(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 132 and path.read_bytes()[128:132] == b"DICM"


def _looked_at(argv: list[str]) -> int:
    """`chimap view` without its waiting: the page, its list, every map and every report are asked for."""
    from chimap.errors import ChimapError
    from chimap.viewer.server import ViewServer

    try:
        server = ViewServer([Path(argv[1])])
    except ChimapError as e:
        print(f"chimap: error: {e}", file=sys.stderr)
        return e.exit_code
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        keys = [f"volume?key={k}" for k in server.catalogue.maps] + [
            f"report?key={k}" for k in server.catalogue.reports
        ]
        for name in ("", "catalogue", *keys):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(server.url + name, timeout=20).read()
        server.shutdown()
    return 0


def _listed(root: Path) -> set[Path]:
    return {p for place in (root, root / "in", Path.cwd()) for p in place.iterdir()}


def _strays(root: Path, before: set[Path]) -> list[str]:
    """Files beside the output: names of files are not made of what a header says."""
    return [p.name for p in sorted(_listed(root) - before) if p != root / "out"]


def _half_written(out: Path, *, failed: bool, resumed: bool) -> list[str]:
    """What is wrong with the files of a run: parts that stayed, and results that cannot be read."""
    wrong = []
    for path in out.rglob("*"):
        if not path.is_file():
            continue
        if path.name.endswith(".part"):
            wrong.append(f"{path.name} stayed")
        try:
            if path.name.endswith(".nii.gz"):
                np.asarray(nib.load(path).dataobj)
            elif path.suffix == ".json":
                json.loads(path.read_text("utf-8"))
        except Exception as e:
            wrong.append(f"{path.name} cannot be read: {type(e).__name__}")
        if failed and not resumed and path.parent == out and path.name[:2] in ("a.", "b."):
            wrong.append(f"{path.name} was written by a command that failed")
    return wrong


def _computed_s() -> float:
    """Seconds of the processor that this process took, and the programs that it called."""
    t = os.times()
    return time.process_time() + t.children_user + t.children_system


def _children_mb() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6


def _peak_from_now() -> float:
    """Forget the peak of resident memory, where the system can; returns the memory in use, in MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return psutil.Process().memory_info().rss / 1e6


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 / 1e6 if found else psutil.Process().memory_info().rss / 1e6


def bound_memory(more_mb: int = 2000) -> None:
    """Let this process have so much more address space than now, so that no case can take the machine's memory."""
    limit = psutil.Process().memory_info().vms + more_mb * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run(argv: list[str] | None = None) -> int:
    """All cases; returns 1 if one of them was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+")
    parser.add_argument("--set", choices=list(SETS), default="files", help="what is spoiled (default: files)")
    args = parser.parse_args(argv)
    states: Counter[tuple[str, object]] = Counter()
    bad = 0
    most = slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="chimap-fuzz-") as folder:
        fuzz = Fuzz(Path(folder), args.seed, args.set)
        bound_memory()
        for number in args.only or range(args.first, args.first + args.cases):
            outcome = fuzz.case(number)
            states[outcome.command, outcome.status] += 1
            most, slowest = max(most, outcome.added_mb), max(slowest, outcome.seconds)
            if outcome.wrong or args.only:
                bad += bool(outcome.wrong)
                text = outcome.said.replace(folder, "").strip()
                print(
                    f"{number} {outcome.command} {outcome.spoiled} -> {outcome.status} {outcome.seconds:.1f} s"
                )
                print(f"    {outcome.wrong}\n    {text[-600:]}", flush=True)
    for (command, status), count in sorted(states.items(), key=str):
        print(f"{command:<12} exit {status}: {count}")
    print(f"{bad} wrong; slowest {slowest:.1f} s, {most:.0f} MB more at most")
    return int(bad > 0)


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    sys.exit(run())
