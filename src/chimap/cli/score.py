"""Compare a reconstructed map with the truth; one line of JSON on stdout."""

from __future__ import annotations

import argparse
import json

from chimap.cli import _stage
from chimap.io.whole import whole_numbers
from chimap.pipeline.measure import plain

SUMMARY = "compare a map with the truth (JSON)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--recon", required=True, metavar="NII", help="the map to judge")
    parser.add_argument("--truth", required=True, metavar="NII", help="the true map")
    parser.add_argument("--mask", required=True, metavar="NII", help="where to compare")
    parser.add_argument("--seg", metavar="NII", help="labels of regions")
    parser.add_argument(
        "--support", action="store_true", help="compare only where the reconstruction is not 0"
    )
    parser.add_argument(
        "--kind", choices=["chi", "field"], default="chi", help="what the maps are (default: chi)"
    )


def run(args: argparse.Namespace) -> int:
    """Read, compare, print."""
    from chimap.metrics import score

    truth = _stage.read(args.truth)
    like = (args.truth, truth.shape)
    recon = _stage.read(args.recon, like)
    mask = _stage.read_mask(args.mask, like)
    truth = _stage.finite(truth, mask, args.truth)
    seg = whole_numbers(_stage.read(args.seg, like), args.seg) if args.seg else None
    values = score(recon, truth, mask, seg=seg, kind=args.kind, support=args.support)
    print(json.dumps(plain(values)))
    return 0
