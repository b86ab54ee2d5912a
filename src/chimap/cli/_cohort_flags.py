"""The flags of `chimap run` that say which scans of a data set, and how many of them at once."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_cohort_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the usual flags of a BIDS App."""
    group = parser.add_argument_group("which scans")
    group.add_argument(
        "--participant-label", nargs="+", metavar="LABEL", help="only these subjects, with or without sub-"
    )
    group.add_argument(
        "--session-label", nargs="+", metavar="LABEL", help="only these sessions, with or without ses-"
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help="JSON with PyBIDS' filters: the query megre chooses scans, dseg the label images of a --labels folder",
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="accepted as in other BIDS Apps: chimap runs no validator, and checks each scan itself",
    )
    group = parser.add_argument_group("many scans at once (needs the extra cohort)")
    group.add_argument(
        "--n-procs", type=_count, metavar="N", help="scans at once (default: one after another)"
    )
    group.add_argument(
        "--mem-gb",
        type=_memory,
        metavar="GB",
        help="memory for all scans at once, fewer of which then run (default: what is free); with --cluster, that of one job",
    )
    group.add_argument(
        "--omp-nthreads",
        type=_count,
        metavar="N",
        help="threads of one scan (default: --threads or the cores, divided by --n-procs)",
    )
    group.add_argument(
        "--cluster",
        metavar="slurm|pbs|sge|lsf|ADDRESS",
        help="run in jobs of a batch system (dask-jobqueue), or on a Dask scheduler (tcp://HOST:PORT)",
    )
    group.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="for converted DICOM and the files and logs of workers (default: OUT/work, and none for workers)",
    )


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _memory(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a memory in GB")
    return value
