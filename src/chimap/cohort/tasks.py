"""Tasks on a Dask client: how many at once, by the memory they declare; what becomes of workers that die."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chimap.cohort.cluster import RESOURCE, Where
from chimap.errors import ChimapError, InputError


@dataclass(frozen=True)
class Task:
    """A call of a function with one argument, and the memory in GB that it is declared with."""

    name: str
    argument: Any
    gb: float


def run_tasks(
    client: Any, function: Callable[[Any], Any], tasks: Sequence[Task], where: Where, budget_gb: float
) -> Iterator[tuple[Task, Any]]:
    """Results as they come: a task with what the function returned, or the `ChimapError` that stopped it.

    On this machine at most ``where.n_procs`` tasks run at once, and so many that their memory stays within `budget_gb`; one that
    needs more than all of it runs alone. On a cluster each worker takes the tasks for which it has declared memory. A task whose
    worker dies is run again on another, and if that one dies too, again when no other runs: a task may share its worker's fate without
    having caused it.

    Raises
    ------
    InputError
        If a task needs more memory than any worker of a cluster has: it would wait for ever.
    """
    from distributed import KilledWorker, as_completed

    submit = _submitter(client, function, tasks, where)
    waiting, last = deque(tasks), deque[Task]()
    running: dict[Any, Task] = {}
    futures = as_completed()
    while waiting or last or running:
        started = _admitted(waiting, running.values(), where, budget_gb)
        alone = not (waiting or started or running)
        if alone:
            started = [last.popleft()]
        for task in started:
            future = submit(task)
            running[future] = task
            futures.add(future)
        future = next(futures)
        task = running.pop(future)
        try:
            result: Any = future.result()
        except KilledWorker:
            future.release()
            if not alone:
                last.append(task)
                continue
            result = ChimapError(
                "its workers died again and again, most likely for want of memory",
                fix="Give more memory (--mem-gb with --cluster), then run the same command again",
            )
        except Exception as e:
            text = " ".join(f"{type(e).__name__}: {e}".split())
            result = ChimapError(f"{text} (a bug in chimap; please report it)")
        future.release()
        yield task, result


def _admitted(waiting: deque[Task], running: Any, where: Where, budget_gb: float) -> list[Task]:
    """The tasks to start now, taken out of `waiting`: in order, but one that fits goes before one that does not yet."""
    if not where.local:
        out = list(waiting)
        waiting.clear()
        return out
    count, used, out = len(running), sum(t.gb for t in running), []
    for task in list(waiting):
        if count >= where.n_procs:
            break
        if count == 0 or used + task.gb <= budget_gb:
            waiting.remove(task)
            out.append(task)
            count, used = count + 1, used + task.gb
    return out


def _submitter(
    client: Any, function: Callable[[Any], Any], tasks: Sequence[Task], where: Where
) -> Callable[[Task], Any]:
    declared = None
    if where.cluster != "local":
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [w.get("resources", {}).get(RESOURCE) for w in workers]
        known = [float(gb) for gb in limits if gb]
        # Jobs that wait in the queue have declared theirs already.
        declared = max(known, default=None) if "://" in where.cluster else where.job_gb
    most = max(tasks, key=lambda t: t.gb)
    if declared is not None and most.gb > declared:
        raise InputError(
            f"scan {most.name} is declared with {most.gb:.1f} GB, and the largest worker has {declared:g} GB",
            fix="Give --mem-gb, the memory of a job, or workers with more",
        )

    numbers = itertools.count()

    def submit(task: Task) -> Any:
        resources = None if declared is None else {RESOURCE: task.gb}
        # A key that was never used: the scheduler may still remember an earlier try.
        key = f"chimap-{task.name}-{next(numbers)}"
        return client.submit(function, task.argument, key=key, pure=False, resources=resources)

    return submit
