"""All that can be said about a scan without reconstructing it."""

from __future__ import annotations

from collections.abc import Callable

from chimap.errors import InputError
from chimap.io.findings import Finding, usable
from chimap.io.scan import Scan, ScanData, load_with

__all__ = ["check", "usable"]


def check(scan: Scan, deep: Callable[[ScanData], list[Finding]] | None = None) -> list[Finding]:
    """Read a scan and return what was found: the errors first, then warnings, notes and what is in order.

    `deep` adds what it finds in the data that were read.
    """
    findings: list[Finding] = [f for f in scan.problems if f.level == "error"]
    if findings:
        findings += [f for f in scan.problems if f.level != "error"]
        return findings
    try:
        data = load_with(scan, findings)
        if deep is not None:
            findings += deep(data)
    except InputError as e:
        findings.append(Finding.of_error(e))
    order = ("error", "warning", "note", "ok")
    return sorted(findings, key=lambda f: order.index(f.level))
