"""Tasks on Dask: how many at once, workers that die, and what is said without the packages."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main
from chimap.cohort.cluster import DEATHS, Where, batch_cluster, check_place, client_of
from chimap.cohort.memory import BASE_GB, available_gb, declared_gb
from chimap.cohort.tasks import Task, _admitted, run_tasks
from chimap.errors import ChimapError, InputError
from chimap.io.scan import Scan


def _tasks(*gb: float) -> list[Task]:
    return [Task(str(i), i, g) for i, g in enumerate(gb)]


@pytest.mark.parametrize(
    ("gb", "running", "n_procs", "started"),
    [
        ((1, 1, 1), (), 2, "01"),
        ((1, 1), (1,), 2, "0"),
        ((3, 3, 3), (), 3, "01"),
        ((9, 1), (), 2, "0"),
        ((5, 5, 2), (), 3, "02"),
        ((5, 1), (4,), 3, "1"),
        ((9,), (1,), 3, ""),
    ],
)
def test_within_memory_and_processes(gb, running, n_procs, started):
    waiting = deque(_tasks(*gb))
    out = _admitted(waiting, _tasks(*running), Where(n_procs), budget_gb=7.0)
    assert "".join(t.name for t in out) == started
    assert len(waiting) == len(gb) - len(started)


def test_on_a_cluster_the_scheduler_decides():
    waiting = deque(_tasks(5, 5, 5))
    assert len(_admitted(waiting, [], Where(1, cluster="slurm"), budget_gb=1.0)) == 3


def test_declared_memory_follows_grid_and_echoes(tmp_path):
    path = tmp_path / "phase.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((50, 60, 40), np.int16), np.eye(4)), path)
    volume = 50 * 60 * 40 * 4 / 1e9
    few = Scan("a", phase=(path,) * 3, te_s=(0.01, 0.02, 0.03))
    many = Scan("b", phase=(path,) * 12, te_s=tuple(0.01 * n for n in range(1, 13)))
    assert declared_gb(few) == pytest.approx(BASE_GB + 36 * volume)
    assert declared_gb(many) == pytest.approx(BASE_GB + (2 * 12 + 20) * volume)
    assert declared_gb(Scan("c", phase=(tmp_path / "none.nii",))) == BASE_GB
    assert available_gb() > 0


def test_unknown_place():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="'moon' is unknown"):
        check_place("moon")


@pytest.mark.parametrize(
    ("module", "flags"),
    [("distributed", ["--n-procs", "2"]), ("dask_jobqueue", ["--cluster", "slurm"])],
)
def test_without_the_extra(coarse, tmp_path, monkeypatch, capsys, module, flags):
    if module == "dask_jobqueue":
        pytest.importorskip("distributed")
    monkeypatch.setitem(sys.modules, module, None)
    bids = _twice(coarse.bids, tmp_path / "bids")
    assert main(["run", str(bids), str(tmp_path / "out"), *flags]) == 2
    said = capsys.readouterr().err
    assert 'pip install "chimap[cohort]"' in said and module.replace("_", "-") in said
    assert not (tmp_path / "out").exists()


def _twice(bids: Path, to: Path) -> Path:
    """A data set with the scan of sub-01 as sub-01 and sub-02; links are enough to be found."""
    for subject in ("01", "02"):
        for file in sorted((bids / "sub-01" / "anat").iterdir()):
            link = to / f"sub-{subject}" / "anat" / file.name.replace("sub-01", f"sub-{subject}")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    return to


def test_job_of_a_batch_system(tmp_path):
    pytest.importorskip("dask_jobqueue")
    with batch_cluster(
        Where(3, threads=4, cluster="slurm", job_gb=6.0, work_dir=tmp_path / "work")
    ) as cluster:
        script = cluster.job_script()
    assert "#SBATCH --cpus-per-task=4" in script and "#SBATCH --mem=6G" in script
    assert "export OMP_NUM_THREADS=4" in script
    # The last word counts: one scan at a time in a job.
    assert script.rindex("--nthreads 1") > script.index("--nthreads 4")
    assert "--resources GB=6" in script


def _die_once(marker: str) -> str:
    if not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def _die_always(path: str) -> None:
    with open(path, "a") as f:
        f.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def _call(argument):
    name, value = argument
    return {"once": _die_once, "always": _die_always, "fine": str, "error": int}[name](value)


def test_workers_that_die(tmp_path):
    pytest.importorskip("distributed")
    arguments = {
        "a": ("once", str(tmp_path / "once")),
        "b": ("always", str(tmp_path / "always")),
        "c": ("fine", "c"),
        "d": ("error", "no number"),
    }
    where = Where(2, work_dir=tmp_path / "dask")
    with client_of(where) as client:
        tasks = [Task(n, a, 0.1) for n, a in arguments.items()]
        found = {t.name: r for t, r in run_tasks(client, _call, tasks, where, budget_gb=10.0)}
    assert found["a"] == "lived" and found["c"] == "c"
    assert isinstance(found["b"], ChimapError) and "workers died again and again" in found["b"].what
    # Alone it is tried to the end; before that it may have shared a worker that another task killed.
    assert DEATHS + 2 <= len((tmp_path / "always").read_text()) <= 2 * (DEATHS + 1)
    assert isinstance(found["d"], ChimapError) and "ValueError" in found["d"].what


def test_a_scan_that_no_worker_can_hold(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            memory_limit=0,
            protocol="tcp",
            resources={"GB": 2},
        ) as cluster,
        client_of(Where(1, cluster=cluster.scheduler_address)) as client,
    ):
        where = Where(1, cluster=cluster.scheduler_address)
        with pytest.raises(InputError, match=r"declared with 3\.0 GB, and the largest worker has 2 GB"):
            list(run_tasks(client, str, [Task("big", 1, 3.0)], where, 0.0))
        assert [r for _, r in run_tasks(client, str, [Task("small", 1, 1.0)], where, 0.0)] == ["1"]
