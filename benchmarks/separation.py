"""How well the separation methods find the sources of a simulated head, at full size.

    python -m benchmarks.separation [--voxel 1.0] [--b0 3] [--seed 0] [--figure docs/img/separation.png]

The head's R2' follows the methods' line up to a smooth deviation (10 % by default), strong sources lie below it, and the field comes from a
grid finer than the image's. Two ways: from the true local field with the true rates and noise (R2' 2 1/s, R2* 1.5 1/s), and the whole chain
from wrapped phase, with R2* from the magnitude and R2 with noise of 1 1/s. All scores are over the whole mask; what the chain's mask leaves
out counts as 0. Times are multiples of one FFT pair (rfftn + irfftn) of the image's grid, memory of one float32 volume.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import chimap
from benchmarks.speed import peak_memory, seconds
from chimap.masking.quality import refine
from chimap.metrics import nrmse, xsim
from chimap.numerics.fft import irfftn, rfftn
from chimap.relaxometry.r2prime import r2prime
from chimap.simulate import SimulatedScan, head_phantom, simulate_scan

TE_S = {3.0: (0.005, 0.010, 0.015, 0.020, 0.025), 7.0: (0.004, 0.008, 0.012, 0.016, 0.020)}
B0_DIR = (0.05, 0.20, 0.978)
R2PRIME_SD, R2STAR_SD, R2_SD = 2.0, 1.5, 1.0


def scan_of(voxel: float, b0: float, seed: int, deviation: float) -> SimulatedScan:
    """A head with sources, scanned on a grid 1.5 times as coarse as its own."""
    phantom = head_phantom((voxel / 1.5,) * 3, b0_t=b0, seed=seed, sources=True, r2prime_deviation=deviation)
    acq = chimap.Acquisition(TE_S.get(b0, TE_S[3.0]), b0, B0_DIR, (voxel,) * 3)
    return simulate_scan(phantom, acq, snr=60, seed=seed)


def report(name: str, scan: SimulatedScan, call, pair: float) -> tuple[chimap.Separation, float]:  # type: ignore[no-untyped-def]
    """Run once, print a line of the table; what was found, and the growth of memory in volumes."""
    with peak_memory() as peak:
        start = time.perf_counter()
        found = call()
        took = time.perf_counter() - start
    m = scan.mask
    true = [np.where(m, v, 0) for v in (scan.paramagnetic_ppm, scan.diamagnetic_ppm)]
    maps = [found.paramagnetic_ppm, found.diamagnetic_ppm]
    scores = [xsim(r, t, m) for r, t in zip(maps, true, strict=True)]
    scores.append(xsim(maps[0] + maps[1], true[0] + true[1], m))
    errors = [nrmse(r, t, m) for r, t in zip(maps, true, strict=True)]
    print(
        f"| {name} | {scores[0]:.3f} | {scores[1]:.3f} | {scores[2]:.3f} | {errors[0]:.0f} % | {errors[1]:.0f} % "
        f"| {took / pair:.0f} |",
        flush=True,
    )
    return found, peak[0] / (4 * m.size)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--voxel", type=float, default=1.0)
    parser.add_argument("--b0", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deviation", type=float, default=0.1)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args(argv)
    scan = scan_of(args.voxel, args.b0, args.seed, args.deviation)
    m, acq, magnitude = scan.mask, scan.acq, scan.magnitude
    rng = np.random.default_rng(args.seed)

    def noisy(rate: np.ndarray | None, sd: float) -> np.ndarray:
        assert rate is not None
        return (np.maximum(rate + rng.normal(0, sd, m.shape), 0) * m).astype(np.float32)

    mask = refine(m, scan.phase, magnitude, acq) & m
    total = chimap.estimate_field(scan.phase, mask, acq, magnitude=magnitude)
    local = chimap.remove_background(total.field_ppm, mask, acq, noise=total.noise_ppm)
    r2star = chimap.map_r2star(
        magnitude, local.mask, acq, field=total.field_ppm, method="gradient_corrected"
    ).r2star
    r2 = noisy(scan.r2star - scan.r2prime, R2_SD)
    true = {
        "r2prime": noisy(scan.r2prime, R2PRIME_SD),
        "r2star": noisy(scan.r2star, R2STAR_SD),
    }
    measured = {"r2prime": r2prime(r2star, r2, local.mask), "r2star": r2star}
    small = rng.standard_normal(m.shape, dtype=np.float32)
    pair = seconds(lambda: irfftn(rfftn(small), m.shape), 5)
    print(
        f"{'x'.join(map(str, m.shape))}, {m.sum()} voxels in the mask, {local.mask.sum() / m.sum():.1%} of them in the chain's; "
        f"FFT pair {pair:.3f} s"
    )
    print("| | XSIM χ+ | XSIM χ− | XSIM sum | NRMSE χ+ | NRMSE χ− | FFT pairs |")
    print("|---|---|---|---|---|---|---|")
    ways = {
        "true field": (scan.local_field_ppm * m, m, total.noise_ppm, true),
        "whole chain": (local.field_ppm, local.mask, local.noise_ppm, measured),
    }
    shown, memory = {}, 0.0
    for way, (field, where, noise, rates) in ways.items():
        given = {"magnitude": magnitude, "noise": noise}

        def run(field=field, where=where, given=given, **extra):  # type: ignore[no-untyped-def]
            return chimap.separate_sources(field, where, acq, **given, **extra)

        shown[way], volumes = report(
            f"`chi_separation`, {way}", scan, lambda run=run, r=rates: run(r2prime=r["r2prime"]), pair
        )
        # Later runs reuse what the first has freed.
        memory = memory or volumes
        for model in ("share", "constant"):
            report(
                f"`chi_separation_r2star`, {model}, {way}",
                scan,
                lambda run=run, r=rates, model=model: run(
                    r2star=r["r2star"], method="chi_separation_r2star", model=model
                ),
                pair,
            )
    chi = np.where(m, scan.chi_ppm, 0)
    report(
        "`decompose`, true susceptibility",
        scan,
        lambda: chimap.separate_sources(chi, m, acq, magnitude=magnitude, method="decompose"),
        pair,
    )
    print(f"\nPeak memory of chi_separation: {memory:.0f} volumes of the image's grid")
    if args.figure:
        draw(args.figure, scan, shown)


def draw(path: Path, scan: SimulatedScan, maps: dict[str, chimap.Separation]) -> None:
    """Truth and both ways, paramagnetic above diamagnetic, in the plane of the nuclei."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    z = int(np.median(np.nonzero(scan.labels == 2)[2]))
    window = tuple(slice(max(0, c.min() - 2), c.max() + 3) for c in np.nonzero(scan.mask)[:2])
    columns = {"truth": (scan.paramagnetic_ppm, scan.diamagnetic_ppm)}
    columns |= {k: (v.paramagnetic_ppm, v.diamagnetic_ppm) for k, v in maps.items()}
    fig, axes = plt.subplots(2, len(columns), figsize=(2.6 * len(columns), 6.2), facecolor="black")
    for column, (title, pair) in enumerate(columns.items()):
        for row, volume in enumerate(pair):
            ax = axes[row, column]
            ax.axis("off")
            plane = np.where(scan.mask, np.abs(volume), 0)[*window, z]
            ax.imshow(plane.T, cmap="gray", vmin=0, vmax=0.12 if row == 0 else 0.07, origin="lower")
            ax.set_title(f"{'χ+' if row == 0 else '|χ−|'}, {title}", color="white", fontsize=9)
    fig.subplots_adjust(0.005, 0.005, 0.995, 0.955, 0.02, 0.08)
    fig.savefig(path, dpi=85, pil_kwargs={"optimize": True})
    plt.close(fig)


if __name__ == "__main__":
    main()
