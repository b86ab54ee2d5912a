"""Say whether a scan can be used: read it, scale its phase, and print what was found and what to do.

INPUT is a BIDS data set or a folder of DICOM files; NIfTI files go in by flags. The echoes are held against each
other too: phase linear in TE, echo order, bipolar readouts, filtered phase, channels that cancel. The measurement is held against
the recommendations of the QSM consensus. Nothing is reconstructed and nothing is kept. The exit status is 0 if every scan can be used and 2 if one cannot.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chimap.io.findings import Finding
    from chimap.io.scan import Scan, ScanData

SUMMARY = "say whether a scan can be used, and what to do if not"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    from chimap.cli._inputs import add_input_arguments

    add_input_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--quick", action="store_true", help="read only: do not hold the echoes against each other"
    )


def run(args: argparse.Namespace) -> int:
    """Check all scans; returns 0 if all can be used, else 2."""
    import json
    import tempfile

    from chimap.cli._inputs import scans_from_args
    from chimap.io.findings import usable
    from chimap.pipeline.protocol import summary

    with tempfile.TemporaryDirectory(prefix="chimap-check-") as work_dir:
        scans = scans_from_args(args, work_dir)
        results = []
        for scan in scans:
            findings, rows = _checked(scan, args.quick)
            results.append((scan, findings, rows))
            if not args.json:
                verdict = "usable" if usable(findings) else "NOT usable"
                warnings = sum(f.level == "warning" for f in findings)
                tail = f", {warnings} warning{'s' * (warnings > 1)}" if warnings else ""
                print(f"{scan.name}: {verdict}{tail}")
                for f in findings:
                    # A file that only exists while this command runs is of no use to the reader.
                    print(f"  {f.level:<8}{str(f).replace(work_dir + '/', '')}")
                if rows:
                    print(f"  protocol: {summary(rows)} (QSM consensus 2024)")
                for row in rows:
                    if row["status"] == "not met":
                        print(
                            f"    not met: {row['name']}: {row['found']}; recommended: {row['wanted']}. {row['why']}"
                        )
    if args.json:
        print(
            json.dumps(
                [
                    {
                        "name": scan.name,
                        "usable": usable(findings),
                        "entities": scan.entities,
                        "te_s": list(scan.te_s),
                        "b0_t": scan.b0_t if scan.b0_t == scan.b0_t else None,
                        "metadata": scan.metadata,
                        "findings": [f.to_dict() for f in findings],
                        "protocol": rows,
                    }
                    for scan, findings, rows in results
                ],
                indent=2,
            )
        )
    return 0 if all(usable(findings) for _, findings, _ in results) else 2


def _checked(scan: Scan, quick: bool) -> tuple[list[Finding], list[dict[str, str]]]:
    """What was found in a scan, and its protocol against the consensus; [] for a scan that cannot be read."""
    from chimap.io.checks import check
    from chimap.pipeline.checks import deep_checks
    from chimap.pipeline.protocol import Measured, protocol_rows

    rows: list[dict[str, str]] = []
    known: list[tuple[Any, ...]] = []

    def look(data: ScanData) -> list[Finding]:
        known.append((data.acq, data.phase.shape[:3], data.magnitude is not None))
        return [] if quick else deep_checks(data)

    findings = check(scan, look)
    for acq, shape, magnitude in known:
        told = [f.to_dict() for f in findings]
        rows += protocol_rows(Measured(acq, shape, scan.metadata, told, magnitude))
    return findings, rows
