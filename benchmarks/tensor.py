"""How well the susceptibility tensor of a simulated head is found.

    python -m benchmarks.tensor [--voxel 2.5] [--seed 0] [--snr 60] [--figure docs/img/tensor.png]

A head at 3 T with anisotropic white matter on a grid twice as fine as the image's, without lesions. The local field is the phase of the signal at 15 ms
after its k-space was cut to the image's; noise as of a field fitted to five echoes from 5 to 25 ms. Positions are known exactly, the local
field has no background left, and white matter is known (its share of each voxel): in vivo nothing of this holds.

Mean susceptibility is compared over the brain with the true one at the image's resolution (its k-space cut the same way), and with its mean over each
voxel, which no image of that resolution shows where tissue is finer. Anisotropy and direction are compared in voxels of at least 90 % white
matter: slope of the regression on the true anisotropy, ratio of the means, median angle where the true anisotropy exceeds 0.01 ppm.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import chimap
from chimap.metrics import nrmse
from chimap.numerics.tensor import tensor_field
from chimap.orientation.sti import TensorMap, sti
from chimap.orientation.tensor_maps import (
    TensorMaps,
    correct_orientation,
    cylindrical_tensor,
    direction_colours,
    tensor_maps,
)
from chimap.simulate import head_phantom
from chimap.simulate.anisotropic import (
    AnisotropicHead,
    PositionScan,
    anisotropic_head,
    positions,
    scan_positions,
)
from chimap.simulate.lesions import without_lesions
from chimap.simulate.resample import crop_kspace, image_shape


@dataclass
class Truth:
    """What the maps are compared with."""

    maps: TensorMaps
    resolved_mean: np.ndarray
    white: np.ndarray

    @classmethod
    def of(cls, head: AnisotropicHead, scan: PositionScan) -> Truth:
        """The truth of a scan."""
        p = head.phantom
        fine, image = image_shape(p.labels.shape, p.voxel_size_mm, scan.acq.voxel_size_mm)
        mean = np.zeros(fine, np.complex64)
        mean[tuple(slice(0, n) for n in p.labels.shape)] = np.where(p.mask, p.chi_ppm, 0)
        return cls(
            tensor_maps(scan.tensor_ppm, scan.mask), crop_kspace(mean, image).real, scan.white_matter >= 0.9
        )


def report(name: str, found: TensorMap, truth: Truth, scan: PositionScan, seconds: float) -> TensorMaps:
    """Print a line of the table."""
    maps = tensor_maps(found.tensor_ppm, scan.mask)
    w = truth.white
    true, got = (m.anisotropy_ppm[w].astype(float) for m in (truth.maps, maps))
    slope = np.polyfit(true, got, 1)[0]
    angle = angles(maps.direction, truth.maps.direction)[w][true > 0.01]
    errors = [nrmse(maps.mean_ppm, t, scan.mask) for t in (truth.resolved_mean, truth.maps.mean_ppm)]
    print(
        f"| {name} | {found.condition:.3g} | {errors[0]:.0f} % | {errors[1]:.0f} % | {slope:.2f} | {got.mean() / true.mean():.2f} "
        f"| {np.median(angle):.1f}° | {np.mean(angle < 20):.0%} | {found.iterations} | {seconds:.0f} s |",
        flush=True,
    )
    return maps


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between axes in degrees."""
    return np.degrees(np.arccos(np.clip(np.abs((a * b).sum(axis=-1)), 0, 1)))


def noisy_axes(truth: Truth, scan: PositionScan, degrees: float, seed: int) -> np.ndarray:
    """True directions where a quarter of the voxel is white matter, turned at random, by `degrees` in the median."""
    v = truth.maps.direction
    # The length of a two-dimensional normal vector has the median 1.18 standard deviations.
    sd = np.float32(np.tan(np.deg2rad(degrees)) / 1.1774)
    v = v + sd * np.random.default_rng([seed, 9]).standard_normal(v.shape, dtype=np.float32)
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    return np.where((scan.white_matter >= 0.25)[..., None], v, 0).astype(np.float32)


def one_position(head: AnisotropicHead, scan: PositionScan, truth: Truth, axes: np.ndarray) -> None:
    """Error of a map of the first position alone in white matter, as it is and with both corrections."""
    acq, field = scan.acq, scan.fields_ppm[..., 0]
    noise = scan.noise_ppm[..., 0]
    delta = float(truth.maps.anisotropy_ppm[truth.white].mean())
    chi = chimap.invert(field, scan.mask, acq, noise=noise)
    wrong = tensor_field(cylindrical_tensor(axes, delta), acq.b0_dir, acq.voxel_size_mm)[..., 0] * scan.mask
    maps = {
        "as it is": chi,
        "map corrected": correct_orientation(chi, axes, scan.mask, acq.b0_dir, delta_chi_ppm=delta),
        "field corrected": chimap.invert(field - wrong, scan.mask, acq, noise=noise),
    }
    print(f"\nOne position, anisotropy {1000 * delta:.1f} ppb, error in white matter (SD, without its mean):")
    for name, volume in maps.items():
        error = (volume - truth.resolved_mean)[truth.white]
        print(f"- {name}: {1000 * error.std():.2f} ppb")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--voxel", type=float, default=2.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--snr", type=float, default=60.0)
    parser.add_argument(
        "--v1-noise", type=float, default=7.5, help="median error of the known axes in degrees"
    )
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args(argv)
    head = anisotropic_head(
        without_lesions(head_phantom((args.voxel / 2,) * 3, seed=args.seed)), seed=args.seed
    )
    scans = {
        most: scan_positions(head, positions(12, most), (args.voxel,) * 3, snr=args.snr, seed=args.seed)
        for most in (90.0, 35.0)
    }
    first = scans[90.0]
    truth = Truth.of(head, first)
    axes = noisy_axes(truth, first, args.v1_noise, args.seed)
    known = axes.any(axis=-1) & truth.white
    print(
        f"{'x'.join(map(str, first.mask.shape))}, {first.mask.sum()} voxels in the brain, {truth.white.sum()} of white matter; noise "
        f"{1000 * np.median(first.noise_ppm[first.mask]):.2f} ppb; true anisotropy {1000 * truth.maps.anisotropy_ppm[truth.white].mean():.1f} "
        f"+- {1000 * truth.maps.anisotropy_ppm[truth.white].std():.1f} ppb; axes wrong by "
        f"{np.median(angles(axes, truth.maps.direction)[known]):.1f} degrees"
    )
    print(
        "| | condition | NRMSE mean, resolved | NRMSE mean, voxel | slope | ratio | angle | < 20° | iterations | time |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    isotropic = first.white_matter < 0.1
    shown: dict[str, TensorMaps] = {}

    def run(name: str, most: float, count: int, **given: Any) -> None:
        scan = scans[most]
        pick = np.arange(12) if count == 12 else np.linspace(0, 11, count).astype(int)
        acqs = [scan.acq.with_(b0_dir=tuple(h)) for h in scan.directions[pick]]
        start = time.perf_counter()
        found = sti(scan.fields_ppm[..., pick], scan.mask, acqs, noise=scan.noise_ppm[..., pick], **given)
        shown[name] = report(name, found, truth, scan, time.perf_counter() - start)

    prior: dict[str, Any] = {"isotropic": isotropic, "guide": first.magnitude}
    run("12 over the sphere", 90, 12, **prior)
    run("12 over the sphere, white matter unknown", 90, 12)
    run("12 over the sphere, asymmetric", 90, 12, model="asymmetric", **prior)
    run("12 within 35°", 35, 12, **prior)
    run("12 within 35°, V1 preferred", 35, 12, axis=axes, **prior)
    run("6 over the sphere", 90, 6, **prior)
    run("6 over the sphere, V1 preferred", 90, 6, axis=axes, **prior)
    run("6 within 35°", 35, 6, **prior)
    run("6 within 35°, V1 preferred", 35, 6, axis=axes, **prior)
    run("6 within 35°, around V1", 35, 6, model="axis", axis=axes, guide=first.magnitude)
    run("3 within 35°, around V1", 35, 3, model="axis", axis=axes, guide=first.magnitude)
    one_position(head, first, truth, axes)
    if args.figure:
        wanted = ("12 over the sphere", "12 within 35°", "6 within 35°, V1 preferred")
        draw(args.figure, truth, first, {k: shown[k] for k in wanted})


def draw(path: Path, truth: Truth, scan: PositionScan, maps: dict[str, TensorMaps]) -> None:
    """Mean, anisotropy and direction in one coronal and one axial plane: truth and what was found."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = {"truth": truth.maps, **maps}
    window = tuple(slice(max(0, c.min() - 1), c.max() + 2) for c in np.nonzero(scan.mask))
    y = int(np.nonzero(scan.mask)[1].mean())
    z = int(np.nonzero(scan.mask)[2].mean()) + round(12 / scan.acq.voxel_size_mm[2])
    fig, panels = plt.subplots(4, len(columns), figsize=(2.7 * len(columns), 10.4), facecolor="black")
    for column, (title, m) in enumerate(columns.items()):
        colours = direction_colours(m.direction, m.anisotropy_ppm, full=0.018)
        rows = [
            (m.mean_ppm[window[0], window[1], z], {"vmin": -0.08, "vmax": 0.08}, "mean, ±80 ppb"),
            (
                m.anisotropy_ppm[window[0], window[1], z],
                {"vmin": 0, "vmax": 0.025},
                "anisotropy, 0 to 25 ppb",
            ),
            (colours[window[0], window[1], z], {}, "direction"),
            (colours[window[0], y, window[2]], {}, "direction"),
        ]
        for row, (plane, options, what) in enumerate(rows):
            ax = panels[row, column]
            ax.axis("off")
            ax.imshow(plane.swapaxes(0, 1), cmap="gray", origin="lower", interpolation="nearest", **options)
            ax.set_title(title if row == 0 else what if column == 0 else "", color="white", fontsize=9)
    panels[0, 0].set_title("truth: mean, ±80 ppb", color="white", fontsize=9)
    fig.subplots_adjust(0.005, 0.005, 0.995, 0.965, 0.02, 0.09)
    fig.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(fig)


if __name__ == "__main__":
    main()
