"""Speed of unwrapping, phase offset, total field and R2* as multiples of one FFT pair of the same grid.

    python benchmarks/bench_phase.py [--repeat 3] [--threads 0]

The pair is rfftn + irfftn of the full float32 grid, timed between the methods; medians throughout.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from chimap import registry
from chimap.acquisition import Acquisition
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.threads import get_threads, set_threads

SHAPE = (164, 205, 205)
ACQ = Acquisition(te_s=(0.004, 0.012, 0.020, 0.028), b0_t=7.0)


def head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phase, magnitude (x, y, z, echo) and mask of an ellipsoid of a brain's size, one fifth of the grid."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE), indexing="ij", sparse=True
    )
    mask = (x / 0.78) ** 2 + (y / 0.75) ** 2 + (z / 0.62) ** 2 < 1
    field = 0.5 * np.exp(-8 * ((y - 0.5) ** 2 + (z + 0.4) ** 2 + x**2)) - 0.15 * x * y + 0.02 * np.sin(40 * z)
    te = np.array(ACQ.te_s)[:, None, None, None]
    signal = np.exp(-40 * te + 1j * (field * ACQ.rad_per_ppm(1.0) * te - x**2 - y**2))
    signal += 0.01 * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    signal *= mask
    phase, magnitude = np.angle(signal).astype(np.float32), np.abs(signal).astype(np.float32)
    return np.moveaxis(phase, 0, 3), np.moveaxis(magnitude, 0, 3), mask


def seconds(call: Callable[[], object], repeat: int) -> float:
    """Median time of a call; it has run once before."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    set_threads(args.threads)
    phase, magnitude, mask = head()
    volume = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    offset = registry.get("offset", "mcpc3ds")(phase, mask, ACQ, magnitude=magnitude)
    print(f"{'x'.join(map(str, SHAPE))}, {ACQ.echoes} echoes, {mask.sum()} voxels, {get_threads()} threads")
    known = {"magnitude": magnitude, "offset": offset}
    for stage in ("offset", "unwrap", "field", "r2star"):
        for name, method in registry.methods(stage).items():
            data = magnitude if stage == "r2star" else phase
            inputs = {k: v for k, v in known.items() if k in method.inputs}

            def call(method=method, data=data, inputs=inputs) -> object:
                return method(data, mask, ACQ, **inputs)

            call()
            pair = seconds(lambda: irfftn(rfftn(volume), SHAPE), 7)
            took = seconds(call, args.repeat)
            pair = (pair + seconds(lambda: irfftn(rfftn(volume), SHAPE), 7)) / 2
            print(f"{stage:8} {name:12} {took:7.2f} s  {took / pair:6.1f} pairs of {pair:.3f} s")


if __name__ == "__main__":
    main()
