"""Seconds of the brain mask on a simulated head, as multiples of one float32 rfft + irfft pair of its grid.

    python benchmarks/bench_mask.py [--voxel 2.0] [--repeat 3] [--json FILE]

Compilation happens in a first call that is not timed, and is printed apart. Overlap with the simulated inside of the
skull is printed beside the time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chimap import Acquisition, registry
from chimap.masking import quality
from chimap.numerics.fft import irfftn, next_fast_shape, rfftn
from chimap.simulate.head import head_phantom
from chimap.simulate.scan import simulate_scan


def best(call: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Shortest of `repeat` runs in s, and the last result."""
    seconds = []
    result = None
    for _ in range(repeat):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxel", type=float, default=2.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    acq = Acquisition((0.005, 0.01, 0.015, 0.02), 3.0, voxel_size_mm=(args.voxel,) * 3)
    scan = simulate_scan(head_phantom((args.voxel / 1.5,) * 3), acq)
    shape = next_fast_shape(scan.mask.shape)
    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    pair, _ = best(lambda: irfftn(rfftn(volume), shape), 5)
    print(f"grid {scan.mask.shape}, one FFT pair of {shape}: {pair * 1e3:.1f} ms")

    rows = {}
    for name, call in {
        "threshold": lambda: registry.get("mask", "threshold")(scan.magnitude, acq),
        "bet": lambda: registry.get("mask", "bet")(scan.magnitude, acq),
        "bet csf_mm=0": lambda: registry.get("mask", "bet")(scan.magnitude, acq, csf_mm=0.0),
        "auto": lambda: registry.get("mask", "auto")(scan.magnitude, acq),
        "refine": lambda: quality.refine(scan.mask, scan.phase, scan.magnitude, acq),
    }.items():
        first, _ = best(call, 1)
        seconds, mask = best(call, args.repeat)
        both = int((mask & scan.mask).sum())
        truth = int(scan.mask.sum())
        rows[name] = {
            "seconds": seconds,
            "fft_pairs": seconds / pair,
            "first_call_s": first,
            "dice": 2 * both / (int(mask.sum()) + truth),
            "missed": 1 - both / truth,
            "extra": (int(mask.sum()) - both) / truth,
        }
        r = rows[name]
        print(
            f"{name:14s} {seconds:6.2f} s = {r['fft_pairs']:6.1f} pairs (first call {first:5.2f} s)"
            f"  Dice {r['dice']:.4f}, missed {r['missed']:.2%}, extra {r['extra']:.2%}"
        )
    if args.json:
        args.json.write_text(
            json.dumps({"shape": scan.mask.shape, "pair_s": pair, "methods": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
