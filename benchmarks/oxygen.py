"""Oxygen in simulated veins: angles by diameters, through the default pipeline to what `chimap oxygen` computes.

    python -m benchmarks.oxygen [--b0 3 7] [--diameters 1 1.5 2 2.5 3 4] [--seeds 0] [--json results.json] [--map-only]

For each diameter, field strength and seed one piece of tissue with nine straight veins of 24 mm at 0 to 90 degrees to B0, their saturation
drawn from 55 to 75 %, in air; 1 mm voxels of a 0.5 mm object, SNR 60; echoes at 4 9 14 19 24 ms (3 T) or 3 7 11 15 ms (7 T). Mask, field,
background, inversion and R2* as the preset has them. The table holds the error of SvO2 in points (measured less true) of the segment with
the most length along each vein; "-" where none was found, in brackets where `chimap oxygen` marks it as not reliable.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lesions import maps
from chimap.acquisition import Acquisition
from chimap.pipeline import presets
from chimap.quantify.oxygen import Blood, oxygen_of, reliable
from chimap.quantify.veins import Segment, find_veins
from chimap.simulate import SimulatedScan, simulate_scan
from chimap.simulate.veins import Vein, vein_grid, vein_phantom

ANGLES = np.linspace(0, 90, 9)
TE_S = {3.0: (0.004, 0.009, 0.014, 0.019, 0.024), 7.0: (0.003, 0.007, 0.011, 0.015)}


def scan(b0_t: float, diameter_mm: float, seed: int) -> tuple[SimulatedScan, list[Vein]]:
    """A scan of nine veins of one diameter."""
    rng = np.random.default_rng([seed, round(10 * diameter_mm), round(b0_t)])
    veins = vein_grid(
        ANGLES.tolist(),
        [diameter_mm],
        rng.uniform(0.55, 0.75, len(ANGLES)).tolist(),
        seed=rng.integers(1 << 30),
    )
    acq = Acquisition(TE_S[b0_t], b0_t, voxel_size_mm=(1.0, 1.0, 1.0))
    return simulate_scan(vein_phantom(veins, radius_mm=56.0, b0_t=b0_t, seed=seed), acq, seed=seed), veins


def match(segments: list[Segment], veins: list[Vein], shape: tuple[int, ...]) -> dict[int, Segment]:
    """Number of the true vein to the longest segment that runs along it, within 2 mm."""
    out: dict[int, Segment] = {}
    middle = (np.array(shape) - 1) / 2
    for s in segments:
        for n, v in enumerate(veins):
            axis = np.array(v.axis) / np.linalg.norm(v.axis)
            off = s.line_mm - middle - v.centre_mm
            off = off - np.outer(off @ axis, axis)
            along = np.linalg.norm(off, axis=1).max() < 2
            if along and (n not in out or s.length_mm > out[n].length_mm):
                out[n] = s
    return out


def run(b0_t: float, diameter_mm: float, seed: int, preset: str, map_only: bool) -> list[dict[str, Any]]:
    """One row a vein, and one an extra segment that is called reliable."""
    s, veins = scan(b0_t, diameter_mm, seed)
    m = maps(s, preset)
    extra = {} if map_only else {k: m[k] for k in ("local_field", "noise", "r2star")}
    found = find_veins(m["chi"], m["mask"], s.acq, **extra)
    pairs = match(found.segments, veins, s.chi_ppm.shape)
    blood = Blood()
    rows: list[dict[str, Any]] = []
    for n, vein in enumerate(veins):
        row: dict[str, Any] = {"b0": b0_t, "diameter": diameter_mm, "seed": seed, "angle": float(ANGLES[n])}
        row |= {"svo2": 100 * vein.svo2, "found": n in pairs}
        if n in pairs:
            p = pairs[n]
            o = oxygen_of(p.chi_ppm, p.chi_se, blood)
            plain = oxygen_of(p.map_ppm, 0.0, blood)
            row |= {"measured": 100 * o.svo2, "se": 100 * o.svo2_se, "reliable": not reliable(p, blood)}
            row |= {"measured_diameter": p.diameter_mm, "by_map": 100 * plain.svo2}
        rows.append(row)
    used = {id(p) for p in pairs.values()}
    extras = [p for p in found.segments if id(p) not in used and not reliable(p, blood)]
    return [
        *rows,
        *({"b0": b0_t, "diameter": diameter_mm, "seed": seed, "extra": p.length_mm} for p in extras),
    ]


def table(rows: list[dict[str, Any]], b0_t: float) -> str:
    """Angles by diameters, the error of SvO2 in points, median over seeds."""
    veins = [r for r in rows if r["b0"] == b0_t and "extra" not in r]
    diameters = sorted({r["diameter"] for r in veins})
    lines = [f"{b0_t:g} T      " + "".join(f"{d:>9g} mm" for d in diameters)]
    for angle in ANGLES:
        cells = []
        for d in diameters:
            here = [r for r in veins if r["diameter"] == d and r["angle"] == angle and r["found"]]
            if not here:
                cells.append(f"{'-':>12}")
                continue
            text = f"{np.median([r['measured'] - r['svo2'] for r in here]):+.1f}"
            cells.append(f"{text if all(r['reliable'] for r in here) else '(' + text + ')':>12}")
        lines.append(f"{angle:5.1f} deg " + "".join(cells))
    return "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers asked for."""
    veins = [r for r in rows if "extra" not in r]
    out: dict[str, Any] = {}
    for b0 in sorted({r["b0"] for r in veins}):
        for low, high in ((0, 1.9), (1.9, 9)):
            of = [r for r in veins if r["b0"] == b0 and low <= r["diameter"] < high]
            hits = [r for r in of if r["found"]]
            if not hits:
                continue
            off = np.array([r["measured"] - r["svo2"] for r in hits])
            name = f"{b0:g} T, {'below' if low == 0 else 'from'} 2 voxels: "
            out[name + "found"] = f"{len(hits)} of {len(of)}"
            out[name + "called reliable"] = sum(r["reliable"] for r in hits)
            out[name + "median absolute error, points"] = float(np.median(np.abs(off)))
            out[name + "90th percentile"] = float(np.percentile(np.abs(off), 90))
            out[name + "median error"] = float(np.median(off))
            out[name + "the map as it is, median error"] = float(
                np.median([r["by_map"] - r["svo2"] for r in hits])
            )
            out[name + "within two standard errors"] = float(
                np.mean([abs(r["measured"] - r["svo2"]) < 2 * r["se"] for r in hits])
            )
            error = [r["measured_diameter"] / r["diameter"] - 1 for r in hits]
            out[name + "diameter, median absolute error"] = float(np.median(np.abs(error)))
    out["extra segments called reliable"] = sum("extra" in r for r in rows)
    return out


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--b0", type=float, nargs="+", choices=sorted(TE_S), default=sorted(TE_S))
    parser.add_argument("--diameters", type=float, nargs="+", default=[1, 1.5, 2, 2.5, 3, 4], metavar="MM")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--preset", default=presets.DEFAULT)
    parser.add_argument("--map-only", action="store_true", help="without local field, noise and R2*")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows and the summary")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for b0 in args.b0:
        for d in args.diameters:
            for seed in args.seeds:
                rows += run(b0, d, seed, args.preset, args.map_only)
        print(table(rows, b0), flush=True)
    result = summary(rows)
    if args.json:
        args.json.write_text(
            json.dumps({"preset": args.preset, "summary": result, "rows": rows}, indent=1), encoding="utf-8"
        )
    for name, value in result.items():
        print(f"{name:<56}{round(value, 3) if isinstance(value, float) else value}")


if __name__ == "__main__":
    main()
