"""Compare the background methods on a simulated head: ``python docs/figures_background.py``.

Writes ``docs/img/background.png`` and prints the table of the page. Not part of the build; takes a few minutes.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from figures import TE_S, VOXEL_MM, plane

import chimap
from chimap import metrics
from chimap.masking.quality import refine
from chimap.simulate import head_phantom, simulate_scan

IMG = Path(__file__).with_name("img") / "background.png"
LIMIT_PPM = 0.05


def main() -> None:
    """Simulate, run every method from the estimated field or the phase, score against the true local field, draw."""
    acq = chimap.Acquisition(TE_S, b0_t=3.0, voxel_size_mm=(VOXEL_MM,) * 3)
    scan = simulate_scan(head_phantom((VOXEL_MM / 1.5,) * 3), acq)
    # Without what has no phase to speak of, next to air: as `chimap run` does it.
    mask = refine(chimap.brain_mask(scan.magnitude, acq), scan.phase, scan.magnitude, acq) & scan.mask
    total = chimap.estimate_field(scan.phase, mask, acq, magnitude=scan.magnitude)
    combined = np.sqrt((scan.magnitude**2).sum(-1))
    truth = centred(scan.local_field_ppm, mask)
    error = (total.field_ppm - scan.total_field_ppm)[mask]
    print(
        f"mask {mask.sum() / scan.mask.sum():.3f} of the brain; total field's error {error.std() * 1e3:.1f} ppb, "
        f"local field {truth[mask].std() * 1e3:.1f} ppb (root mean square), error's 99th percentile "
        f"{np.percentile(np.abs(error - np.median(error)), 99) * 1e3:.1f} ppb"
    )
    maps = {}
    print("| method | coverage | NRMSE, whole mask | XSIM, whole mask | NRMSE, where valid |")
    print("|---|---|---|---|---|")
    for name, method in sorted(chimap.methods("background").items()):
        data = scan.phase if method.of == "phase" else total.field_ppm
        magnitude = scan.magnitude if method.of == "phase" else combined
        inputs = method.takes(noise=total.noise_ppm, magnitude=magnitude)
        local = method(data, mask, acq, **inputs)
        valid = local.mask & mask
        field = centred(local.field_ppm, valid)
        maps[name] = field, np.where(valid, field - centred(truth, valid), 0)
        print(
            f"| `{name}` | {valid.sum() / mask.sum():.2f} | {metrics.nrmse(field, truth, mask):.0f} % "
            f"| {metrics.xsim(field, truth, mask):.3f} "
            f"| {metrics.nrmse(field, centred(truth, valid), valid):.0f} % |",
            flush=True,
        )
    draw({"truth": (truth, None), **maps}, plane(scan), mask)


def centred(volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean 0 over the mask, and 0 outside."""
    return np.where(mask, volume - volume[mask].mean(), 0)


def draw(maps: dict, z: int, mask: np.ndarray) -> None:
    """Two rows of panels: each map above its error."""
    window = [slice(max(0, c.min() - 2), c.max() + 3) for c in np.nonzero(mask)[:2]]
    columns = -(-len(maps) // 2)
    fig, axes = plt.subplots(4, columns, figsize=(1.75 * columns, 8.6), facecolor="black")
    for ax in axes.flat:
        ax.axis("off")
    for n, (name, pair) in enumerate(maps.items()):
        for row, (volume, title) in enumerate(zip(pair, (name, "its error"), strict=True)):
            if volume is None:
                continue
            ax = axes[2 * (n // columns) + row, n % columns]
            ax.imshow(
                volume[*window, z].T,
                cmap="gray" if row == 0 else "RdBu_r",
                vmin=-LIMIT_PPM,
                vmax=LIMIT_PPM,
                origin="lower",
                interpolation="nearest",
            )
            ax.set_title(title, color="white", fontsize=9)
    fig.subplots_adjust(0.005, 0.005, 0.995, 0.965, 0.02, 0.12)
    fig.savefig(IMG, dpi=85, pil_kwargs={"optimize": True})
    plt.close(fig)


if __name__ == "__main__":
    main()
