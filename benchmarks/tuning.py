"""What rules for parameters lose against the best value, on six simulated scans of different field, resolution and noise.

    python -m benchmarks.tuning METHOD [METHOD ...] [--rules phantom crossvalidation] [--scans 0 1 2 3 4 5] [--crop 100000]
    python -m benchmarks.tuning tv --scaling

A scan is a half-size head (of a different person each) with its total field estimated from the simulated phase; the local field is the true
one plus the error of that estimate, so that only the inversion is judged. The best value ("oracle") comes from `--count`
values over four decades; the loss of a choice is how much larger its NRMSE over the whole mask is, by interpolation.
`--scaling`: one head at several resolutions and field strengths, inverted with the default.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

import chimap
from chimap import registry, tuning
from chimap.acquisition import Acquisition
from chimap.metrics import nrmse
from chimap.simulate import head_phantom, simulate_scan
from chimap.tuning.problem import CROP_VOXELS, Problem, make_problem, middle
from chimap.types import silent

TE_S = {
    1.0: (0.010, 0.025, 0.040, 0.055),
    3.0: (0.005, 0.013, 0.021, 0.029),
    7.0: (0.004, 0.010, 0.016, 0.022),
}
# B0 [T], voxel [mm], SNR of the first echo, B0 direction.
SCANS = (
    (1.0, (1.0, 1.0, 1.0), 60.0, (0.0, 0.0, 1.0)),
    (1.0, (1.0, 1.0, 2.0), 20.0, (0.0, 0.0, 1.0)),
    (3.0, (0.7, 0.7, 0.7), 20.0, (0.1, 0.2, 0.97)),
    (3.0, (1.0, 1.0, 1.0), 60.0, (0.0, 0.0, 1.0)),
    (7.0, (0.7, 0.7, 0.7), 60.0, (0.0, 0.0, 1.0)),
    (7.0, (1.0, 1.0, 2.0), 20.0, (0.1, -0.15, 0.98)),
)


@dataclass(frozen=True)
class Scan:
    """Local field, noise and truth on one grid."""

    acq: Acquisition
    field: np.ndarray
    noise: np.ndarray
    magnitude: np.ndarray
    mask: np.ndarray
    chi: np.ndarray

    def problem(self, method: str, crop: int = 0) -> Problem:
        """The question that rules answer, about all of it or about `crop` voxels in the middle."""
        return make_problem(
            self.field, self.mask, self.acq, method=method, parameter=None, noise=self.noise,
            arrays={"magnitude": self.magnitude}, fixed={}, crop=crop, progress=silent,
        )  # fmt: skip

    def error(self, chi: np.ndarray, crop: int = 0) -> float:
        """NRMSE in % of a map of `problem`, given in its mask, (n,)."""
        cut = middle(self.mask, self.acq, crop) if crop else ...
        return nrmse(chi, self.chi[cut][self.mask[cut]], np.ones(chi.shape, bool))


def scan(
    b0_t: float, voxel: Sequence[float], snr: float, b0_dir: Sequence[float], seed: int, cache: Path
) -> Scan:
    """A simulated scan; kept in `cache`."""
    acq = Acquisition(TE_S[b0_t], b0_t, tuple(b0_dir), tuple(voxel))  # type: ignore[arg-type]
    path = cache / f"scan_{b0_t:g}T_{'x'.join(f'{v:g}' for v in voxel)}_snr{snr:.3g}_seed{seed}.npz"
    if not path.exists():
        phantom = head_phantom([min(voxel) / 2] * 3, b0_t=b0_t, seed=seed, scale=0.5)
        # A small head has steep background fields: bone and air spaces become soft tissue.
        inner = ~phantom.mask & (phantom.labels != 0)
        chi = np.where(inner, np.clip(phantom.chi_ppm, -0.3, 0.3), phantom.chi_ppm).astype(np.float32)
        s = simulate_scan(replace(phantom, chi_ppm=chi), acq, snr=snr, seed=seed)
        total = chimap.estimate_field(s.phase, s.mask, acq, magnitude=s.magnitude)
        np.savez(
            path,
            field=(s.local_field_ppm + total.field_ppm - s.total_field_ppm) * s.mask,
            noise=total.noise_ppm,
            magnitude=np.sqrt(np.square(s.magnitude).sum(-1)) * s.mask,
            mask=s.mask,
            chi=s.chi_ppm * s.mask,
        )
    with np.load(path) as arrays:
        return Scan(acq, **{name: arrays[name] for name in arrays.files})


def study(
    method: str, names: Sequence[str], numbers: Sequence[int], crop: int, count: int, cache: Path
) -> None:
    """Print the loss of rules on each scan, and the largest of each."""
    worst: dict[str, list[float]] = {name: [] for name in ["default", *names]}
    for n in numbers:
        s = scan(*SCANS[n], seed=10 + n, cache=cache)
        p = s.problem(method, crop)
        values = p.grid(count, 2.0)
        start = time.perf_counter()
        errors = [s.error(p.run(v), crop) for v in values]
        took = (time.perf_counter() - start) / len(values)
        curve = PchipInterpolator(np.log(values), errors)
        fine = np.linspace(np.log(values[0]), np.log(values[-1]), 3000)
        best = float(curve(fine).min())
        oracle = float(np.exp(fine[int(np.argmin(curve(fine)))]))
        b0, voxel, snr, _ = SCANS[n]
        print(
            f"{method} on scan {n}: {b0:g} T, {'x'.join(f'{v:g}' for v in voxel)} mm, SNR {snr:g}; best {p.parameter} = "
            f"{oracle:.3g} with NRMSE {best:.1f} %; {took:.1f} s a run"
        )

        def loss(value: float, curve: Any = curve, fine: Any = fine, best: float = best) -> float:
            return 100 * (float(curve(np.clip(np.log(value), fine[0], fine[-1]))) / best - 1)

        worst["default"].append(loss(p.default))
        print(f"  {'default':16} {p.default:9.3g}  loss {worst['default'][-1]:6.1f} %")
        q = s.problem(method, crop or CROP_VOXELS)
        if q.mask.size == p.mask.size:
            q = p  # nothing was cut: the runs serve again
        for name in names:
            before, start = q.runs, time.perf_counter()
            found = tuning.rules()[name].function(q, None)
            worst[name].append(loss(found.value))
            print(
                f"  {name:16} {found.value:9.3g}  loss {worst[name][-1]:6.1f} %  {q.runs - before:3d} more runs, "
                f"{time.perf_counter() - start:.0f} s  {found.note}",
                flush=True,
            )
    print(f"{method}: loss of each rule in %, mean (largest): ", end="")
    print(", ".join(f"{name} {np.mean(v):.1f} ({max(v):.1f})" for name, v in worst.items()), flush=True)


def scaling(method: str, cache: Path) -> None:
    """One head, scanned at other resolutions and fields with the noise that physics gives, inverted with the default."""
    make = functools.partial(scan, b0_dir=(0.0, 0.0, 1.0), seed=30, cache=cache)
    for b0, side in ((1.0, 1.0), (3.0, 0.7), (3.0, 1.0), (3.0, 1.4), (7.0, 1.0)):
        # Signal goes with the volume of a voxel and the field.
        s = make(b0, (side,) * 3, 60.0 * side**3 * b0 / 3)
        p = s.problem(method)
        values = [p.default * f for f in (0.178, 0.316, 0.562, 1.0, 1.78, 3.16, 5.62)]
        errors = [s.error(p.run(v)) for v in values]
        chi, truth = p.run(p.default), s.chi[s.mask]
        high = (truth > 0.04) & (truth < 0.2)
        slope = float(np.polyfit(truth[high], chi[high], 1)[0])
        print(
            f"{method} {b0:g} T, {side:g} mm, median noise {1e3 * float(np.median(s.noise[s.mask])):.2f} ppb: NRMSE at the default "
            f"{errors[3]:.1f} %, best {min(errors):.1f} % at {values[int(np.argmin(errors))]:.3g}; slope from 0.04 to 0.2 ppm "
            f"{slope:.2f}, mean there {1e3 * float(chi[high].mean() - chi.mean()):.1f} of {1e3 * float(truth[high].mean() - truth.mean()):.1f} ppb",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "methods", nargs="+", metavar="METHOD", help=f"of {', '.join(registry.methods('inversion'))}"
    )
    parser.add_argument("--rules", nargs="+", default=list(tuning.rules()), metavar="RULE")
    parser.add_argument("--scans", nargs="+", type=int, default=list(range(len(SCANS))))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "chimap-tuning")
    parser.add_argument(
        "--crop", type=int, default=0, metavar="VOXELS", help="only this many in the middle of each scan"
    )
    parser.add_argument(
        "--count", type=int, default=17, help="values of the search for the best one, over 4 decades"
    )
    parser.add_argument("--scaling", action="store_true")
    args = parser.parse_args(argv)
    args.cache.mkdir(parents=True, exist_ok=True)
    for method in args.methods:
        if args.scaling:
            scaling(method, args.cache)
        else:
            study(method, args.rules, args.scans, args.crop, args.count, args.cache)


if __name__ == "__main__":
    main()
