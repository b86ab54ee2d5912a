"""All that can be said about a scan without reconstructing it."""

from __future__ import annotations

from chimap.errors import InputError
from chimap.io.findings import Finding, usable
from chimap.io.scan import Scan, load_with

__all__ = ["check", "usable"]


def check(scan: Scan) -> list[Finding]:
    """Read a scan and return what was found: the errors first, then warnings, notes and what is in order."""
    findings: list[Finding] = [f for f in scan.problems if f.level == "error"]
    if findings:
        findings += [f for f in scan.problems if f.level != "error"]
        return findings
    try:
        load_with(scan, findings)
    except InputError as e:
        findings.append(Finding.of_error(e))
    order = ("error", "warning", "note", "ok")
    return sorted(findings, key=lambda f: order.index(f.level))
