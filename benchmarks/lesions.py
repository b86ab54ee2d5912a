"""Lesions in simulated heads: how many are found, called by the right name, and measured right, through the default pipeline.

    python -m benchmarks.lesions [--seeds 0 1 2 3 4] [--voxel 1.5] [--preset consensus] [--json results.json] [--keep FOLDER]

For each seed (another person, other lesions) one head with 40 microbleeds (diameter 2 to 8 mm, 0.5 to 1.5 ppm) and 15 calcifications
(2 to 8 mm, -1 to -2.5 ppm) at random places of the brain's tissue, 4 mm or more below its surface and from each other, and the same
head without any. 3 T, echoes at 4 9 14 19 24 ms, SNR 60; mask, field, background, inversion and R2* as the preset has them. A lesion is found
if a centre of mass lies within its radius plus one voxel. The true moment is what it adds to the integral of susceptibility over
the object's fine grid. Everything found in the head without lesions is a false positive.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from chimap import tuning
from chimap.acquisition import Acquisition
from chimap.masking.quality import refine
from chimap.pipeline import presets
from chimap.pipeline.reconstruct import root_sum_of_squares
from chimap.quantify.lesions import BLEED, Lesions, find_lesions
from chimap.simulate import SimulatedScan, head_phantom, simulate_scan
from chimap.simulate.lesions import Lesion, place_lesions, random_lesions, without_lesions

TE_S = (0.004, 0.009, 0.014, 0.019, 0.024)
B0_T = 3.0


def scan(
    seed: int, voxel_mm: float, sick: bool, oversample: float = 1.5
) -> tuple[SimulatedScan, list[Lesion], list[float]]:
    """A scan of one head, its lesions and their true moments in ppm mm3."""
    acq = Acquisition(TE_S, B0_T, voxel_size_mm=(voxel_mm,) * 3)
    head = without_lesions(head_phantom((voxel_mm / oversample,) * 3, b0_t=B0_T, seed=seed))
    lesions: list[Lesion] = []
    moments: list[float] = []
    if sick:
        lesions = random_lesions(head, seed=seed)
        head, moments = place_lesions(head, lesions)
    return simulate_scan(head, acq, seed=seed), lesions, moments


def maps(s: SimulatedScan, preset: str) -> dict[str, Any]:
    """What `find_lesions` takes, by the stages of a preset from phase and magnitude alone."""
    acq = s.acq
    choices = {
        n: presets.choose(n, preset=preset) for n in ("mask", "field", "background", "inversion", "r2star")
    }
    c = choices["mask"]
    mask = c.method(s.magnitude, acq, **c.method.takes(phase=s.phase), **c.parameters)
    rim = presets.load(preset).get("refine")
    if rim is not None:
        mask = refine(mask, s.phase, s.magnitude, acq, **rim)
    c = choices["field"]
    total = c.method(s.phase, mask, acq, **c.method.takes(magnitude=s.magnitude), **c.parameters)
    c = choices["r2star"]
    r2star = c.method(s.magnitude, mask, acq, **c.parameters).r2star
    arrays: dict[str, Any] = {
        "magnitude": root_sum_of_squares(s.magnitude), "noise": total.noise_ppm, "r2star": r2star
    }  # fmt: skip
    c = choices["background"]
    local = c.method(total.field_ppm, mask, acq, **c.method.takes(**arrays), **c.parameters)
    arrays["noise"] = local.noise_ppm
    c = choices["inversion"]
    settled, _ = tuning.resolve(c.method, c.parameters, local.field_ppm, local.mask, acq, arrays)
    chi = c.method(local.field_ppm, local.mask, acq, **c.method.takes(**arrays), **settled)
    noise = local.noise_ppm if local.noise_ppm is not None else total.noise_ppm
    return {
        "chi": chi, "mask": local.mask, "local_field": local.field_ppm, "noise": noise, "r2star": r2star
    }  # fmt: skip


def match(found: Lesions, lesions: list[Lesion], voxel_mm: float, shape: tuple[int, ...]) -> dict[int, int]:
    """Number of the true lesion to the place in the list of the one that was found there."""
    out: dict[int, int] = {}
    middle = (np.array(shape) - 1) / 2
    for n, f in enumerate(found.found):
        at = (np.array(f.index) - middle) * voxel_mm
        apart = [float(np.linalg.norm(at - t.centre_mm)) - t.diameter_mm / 2 for t in lesions]
        nearest = int(np.argmin(apart)) if apart else -1
        if apart and apart[nearest] < voxel_mm and nearest not in out:
            out[nearest] = n
    return out


def run(seed: int, voxel_mm: float, preset: str, keep: Path | None = None) -> list[dict[str, Any]]:
    """One row a true lesion, and one a false positive, of the two heads of a seed."""
    rows: list[dict[str, Any]] = []
    for sick in (True, False):
        s, lesions, moments = scan(seed, voxel_mm, sick)
        m = maps(s, preset)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            name = keep / f"head{seed}_{voxel_mm:g}mm_{'lesions' if sick else 'none'}.npz"
            np.savez(name, **m, moments=moments, truth=s.chi_ppm, magnitude=root_sum_of_squares(s.magnitude))
        found = find_lesions(
            m["chi"], m["mask"], s.acq, local_field=m["local_field"], noise=m["noise"], r2star=m["r2star"]
        )
        pairs = match(found, lesions, voxel_mm, s.chi_ppm.shape)
        for n, (true, moment) in enumerate(zip(lesions, moments, strict=True)):
            row = {"seed": seed, "what": "lesion", "kind": true.kind, "diameter_mm": true.diameter_mm}
            row |= {"chi_ppm": true.chi_ppm, "moment": moment, "found": n in pairs}
            if n in pairs:
                f = found.found[pairs[n]]
                row |= {"called": f.kind, "measured": f.moment, "error": f.moment_error}
                row |= {"volume_ratio": f.volume_mm3 / true.volume_mm3}
                row["right"] = f.kind != "uncertain" and (f.kind == BLEED) == (true.kind == "microbleed")
            rows.append(row)
        for n, f in enumerate(found.found):
            if n not in pairs.values():
                what = "extra beside lesions" if sick else "false positive"
                at = tuple(round(v) for v in f.index)
                rows.append(
                    {"seed": seed, "what": what, "kind": f.kind, "at": at, "contrast": f.contrast_ppm}
                )
        print(f"seed {seed}, {'with' if sick else 'without'} lesions: {len(found.found)} found", flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers asked for, over all seeds."""
    true = [r for r in rows if r["what"] == "lesion"]
    hits = [r for r in true if r["found"]]
    seeds = len({r["seed"] for r in rows})
    off = np.array([r["measured"] / r["moment"] - 1 for r in hits])
    sigma = np.array([(r["measured"] - r["moment"]) / r["error"] for r in hits])
    out: dict[str, Any] = {"heads": seeds, "lesions": len(true), "sensitivity": len(hits) / len(true)}
    for kind in ("microbleed", "calcification"):
        of = [r["found"] for r in true if r["kind"] == kind]
        out[f"sensitivity {kind}"] = float(np.mean(of))
    for low, high in ((2, 3), (3, 4), (4, 8.01)):
        of = [r["found"] for r in true if low <= r["diameter_mm"] < high]
        out[f"sensitivity {low:g} to {high:.0f} mm"] = float(np.mean(of)) if of else None
    out |= {
        "false positives a head without lesions": sum(r["what"] == "false positive" for r in rows) / seeds,
        "extras a head with lesions": sum(r["what"] == "extra beside lesions" for r in rows) / seeds,
        "class right": float(np.mean([r["right"] for r in hits])),
        "moment: median absolute error": float(np.median(np.abs(off))),
        "moment: 90th percentile": float(np.percentile(np.abs(off), 90)),
        "moment: median error": float(np.median(off)),
        "moment: within two standard errors": float(np.mean(np.abs(sigma) < 2)),
        "volume: median ratio": float(np.median([r["volume_ratio"] for r in hits])),
    }
    return out


def main() -> None:
    """Run the study and print its numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--voxel", type=float, default=1.5, metavar="MM")
    parser.add_argument("--preset", default=presets.DEFAULT)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows and the summary")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the maps as .npz")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in args.seeds:
        rows += run(seed, args.voxel, args.preset, args.keep)
        result = summary(rows)
        if args.json:
            text = json.dumps(
                {"preset": args.preset, "voxel_mm": args.voxel, "summary": result, "rows": rows}, indent=1
            )
            args.json.write_text(text, encoding="utf-8")
    for name, value in result.items():
        print(f"{name:<44}{value if value is None else round(value, 4)}")


if __name__ == "__main__":
    main()
