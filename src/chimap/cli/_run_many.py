"""What `chimap run` does with the flags of `chimap.cli._cohort_flags`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chimap.errors import InputError
from chimap.io.bids import is_bids, root_of
from chimap.io.bids_anat import find_anatomy
from chimap.io.bids_select import age_of, label_image, participants, read_filters, select
from chimap.io.scan import Scan
from chimap.pipeline.console import Console
from chimap.pipeline.plan import Options
from chimap.quantify.iron import OLDEST


def wants_many(args: argparse.Namespace) -> bool:
    """Whether scans run side by side; everything else needs no Dask."""
    return args.cluster is not None or (args.n_procs or 1) > 1


def selected(scans: Sequence[Scan], args: argparse.Namespace) -> tuple[list[Scan], dict[str, Any]]:
    """The scans that the flags ask for, and the filters for label images and T1-weighted images."""
    filters: dict[str, Any] = {"scan": {}, "labels": {}, "t1w": {}}
    if args.bids_filter_file:
        filters = read_filters(args.bids_filter_file)
    chosen = select(
        scans,
        subjects=args.participant_label or (),
        sessions=args.session_label or (),
        query=filters["scan"],
        source=args.input,
    )
    return chosen, filters


def options_by_scan(
    options: Options, args: argparse.Namespace, filters: dict[str, Any], console: Console
) -> Callable[[Scan], Options]:
    """The options of a scan: its own label image, from --labels, --derivatives or the data set, and its age from participants.tsv.

    Raises
    ------
    InputError
        If both folders are given, or that of --derivatives is not there.
    """
    folder = args.labels if args.labels is not None and args.labels.is_dir() else None
    if args.derivatives is not None and args.labels is not None:
        raise InputError("both --labels and --derivatives are given", fix="Give one of them")
    if args.derivatives is not None and not args.derivatives.is_dir():
        raise InputError("there is no such folder", file=args.derivatives)
    data_set = None
    if args.input is not None and Path(args.input).is_dir() and is_bids(Path(args.input)):
        data_set = root_of(Path(args.input).resolve())
    people: dict[str, dict[str, str]] = {}
    if args.age is None and data_set is not None:
        table = data_set / "participants.tsv"
        people = participants(table) if table.is_file() else {}

    def of(scan: Scan) -> Options:
        chosen = options
        if folder is not None:
            labels = label_image(scan, folder, filters["labels"])
            if labels is None:
                console.note(
                    f"{scan.name}: {folder} has no label image for it: there will be no table of regions"
                )
            chosen = replace(chosen, labels=labels)
        elif args.labels is None:
            chosen = _with_anatomy(chosen, scan, args.derivatives, data_set, filters, console)
        age = age_of(people.get(scan.entities.get("sub", "")))
        if chosen.age is None and chosen.labels is not None and age is not None and 0 <= age <= OLDEST:
            chosen = replace(chosen, age=age)
        return chosen

    return of


def _with_anatomy(
    options: Options, scan: Scan, derivatives: Path | None, data_set: Path | None, filters: dict[str, Any], console: Console
) -> Options:  # fmt: skip
    """The options with what is found of labels and T1-weighted image; what is lacking is told."""
    folders = [f for f in (derivatives, data_set) if f is not None]
    if "sub" not in scan.entities or not folders:
        if derivatives is not None:
            console.note(
                f"{scan.name}: it has no subject to look for in {derivatives}; give labels with --labels"
            )
        return options
    try:
        found = find_anatomy(scan, folders, filters)
    except InputError as e:
        if derivatives is not None:
            raise
        # Nobody asked for labels: that there are too many of them must not stop anything.
        console.note(f"{scan.name}: {e} There will be no table of regions")
        return options
    if found.lacking:
        console.note(f"{scan.name}: {found.lacking}. There will be no table of regions")
    elif derivatives is not None and found.labels is None:
        console.note(
            f"{scan.name}: {derivatives} has neither labels nor a T1-weighted image for it: there will be no table of regions"
        )
    return replace(options, labels=found.labels, t1w=found.t1w)


def run_many(
    scans: Sequence[Scan],
    out_dir: Path,
    options: Callable[[Scan], Options],
    args: argparse.Namespace,
    console: Console,
    command: str,
) -> int:
    """Run the scans side by side and say where the reports are. Returns the exit status."""
    from chimap.cohort.cluster import Where, check_place

    place = args.cluster or "local"
    check_place(place)
    from chimap.cli._cohort import jobs_gb, run_cohort
    from chimap.numerics.threads import get_threads

    n_procs = min(args.n_procs or len(scans), len(scans))
    threads = args.omp_nthreads or max(1, get_threads() // (n_procs if place == "local" else 1))
    where = Where(n_procs, threads, place, jobs_gb(scans, args.mem_gb), args.work_dir)
    outcomes = run_cohort(
        scans, out_dir, options, where,
        mem_gb=args.mem_gb, console=console, log_json=args.log_json, command=command,
    )  # fmt: skip
    for outcome in outcomes:
        if outcome.report is not None:
            print(f"{outcome.name}: {outcome.report}")
    failed = [o.error for o in outcomes if o.error is not None]
    if failed:
        print(f"chimap: {len(failed)} of {len(scans)} scans failed", file=sys.stderr)
        return max(e.exit_code for e in failed)
    return 0
