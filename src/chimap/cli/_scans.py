"""Reconstruct a list of scans with one report each: what `chimap run` and `chimap demo` share."""

from __future__ import annotations

import html
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chimap import __version__
from chimap.errors import ChimapError, OutputError
from chimap.io.nifti import whole_file, write_json, write_text
from chimap.io.scan import Scan
from chimap.pipeline.console import Console
from chimap.pipeline.measure import append_log
from chimap.pipeline.plan import STAGES, Options, Result, result_name
from chimap.pipeline.provenance import names_of, without_paths
from chimap.pipeline.run import run_scan
from chimap.pipeline.store import code_sha256, file_sha256, key_of


def run_scans(
    scans: Sequence[Scan],
    out_dir: Path,
    options: Options | Callable[[Scan], Options],
    *,
    console: Console,
    log_json: str | None = None,
    command: str = "",
    as_error: Callable[[BaseException], ChimapError | None],
) -> tuple[list[tuple[Result, Path]], list[tuple[Scan, ChimapError]]]:
    """Reconstruct scans; one that fails is kept for the end and the others go on.

    Returns
    -------
    done : list of (Result, path of the report)
    failed : list of (Scan, error)
    """
    done: list[tuple[Result, Path]] = []
    failed: list[tuple[Scan, ChimapError]] = []
    for scan in scans:
        try:
            chosen = options(scan) if callable(options) else options
            done.append(
                run_with_report(scan, out_dir, chosen, console=console, log_json=log_json, command=command)
            )
        except Exception as e:
            error = as_error(e)
            if error is None:
                raise
            failed.append((scan, error))
            if len(scans) > 1:
                print(f"chimap: error: {scan.name}: {error}", file=sys.stderr, flush=True)
    if done:
        write_index(out_dir)
    return done, failed


def run_with_report(
    scan: Scan, out_dir: Path, options: Options, *, console: Console, log_json: str | None, command: str
) -> tuple[Result, Path]:
    """Reconstruct one scan and write its report."""
    more = ("quality", "lesions") if options.lesions else ("quality",)
    start = time.perf_counter()
    name = result_name(scan)
    # No path of this machine: it may hold the name of a person.
    names = names_of(scan.files, out_dir)
    append_log(log_json, {"scan": name, "inputs": list(names.values())}, "start")
    try:
        with console.whole((*STAGES[:-1], *more, "report"), scan.name):
            result = run_scan(scan, out_dir, options, console=console, log_json=log_json)
            report = write_scan_report(result, console, command, force=options.force)
    except Exception as e:
        seconds = round(time.perf_counter() - start, 3)
        append_log(
            log_json,
            {"scan": name, "seconds": seconds, "error": without_paths(str(e), names) or type(e).__name__},
            "failed",
        )
        raise
    seconds = round(time.perf_counter() - start, 3)
    end = {
        "scan": name,
        "seconds": seconds,
        "warnings": result.warnings,
        "report": report.relative_to(out_dir).as_posix(),
    }
    append_log(log_json, end, "end")
    return result, report


def write_scan_report(result: Result, console: Console, command: str, *, force: bool = False) -> Path:
    """``<name>_report.html`` and the figure of lesions in the scan's folder, unless they are there already for the same results."""
    path = result.store.path("_report", ".html")
    key = key_of(
        result=result.key,
        code=code_sha256(
            "chimap.report", "chimap.cli._report", "chimap.cli._report_extra", "chimap.pipeline.protocol"
        ),
        version=__version__,
    )
    stamp = result.store.path("_report", ".json")
    if not force and stamp.is_file():
        import json

        try:
            values = json.loads(stamp.read_text("utf-8"))
            written = {n: path.with_name(n) for n in values["files"]}
            if values["key"] == key and values["files"] == {n: file_sha256(p) for n, p in written.items()}:
                console.skipped("report")
                return path
        except (OSError, ValueError, KeyError, TypeError):
            pass  # An unreadable stamp only means that the report is written again.
    from chimap.cli._report import report_data
    from chimap.report import write_report

    with console.stage("report"):
        data = report_data(result, command)
        files = [write_report(path, data)]
        if data.lesions:
            files.append(result.store.path("_desc-lesions_Chimap", ".png"))
            with whole_file(files[-1]) as f:
                f.write(data.lesions["png"])
        write_json(stamp, {"key": key, "files": {p.name: file_sha256(p) for p in files}})
    return path


def write_index(out_dir: Path) -> Path:
    """``OUT/report.html``: a link to every scan's report; with one report it leads straight there."""
    reports = sorted(p.relative_to(out_dir) for p in out_dir.glob("sub-*/**/*_report.html"))
    links = "\n".join(
        f'<li><a href="{html.escape(r.as_posix())}">{html.escape(r.name.removesuffix("_report.html"))}</a></li>'
        for r in reports
    )
    group = (
        '<p><a href="group_report.html">All scans together</a></p>\n'
        if (out_dir / "group_report.html").is_file()
        else ""
    )
    jump = (
        f'<meta http-equiv="refresh" content="0; url={html.escape(reports[0].as_posix())}">'
        if len(reports) == 1
        else ""
    )
    return write_text(
        out_dir / "report.html",
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>chimap reports</title>{jump}\n'
        "<style>body{font:16px/1.6 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}</style></head>\n"
        f"<body><h1>chimap reports</h1>\n<ul>\n{links}\n</ul>\n{group}<p>chimap {__version__}</p></body></html>\n",
    )


def check_folder(out_dir: Path) -> None:
    """Fail before the work begins if results could not be written into `out_dir`."""
    parent = out_dir.absolute()
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(
            f"{parent} is a file, not a folder", file=out_dir, fix="Choose another output folder"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            "the folder is read-only", file=out_dir, fix="Choose an output folder that you may write to"
        )


def facts(record: dict[str, Any]) -> dict[str, Any]:
    """What a stage said about its work, for the report."""
    out = dict(record.get("facts") or {})
    for name in ("iterations", "converged", "kept_of_mask"):
        if record.get(name) is not None:
            out[name] = record[name]
    if record.get("phase_sign"):
        out["phase sign"] = record["phase_sign"]["what"]
    return out
