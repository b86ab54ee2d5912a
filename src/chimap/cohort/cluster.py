"""Where scans run side by side: processes of this machine, jobs of a batch system, or a Dask scheduler that is there."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chimap.errors import ChimapError, InputError

BATCH = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
RESOURCE = "GB"
"""Name of the resource by which workers of a cluster declare their memory in GB."""

DEATHS = 1
"""How often a scan whose worker died is tried again among the others; after that, once more alone."""

_STARTS = 3

_EXTRA = 'Install the extra: pip install "chimap[cohort]"'


@dataclass(frozen=True)
class Where:
    """Where scans run.

    Parameters
    ----------
    n_procs : int
        Scans at once: processes of this machine, or jobs of a batch system.
    threads : int
        Threads of one scan.
    cluster : str
        ``local``, a batch system (slurm, pbs, sge, lsf), or the address of a scheduler (tcp://HOST:PORT).
    job_gb : float
        Memory of one job of a batch system in GB.
    work_dir : path, optional
        Where Dask keeps its files and jobs their logs.
    """

    n_procs: int
    threads: int = 1
    cluster: str = "local"
    job_gb: float = 4.0
    work_dir: Path | None = None

    @property
    def local(self) -> bool:
        """Whether the scans run in processes of this machine."""
        return self.cluster == "local"


def check_place(cluster: str) -> None:
    """Raise `InputError` for a place that there is not, or that needs packages that are not installed."""
    if cluster != "local" and cluster not in BATCH and "://" not in cluster:
        names = ", ".join(BATCH)
        raise InputError(f"--cluster {cluster!r} is unknown", fix=f"Choose one of: {names}, tcp://HOST:PORT")
    _needed("distributed")
    if cluster in BATCH:
        _needed("dask_jobqueue")


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise InputError(
            f"scans side by side need {module.replace('_', '-')}, which is not installed", fix=_EXTRA
        ) from e


@contextlib.contextmanager
def client_of(where: Where) -> Iterator[Any]:
    """A `distributed.Client` of the place; workers that were started here end with it.

    Raises
    ------
    InputError
        If the packages are missing.
    ChimapError
        If the scheduler does not answer, or the batch system cannot be asked.
    """
    check_place(where.cluster)
    import dask
    from distributed import Client

    # Deaths of workers are handled, and told in chimap's words. Long computations on a busy machine are no death.
    settings = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.scheduler.worker-ttl": "30 minutes",
        "distributed.comm.timeouts.connect": "120s",
        "distributed.comm.timeouts.tcp": "600s",
        # Dask sets a trim threshold, with which glibc maps every volume anew and gives it back when freed: a fifth of the time.
        # These are the values that glibc itself would grow to.
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 26,
        "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 25,
    }
    for name in (
        "distributed",
        "distributed.nanny",
        "distributed.scheduler",
        "distributed.worker",
        "tornado.application",
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if "://" in where.cluster:
            try:
                yield stack.enter_context(Client(where.cluster, timeout="30s"))
            except OSError as e:
                raise ChimapError(
                    f"no Dask scheduler answers at {where.cluster}",
                    fix="Start dask scheduler there, and workers",
                ) from e
            return
        cluster = stack.enter_context(_started(where) if where.local else _batch(where))
        yield stack.enter_context(Client(cluster))


def _started(where: Where) -> Any:
    """Workers on this machine; one that dies while it starts is no reason to give up."""
    for n in range(_STARTS):
        try:
            return _local(where)
        except (RuntimeError, OSError) as e:
            if n == _STARTS - 1:
                raise ChimapError(
                    f"no workers could be started ({e})", fix="Free some memory, or leave --n-procs out"
                ) from e
    raise AssertionError("unreachable")


def _local(where: Where) -> Any:
    from distributed import LocalCluster
    from distributed.security import Security

    try:
        # On a machine with other users nobody else may hand work to the workers.
        security: Any = Security.temporary()
    except ImportError:
        security = None
    return LocalCluster(
        n_workers=where.n_procs,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,  # what runs at once is decided by declared memory; no scan is killed halfway
        dashboard_address="127.0.0.1:0",
        security=security,
        silence_logs=logging.CRITICAL,
        local_directory=None if where.work_dir is None else str(where.work_dir),
        env={"OMP_NUM_THREADS": str(where.threads), "OPENBLAS_NUM_THREADS": str(where.threads)},
    )


def _batch(where: Where) -> Any:
    cluster = batch_cluster(where)
    try:
        # Unlike scale(), this asks for a new job where one has died.
        cluster.adapt(minimum_jobs=where.n_procs, maximum_jobs=where.n_procs)
    except Exception:
        cluster.close()
        raise
    return cluster


def batch_cluster(where: Where) -> Any:
    """The cluster of a batch system with no job yet: one scan at a time in each job.

    Queue, account, walltime and further directives are those of dask-jobqueue's own file ``~/.config/dask/jobqueue.yaml``.
    """
    jobqueue = _needed("dask_jobqueue")
    kind = getattr(jobqueue, BATCH[where.cluster])
    options: dict[str, Any] = {
        "cores": where.threads,
        "processes": 1,
        "memory": f"{where.job_gb:g}GB",
        "job_name": "chimap",
        "python": sys.executable,
        # The last --nthreads counts: the job has the cores, but runs one scan at a time.
        "worker_extra_args": [
            "--nthreads",
            "1",
            "--memory-limit",
            "0",
            "--resources",
            f"{RESOURCE}={where.job_gb:g}",
        ],
        "job_script_prologue": [f"export OMP_NUM_THREADS={where.threads}"],
        "scheduler_options": {"dashboard_address": ":0"},
    }
    if where.work_dir is not None:
        options |= {"local_directory": str(where.work_dir), "log_directory": str(where.work_dir)}
    try:
        return kind(**options)
    except (OSError, ValueError) as e:
        raise ChimapError(
            f"{where.cluster} cannot be used: {e}",
            fix="Check dask-jobqueue's settings (~/.config/dask/jobqueue.yaml)",
        ) from e
