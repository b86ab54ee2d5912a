"""Echo times for a field strength: T2* of tissue with its source, noise of the field, wraps between echoes and voxels.

chimap advise --b0 7
chimap advise --b0 7 --te 0.004 0.010 0.016 0.022
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

SUMMARY = "echo times for a field strength: T2*, noise of the field, phase wraps"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--b0", type=float, required=True, metavar="T", help="field strength in tesla")
    parser.add_argument("--te", type=float, nargs="+", metavar="S", help="echo times in seconds to judge")
    parser.add_argument(
        "--first", type=float, metavar="S", help="shortest echo time that the scan allows, in seconds"
    )
    parser.add_argument("--spacing", type=float, metavar="S", help="shortest echo spacing, in seconds")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table and the echoes."""
    from chimap.acquisition import Acquisition
    from chimap.pipeline.advice import judge, propose, t2star

    if args.te:
        # The checks of echo times (milliseconds, order) are the same as for a scan.
        echoes = judge([1000 * t for t in Acquisition(tuple(args.te), args.b0).te_s], args.b0)
    else:
        first, gap = (None if v is None else 1000 * v for v in (args.first, args.spacing))
        echoes = propose(args.b0, first_ms=first, spacing_ms=gap)
    tissues = t2star(args.b0)
    if args.json:
        print(
            json.dumps({"b0_t": args.b0, "tissues": [asdict(t) for t in tissues], **asdict(echoes)}, indent=2)
        )
        return 0
    print(f"{args.b0:g} T: T2* and best single echo (Peters et al. 2007, doi:10.1016/j.mri.2007.02.014)")
    for t in tissues:
        print(f"  {t.name:<14}{t.t2star_ms:6.1f} ms{'  (extrapolated)' if t.extrapolated else ''}")
    title = "these echoes" if args.te else "proposed echoes"
    print(f"{title}: {' '.join(f'{t:g}' for t in echoes.te_ms)} ms")
    for name, noise in echoes.noise_ppb.items():
        print(
            f"  {name:<14}field noise {noise:6.2f} ppb at SNR 100, {echoes.of_best[name]:.2f} of what more echoes could reach"
        )
    print(
        f"  between echoes the phase turns by less than half for fields within {echoes.span_ppm:.2f} ppm of their mean"
    )
    print(f"  at the last echo neighbouring voxels may differ by {echoes.step_ppm:.3f} ppm")
    return 0
