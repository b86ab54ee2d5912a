"""The learned inversion on objects that it was not trained on: accuracy, lesions, noise, linearity, and the error it expects.

    python -m benchmarks.learned [--model inversion] [--voxel 1.6] [--samples 24] [--json results.json]

Heads are the package's own phantom, which no training sample comes from; the field is the true local one with noise of 1 ppb, magnitude and R2*
those of the simulated scan. Random objects are of another seed than the training's. Scores are compared with `guided`, `tv` and
`tkd` on the same input. A lesion's moment is what it adds to the map's integral within 4 mm of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from chimap import methods
from chimap.acquisition import Acquisition
from chimap.inversion.learned import learned_map
from chimap.learning.synthetic import local_sample
from chimap.metrics import nrmse, xsim
from chimap.numerics.echoes import root_sum_of_squares
from chimap.simulate import head_phantom, simulate_scan
from chimap.simulate.lesions import place_lesions, random_lesions, without_lesions

NOISE_PPM = 0.001
SEED = 9001
OTHERS = ("guided", "tv", "tkd")


def head(
    voxel: tuple[float, float, float], b0_t: float, b0_dir: tuple[float, float, float], sick: bool
) -> dict[str, Any]:
    """True local field with noise, truth and guides of a head; with lesions also their places and true moments."""
    acq = Acquisition((0.004, 0.012, 0.020), b0_t, b0_dir=b0_dir, voxel_size_mm=voxel)
    fine = tuple(v / 1.5 for v in voxel)
    phantom = without_lesions(head_phantom((fine[0], fine[1], fine[2]), b0_t=b0_t, seed=5))
    lesions, moments = [], []
    if sick:
        lesions = random_lesions(phantom, seed=3)
        phantom, moments = place_lesions(phantom, lesions)
    s = simulate_scan(phantom, acq, snr=100, seed=1)
    noise = np.random.default_rng(0).normal(0, NOISE_PPM, s.mask.shape).astype(np.float32)
    return {
        "field": (s.local_field_ppm + noise) * s.mask,
        "truth": s.chi_ppm * s.mask,
        "mask": s.mask,
        "acq": acq,
        "guides": {"magnitude": root_sum_of_squares(s.magnitude), "r2star": s.r2star},
        "lesions": lesions,
        "moments": moments,
    }


def run(
    name: str, model: str, h: dict[str, Any], field: np.ndarray | None = None, guides: bool = True
) -> np.ndarray:
    """The map of one method."""
    m = methods("inversion")[name]
    given = m.takes(**h["guides"]) if guides else {}
    extra = {"model": model} if name == "learned" else {}
    return m(h["field"] if field is None else field, h["mask"], h["acq"], **given, **extra)


def scores(h: dict[str, Any], chi: np.ndarray) -> dict[str, float]:
    """NRMSE in percent and XSIM inside the mask."""
    return {"nrmse": nrmse(chi, h["truth"], h["mask"]), "xsim": xsim(chi * h["mask"], h["truth"], h["mask"])}


def accuracy(model: str, voxel: float) -> dict[str, Any]:
    """Three heads of other field, direction and voxels."""
    cases = {
        "7 T, axial": ((voxel,) * 3, 7.0, (0.0, 0.0, 1.0)),
        "3 T, oblique": ((voxel,) * 3, 3.0, (0.05, 0.2, 0.9785)),
        "3 T, slices twice as thick": ((voxel, voxel, 2 * voxel), 3.0, (0.0, 0.0, 1.0)),
    }
    out: dict[str, Any] = {}
    for name, (v, b0_t, b0_dir) in cases.items():
        h = head(v, b0_t, b0_dir, sick=False)
        out[name] = {m: scores(h, run(m, model, h)) for m in ("learned", *OTHERS)}
        out[name]["learned, no guides"] = scores(h, run("learned", model, h, guides=False))
        print(name, {m: {k: round(x, 3) for k, x in s.items()} for m, s in out[name].items()}, flush=True)
    return out


def lesions(model: str, voxel: float) -> dict[str, float]:
    """Median relative error and slope of the moments of lesions of 3 mm and more."""
    size, direction = (voxel,) * 3, (0.0, 0.0, 1.0)
    sick, well = head(size, 3.0, direction, sick=True), head(size, 3.0, direction, sick=False)
    change = run("learned", model, sick) - run("learned", model, well)
    true, found = [], []
    for lesion, moment in zip(sick["lesions"], sick["moments"], strict=True):
        if lesion.diameter_mm < 3:
            continue
        near = around(sick, lesion.centre_mm, lesion.diameter_mm / 2 + 4)
        true.append(moment)
        found.append(float(change[near].sum()) * voxel**3)
    t, f = np.array(true), np.array(found)
    out = {
        "lesions": float(t.size),
        "slope": float(f @ t / (t @ t)),
        "median error in percent": float(100 * np.median(np.abs(f - t) / np.abs(t))),
    }
    for kind, which in (("blood", t > 0), ("calcium", t < 0)):
        out[f"slope, {kind}"] = float(f[which] @ t[which] / (t[which] @ t[which]))
    return out


def around(h: dict[str, Any], centre_mm: tuple[float, ...], radius_mm: float) -> np.ndarray:
    """Voxels of the mask within a distance of a place in mm from the middle of the grid."""
    shape = h["mask"].shape
    index = np.indices(shape, dtype=np.float32)
    d2 = sum(
        ((index[a] - (shape[a] - 1) / 2) * v - centre_mm[a]) ** 2
        for a, v in enumerate(h["acq"].voxel_size_mm)
    )
    return (d2 <= radius_mm**2) & h["mask"]


def noise(model: str, voxel: float) -> dict[str, float]:
    """Standard deviation in ppb of the maps of pure noise of 4 ppb."""
    h = head((voxel,) * 3, 3.0, (0.0, 0.0, 1.0), sick=False)
    field = np.random.default_rng(1).normal(0, 0.004, h["mask"].shape).astype(np.float32) * h["mask"]
    out = {}
    for name in ("learned", "tikhonov", "guided", "tv"):
        out[name] = 1000 * float(run(name, model, h, field=field)[h["mask"]].std())
    return out


def linearity(model: str, voxel: float) -> dict[str, float]:
    """Slope against the truth of a head whose susceptibility is scaled, relative to the slope at 1; field without noise."""
    h = head((voxel,) * 3, 3.0, (0.0, 0.0, 1.0), sick=False)
    clean = h["field"]
    m, t = h["mask"], h["truth"][h["mask"]]
    t = t - t.mean()
    slopes = {}
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        chi = run("learned", model, h, field=clean * np.float32(factor))[m]
        slopes[factor] = float((chi - chi.mean()) @ t / (t @ t)) / factor
    return {f"{k:g}": v / slopes[1.0] for k, v in slopes.items()}


def expected_error(model: str, samples: int) -> dict[str, float]:
    """How often the error on random objects is within one and two expected deviations, and its root mean square in them."""
    ratios = []
    errors = []
    for i in range(samples):
        s = local_sample(np.random.default_rng([SEED, i]), (56, 56, 56))
        made = learned_map(
            s.field_ppm, s.mask, s.acq, noise=s.noise_ppm, magnitude=s.magnitude, r2star=s.r2star, model=model
        )
        t = s.chi_ppm[s.mask]
        error = made.chi[s.mask] - (t - t.mean())
        ratios.append(np.abs(error) / made.deviation[s.mask])
        errors.append(nrmse(made.chi, s.chi_ppm, s.mask))
    r = np.concatenate(ratios)
    return {
        "within 1": float((r < 1).mean()),
        "within 2": float((r < 2).mean()),
        "median NRMSE": float(np.median(errors)),
        "samples": float(samples),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="inversion")
    parser.add_argument("--voxel", type=float, default=1.6)
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    out: dict[str, Any] = {"accuracy": accuracy(args.model, args.voxel)}
    for name, part in (("lesions", lesions), ("noise", noise), ("linearity", linearity)):
        out[name] = part(args.model, args.voxel)
        print(name, {k: round(v, 3) for k, v in out[name].items()}, flush=True)
    out["expected error"] = expected_error(args.model, args.samples)
    print("expected error", {k: round(v, 3) for k, v in out["expected error"].items()}, flush=True)
    if args.json:
        args.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
