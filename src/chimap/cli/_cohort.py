"""`chimap run` with several scans at once: what a worker does with one, and how the outcomes are told."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chimap.cohort.cluster import Where, client_of
from chimap.cohort.memory import available_gb, declared_gb
from chimap.cohort.tasks import Task, run_tasks
from chimap.errors import ChimapError
from chimap.io.scan import Scan
from chimap.pipeline.console import Console
from chimap.pipeline.plan import Options


@dataclass(frozen=True)
class Job:
    """A scan with all that a worker needs for it."""

    scan: Scan
    out_dir: Path
    options: Options
    threads: int
    log_json: str | None = None
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a scan: its report, or the error that stopped it."""

    name: str
    report: Path | None = None
    error: ChimapError | None = None
    warnings: tuple[str, ...] = ()


def reconstruct(job: Job) -> Outcome:
    """One scan with its report, in a worker; errors come back as values, so that only a worker's death is tried again."""
    from chimap.cli import as_chimap_error
    from chimap.cli._scans import run_with_report
    from chimap.numerics.threads import set_threads

    set_threads(job.threads)
    try:
        result, report = run_with_report(
            job.scan,
            job.out_dir,
            job.options,
            console=Console(quiet=True),
            log_json=job.log_json,
            command=job.command,
        )
    except Exception as e:
        error = as_chimap_error(e)
        if error is None:
            text = " ".join(f"{type(e).__name__}: {e}".split())
            error = ChimapError(
                f"{text} (a bug in chimap; run this scan alone with --debug, and please report it)"
            )
        return Outcome(job.scan.name, error=error)
    return Outcome(result.store.name, report, warnings=tuple(result.warnings))


def run_cohort(
    scans: Sequence[Scan],
    out_dir: Path,
    options: Callable[[Scan], Options],
    where: Where,
    *,
    mem_gb: float | None,
    console: Console,
    log_json: str | None = None,
    command: str = "",
) -> list[Outcome]:
    """Reconstruct scans side by side; one that fails is told, and the others go on. The outcomes are in the order of the scans."""
    from chimap.cli._scans import write_index

    outcomes: dict[str, Outcome] = {}
    tasks = []
    for scan in scans:
        try:
            tasks.append(_task(scan, out_dir.absolute(), options(scan), where, log_json, command))
        except ChimapError as e:
            outcomes[scan.name] = _said(
                Outcome(scan.name, error=e), scan.name, len(outcomes) + 1, len(scans), console
            )
    budget = mem_gb if mem_gb is not None else available_gb()
    if tasks and where.local:
        largest = max(t.gb for t in tasks)
        if largest > budget:
            console.note(
                f"a scan is declared with {largest:.1f} GB, and there are {budget:.1f} GB: it runs alone"
            )
        elif largest * where.n_procs > budget:
            at_once = int(budget // largest)
            console.note(f"scans of {largest:.1f} GB: {at_once} at once within {budget:.1f} GB")
    elif tasks:
        console.note(f"scans start as the workers of {where.cluster} do")
    if tasks:
        with client_of(where) as client:
            for task, result in run_tasks(client, reconstruct, tasks, where, budget):
                outcome = Outcome(task.name, error=result) if isinstance(result, ChimapError) else result
                outcomes[task.name] = _said(outcome, task.name, len(outcomes) + 1, len(scans), console)
    if any(o.report for o in outcomes.values()):
        write_index(out_dir)
    return [outcomes[s.name] for s in scans]


def _task(
    scan: Scan, out_dir: Path, options: Options, where: Where, log_json: str | None, command: str
) -> Task:
    log = log_json if log_json in (None, "-") else str(Path(log_json).absolute())
    return Task(scan.name, Job(scan, out_dir, options, where.threads, log, command), declared_gb(scan))


def _said(outcome: Outcome, name: str, number: int, of: int, console: Console) -> Outcome:
    for warning in outcome.warnings:
        console.note(f"{name}: {warning}")
    if outcome.error is not None:
        print(f"chimap: error: {name}: {outcome.error}", file=sys.stderr, flush=True)
    else:
        console.note(f"{name}: done ({number} of {of})")
    return outcome


def jobs_gb(scans: Sequence[Scan], mem_gb: float | None) -> float:
    """Memory in GB of a job of a batch system: what was asked for, or what the largest scan is declared with, a quarter more."""
    return mem_gb if mem_gb is not None else float(math.ceil(1.25 * max(declared_gb(s) for s in scans)))
