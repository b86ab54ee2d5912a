"""Say whether a scan can be used: read it, scale its phase, and print what was found and what to do.

INPUT is a BIDS data set or a folder of DICOM files; NIfTI files go in by flags. The echoes are held against each
other too: phase linear in TE, echo order, bipolar readouts, filtered phase, channels that cancel. Nothing is reconstructed and
nothing is kept. The exit status is 0 if every scan can be used and 2 if one cannot.
"""

from __future__ import annotations

import argparse

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
    from chimap.io.checks import check
    from chimap.io.findings import usable
    from chimap.pipeline.checks import deep_checks

    with tempfile.TemporaryDirectory(prefix="chimap-check-") as work_dir:
        scans = scans_from_args(args, work_dir)
        results = []
        for scan in scans:
            findings = check(scan, None if args.quick else deep_checks)
            results.append((scan, findings))
            if not args.json:
                verdict = "usable" if usable(findings) else "NOT usable"
                warnings = sum(f.level == "warning" for f in findings)
                tail = f", {warnings} warning{'s' * (warnings > 1)}" if warnings else ""
                print(f"{scan.name}: {verdict}{tail}")
                for f in findings:
                    # A file that only exists while this command runs is of no use to the reader.
                    print(f"  {f.level:<8}{str(f).replace(work_dir + '/', '')}")
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
                    }
                    for scan, findings in results
                ],
                indent=2,
            )
        )
    return 0 if all(usable(findings) for _, findings in results) else 2
