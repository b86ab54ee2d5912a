"""Draw the pictures of these pages from a simulated head: ``python docs/figures.py`` writes ``docs/img``.

Not part of the build; the pictures are kept in the repository. It takes about a minute.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import chimap
from chimap.masking.quality import refine
from chimap.simulate import head_phantom, simulate_scan

IMG = Path(__file__).with_name("img")
VOXEL_MM = 2.0
TE_S = (0.004, 0.009, 0.014, 0.019, 0.024)


def main() -> None:
    """Simulate, reconstruct, draw."""
    acq = chimap.Acquisition(TE_S, b0_t=3.0, voxel_size_mm=(VOXEL_MM,) * 3)
    scan = simulate_scan(head_phantom((VOXEL_MM / 1.5,) * 3), acq)
    mask = refine(chimap.brain_mask(scan.magnitude, acq), scan.phase, scan.magnitude, acq)
    total = chimap.estimate_field(scan.phase, mask, acq, magnitude=scan.magnitude)
    local = chimap.remove_background(total.field_ppm, mask, acq, noise=total.noise_ppm)
    r2star = chimap.map_r2star(scan.magnitude, mask, acq).r2star
    guides = {"magnitude": scan.magnitude, "r2star": r2star}
    chi = {
        name: chimap.invert(local.field_ppm, local.mask, acq, noise=local.noise_ppm, method=name, **given)
        for name, given in (("tkd", {}), ("guided", guides))
    }
    truth = np.where(scan.mask, scan.chi_ppm - scan.chi_ppm[scan.mask].mean(), 0)
    chi = {k: np.where(local.mask, v - v[local.mask].mean(), 0) for k, v in chi.items()}

    z = plane(scan)
    window = [slice(max(0, c.min() - 10), c.max() + 11) for c in np.nonzero(scan.mask)[:2]]
    first = scan.magnitude[..., 0]
    top = float(np.percentile(first, 99.5))
    draw(
        "mask.png",
        [
            (first, (0, top), "magnitude, echo 1, and mask", mask),
            (scan.phase[..., 0], (-np.pi, np.pi), "phase, echo 1, ±π rad", None),
            (scan.phase[..., -1], (-np.pi, np.pi), "phase, echo 5, ±π rad", None),
        ],
        z,
        window,
    )
    draw(
        "fields.png",
        [
            (total.field_ppm, (-0.6, 0.6), "total field, ±0.6 ppm", None),
            (total.noise_ppm, (0, 0.01), "its standard deviation, 0 to 0.01 ppm", None),
            (local.field_ppm, (-0.05, 0.05), "local field, ±0.05 ppm", None),
        ],
        z,
        window,
    )
    draw(
        "chi.png",
        [
            (truth, (-0.1, 0.15), "true χ, −100 to 150 ppb", None),
            (chi["guided"], (-0.1, 0.15), "guided TV", None),
            (chi["tkd"], (-0.1, 0.15), "TKD", None),
        ],
        z,
        window,
    )
    draw(
        "r2star.png",
        [(scan.r2star * scan.mask, (0, 50), "true R2*, 0 to 50/s", None), (r2star, (0, 50), "ARLO", None)],
        z,
        window,
    )


def plane(scan: object) -> int:
    """The plane with most of the globus pallidus."""
    number = scan.table["globus pallidus"][0]  # type: ignore[attr-defined]
    return int((scan.labels == number).sum((0, 1)).argmax())  # type: ignore[attr-defined]


def draw(name: str, maps: list[tuple], z: int, window: list[slice]) -> None:
    """Axial slices side by side, front up."""
    fig, axes = plt.subplots(1, len(maps), figsize=(2.9 * len(maps), 3.9), facecolor="black")
    for ax, (volume, (low, high), title, outline) in zip(axes, maps, strict=True):
        ax.imshow(
            volume[*window, z].T, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest"
        )
        if outline is not None:
            ax.contour(outline[*window, z].T, [0.5], colors="tab:orange", linewidths=1)
        ax.set_title(title, color="white", fontsize=9)
        ax.axis("off")
    fig.subplots_adjust(0.01, 0.01, 0.99, 0.92, 0.02)
    IMG.mkdir(exist_ok=True)
    fig.savefig(IMG / name, dpi=85, pil_kwargs={"optimize": True})
    plt.close(fig)


if __name__ == "__main__":
    main()
