"""Time and memory of every method, as multiples of one FFT pair and of one volume of the same grid.

    python -m benchmarks.speed [STAGE ...] [--only METHOD ...] [--repeat 3] [--threads 0] [--shape 164 205 205] [--cpu]

The pair is rfftn + irfftn of the full float32 grid, timed between the methods; medians throughout. Memory is the
peak of the resident set above what was held before the call, in float32 volumes of the grid. ``--cpu`` counts the
processor's time of one thread instead of the clock's, for a machine that others use too.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import psutil

from chimap import registry
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.dipole import forward_field
from chimap.numerics.fft import irfftn, rfftn
from chimap.numerics.threads import get_threads, set_threads

ACQ = Acquisition(te_s=(0.004, 0.012, 0.020, 0.028), b0_t=7.0)


def scan(shape: Sequence[int]) -> dict[str, np.ndarray]:
    """Arrays for every stage: an ellipsoid of a brain's size (a fifth of the grid) with texture inside."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True
    )
    mask = (x / 0.78) ** 2 + (y / 0.75) ** 2 + (z / 0.62) ** 2 < 1
    chi = 0.1 * np.sign(np.sin(25 * x) * np.sin(31 * y) * np.sin(28 * z)) * mask
    local = forward_field(chi.astype(np.float32), ACQ)
    field = local + 0.5 * np.exp(-8 * ((y - 0.5) ** 2 + (z + 0.4) ** 2 + x**2)) - 0.15 * x * y
    signals = []
    for te in ACQ.te_s:
        signal = np.exp(-40 * te + 1j * (field * ACQ.rad_per_ppm(te) - x**2 - y**2)) * mask
        signals.append(signal + 0.01 * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * mask)
    return {
        "phase": np.moveaxis(np.angle(signals).astype(np.float32), 0, 3),
        "magnitude": np.moveaxis(np.abs(signals).astype(np.float32), 0, 3),
        "mask": mask,
        "total": (field * mask).astype(np.float32),
        "field": (field * mask).astype(np.float32),
        "local": (local * mask).astype(np.float32),
        "noise": np.full(shape, 0.002, np.float32) * mask,
        "chi": chi.astype(np.float32),
        "chi_echoes": np.stack([chi.astype(np.float32)] * ACQ.echoes, axis=3),
        "r2star": np.full(shape, 40, np.float32) * mask,
        "r2prime": (20 + 300 * np.abs(chi)).astype(np.float32) * mask,
        "volume": rng.standard_normal(shape).astype(np.float32),
    }


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Peak growth of the resident set in bytes, in the list's one element after the block."""
    process = psutil.Process()
    before = process.memory_info().rss
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            peak[0] = max(peak[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def seconds(call: Callable[[], object], repeat: int, clock: Callable[[], float]) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeat):
        start = clock()
        call()
        times.append(clock() - start)
    return float(np.median(times))


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line a method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(registry.STAGES)}")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="these methods alone")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--shape", type=int, nargs=3, default=(164, 205, 205))
    args = parser.parse_args(argv)
    set_threads(1 if args.cpu else args.threads)
    clock = time.process_time if args.cpu else time.perf_counter
    shape = tuple(args.shape)
    arrays = scan(shape)
    volume = arrays["volume"]
    volume_bytes = volume.nbytes
    arrays["offset"] = registry.get("offset")(
        arrays["phase"], arrays["mask"], ACQ, magnitude=arrays["magnitude"]
    )
    print(
        f"{'x'.join(map(str, shape))}, {ACQ.echoes} echoes, {arrays['mask'].sum()} voxels, {get_threads()} threads"
    )
    print(f"{'stage':10} {'method':16} {'seconds':>8} {'pairs':>7} {'pair [s]':>9} {'volumes':>8}")
    for stage in args.stages or registry.STAGES:
        for name, method in registry.methods(stage).items():
            if args.only and name not in args.only:
                continue
            usual = {"background": "total", "inversion": "local", "separation": "local"}
            key = usual.get(stage, method.stage.data)
            if method.of:
                key = {"total field": "total"}.get(method.of, method.data)
            inputs = {k: arrays[k] for k in method.inputs if k in arrays}

            def call(method=method, key=key, inputs=inputs) -> object:
                if not method.stage.takes_mask:
                    return method(arrays[key], ACQ, **inputs)
                return method(arrays[key], arrays["mask"], ACQ, **inputs)

            try:
                with peak_memory() as peak:
                    call()
            except InputError as e:
                print(f"{stage:10} {name:16} not run: {e}")
                continue
            pair = seconds(lambda: irfftn(rfftn(volume), shape), 7, clock)
            took = seconds(call, args.repeat, clock)
            pair = (pair + seconds(lambda: irfftn(rfftn(volume), shape), 7, clock)) / 2
            memory = peak[0] / volume_bytes
            print(
                f"{stage:10} {name:16} {took:8.2f} {took / pair:7.1f} {pair:9.3f} {memory:8.1f}", flush=True
            )


if __name__ == "__main__":
    main()
