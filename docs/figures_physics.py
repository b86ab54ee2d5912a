"""Draw the pictures of "How QSM works": ``python docs/figures_physics.py`` writes ``docs/img/physics_*.png`` and prints the numbers.

Not part of the build; the pictures are kept in the repository. It takes about a minute.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import chimap
from chimap.metrics import nrmse
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.numerics.fft import irfftn, rfftn
from chimap.simulate import SimulatedScan, head_phantom, simulate_scan, sphere

IMG = Path(__file__).with_name("img")
VOXEL_MM = 2.0
TE_S = (0.004, 0.009, 0.014, 0.019, 0.024)
CHI = (-0.1, 0.15)


def main() -> None:
    """Simulate a head, then one picture a section of the page."""
    acq = chimap.Acquisition(TE_S, b0_t=3.0, voxel_size_mm=(VOXEL_MM,) * 3)
    scan = simulate_scan(head_phantom((VOXEL_MM / 1.5,) * 3), acq)
    dipole()
    wraps(scan, acq)
    background(scan)
    cone(scan, acq)
    regularisation(scan, acq)


def dipole() -> None:
    """The kernel in k-space with its zero cone, in image space, and the field of a sphere."""
    n = 65
    half = dipole_kernel((n, n, n), (1, 1, 1), (0, 0, 1))
    whole = np.fft.fftshift(np.fft.fftn(np.fft.irfftn(half, (n, n, n), axes=(0, 1, 2)))).real
    # A point of one voxel rings on a grid; a small Gaussian does not.
    k2 = sum(np.meshgrid(*[np.fft.fftfreq(n) ** 2] * 2, np.fft.rfftfreq(n) ** 2, indexing="ij"))
    image = np.fft.fftshift(np.fft.irfftn(half * np.exp(-20 * k2), (n, n, n), axes=(0, 1, 2)))
    ball = sphere((n, n, n), chimap.Acquisition((0.02,), b0_t=3.0), radius_mm=8.0, chi_ppm=1.0)
    m = n // 2
    fig, axes = figure(3)
    show(axes[0], whole[:, m], (-2 / 3, 1 / 3), "D in k-space; 0 on the lines")
    axes[0].contour(whole[:, m].T, [0], colors="tab:orange", linewidths=1)
    show(axes[1], image[:, m], (-2e-4, 2e-4), "field of a small source, B0 upwards")
    show(axes[2], ball.field_ppm[:, m], (-0.3, 0.3), "field of a sphere of 1 ppm, ±0.3 ppm")
    save(fig, "physics_dipole.png")


def wraps(scan: SimulatedScan, acq: chimap.Acquisition) -> None:
    """Wrapped phase of a late echo, the same unwrapped, and a profile through both."""
    true = chimap.unwrap(scan.phase, scan.mask, acq, magnitude=scan.magnitude)
    z, window = plane(scan), crop(scan)
    last = scan.phase[..., -1] * scan.mask
    y = int(np.argwhere(scan.mask).mean(0)[1]) + 28
    fig, axes = figure(3)
    show(axes[0], last[*window, z], (-np.pi, np.pi), "phase at 24 ms as scanned, ±π rad")
    show(axes[1], true[*window, z, -1], (-12, 12), "unwrapped, ±12 rad")
    for ax in axes[:2]:
        ax.axhline(y - window[1].start, color="tab:orange", linewidth=1)
    inside = np.flatnonzero(scan.mask[:, y, z])
    x = (inside - inside[0]) * VOXEL_MM
    ax = axes[2]
    ax.axis("on")
    ax.set_facecolor("black")
    ax.plot(x, last[inside, y, z], ".-", color="0.6", linewidth=1, markersize=3, label="as scanned")
    ax.plot(x, true[inside, y, z, -1], color="tab:orange", linewidth=1.5, label="unwrapped")
    ax.set_title("along the line: rad against mm", color="white", fontsize=9)
    ax.tick_params(colors="white", labelsize=7)
    ax.legend(fontsize=7, frameon=False, labelcolor="white")
    ax.set_box_aspect(1)
    save(fig, "physics_wraps.png")


def background(scan: SimulatedScan) -> None:
    """Total field, its background and the local field, all true."""
    z, window = plane(scan), crop(scan)
    total, local = scan.total_field_ppm * scan.mask, scan.local_field_ppm * scan.mask
    inside = scan.mask
    print(f"total field: SD {1e3 * total[inside].std():.0f} ppb; local: {1e3 * local[inside].std():.0f} ppb")
    fig, axes = figure(3)
    show(axes[0], total[*window, z], (-0.5, 0.5), "total field, ±500 ppb")
    show(axes[1], (total - local)[*window, z], (-0.5, 0.5), "background, ±500 ppb")
    show(axes[2], local[*window, z], (-0.05, 0.05), "local field, ±50 ppb")
    save(fig, "physics_background.png")


def cone(scan: SimulatedScan, acq: chimap.Acquisition) -> None:
    """Division by the kernel: with how little noise it fails, and what a limit on the division costs."""
    chi = np.where(scan.mask, scan.chi_ppm - scan.chi_ppm[scan.mask].mean(), 0).astype(np.float32)
    field = forward_field(chi, acq, pad=1.0)
    noise = np.random.default_rng(0).normal(0, 0.001, chi.shape).astype(np.float32)
    kernel = dipole_kernel(chi.shape, acq.voxel_size_mm, acq.b0_dir)
    print(f"|D| below 0.1 in {100 * (np.abs(kernel) < 0.1).mean():.0f} % of k-space")

    def divided(data: np.ndarray, least: float) -> np.ndarray:
        safe = np.where(np.abs(kernel) < least, np.where(kernel < 0, -least, least), kernel)
        back = irfftn(rfftn(data) / safe, chi.shape) * scan.mask
        return np.where(scan.mask, back - back[scan.mask].mean(), 0)

    maps = [(chi, "true χ, −100 to 150 ppb")]
    for least in (0.001, 0.05, 0.2):
        back = divided(field + noise, least)
        maps.append((back, f"|D| ≥ {least:g}: error {nrmse(back, chi, scan.mask):.0f} %"))
    x = int(np.argwhere(scan.labels == scan.table["globus pallidus"][0]).max(0)[0]) - 3
    spans = [slice(max(0, c.min() - 3), c.max() + 4) for c in np.nonzero(scan.mask)[1:]]
    fig, axes = figure(4)
    for ax, (volume, title) in zip(axes, maps, strict=True):
        show(ax, volume[x, *spans], CHI, title)
        print(f"{title}; globus pallidus {1e3 * contrast(volume, scan):.0f} ppb above white matter")
    save(fig, "physics_cone.png")


def regularisation(scan: SimulatedScan, acq: chimap.Acquisition) -> None:
    """One inversion with too little, enough and too much weight on its penalty."""
    mask = scan.mask
    chi = np.where(mask, scan.chi_ppm - scan.chi_ppm[mask].mean(), 0)
    noise = np.full(chi.shape, 0.003, np.float32)
    field = scan.local_field_ppm + noise * np.random.default_rng(0).normal(0, 1, chi.shape)
    maps = [(chi, "true χ, −100 to 150 ppb")]
    for lam in (0.05, 4.0, 60.0):
        back = chimap.invert(field, mask, acq, noise=noise, method="tv", lam=lam)
        back = np.where(mask, back - back[mask].mean(), 0)
        maps.append((back, f"lam {lam:g}: error {nrmse(back, chi, mask):.0f} %"))
    z, window = plane(scan), crop(scan)
    fig, axes = figure(4)
    for ax, (volume, title) in zip(axes, maps, strict=True):
        show(ax, volume[*window, z], CHI, title)
        print(f"{title}; globus pallidus {1e3 * contrast(volume, scan):.0f} ppb above white matter")
    save(fig, "physics_regularisation.png")


def contrast(volume: np.ndarray, scan: SimulatedScan) -> float:
    """Mean of the globus pallidus above that of white matter, in ppm."""
    nucleus, around = (scan.labels == scan.table[name][0] for name in ("globus pallidus", "white matter"))
    return float(volume[nucleus].mean() - volume[around].mean())


def plane(scan: SimulatedScan) -> int:
    """The plane with most of the globus pallidus."""
    return int((scan.labels == scan.table["globus pallidus"][0]).sum((0, 1)).argmax())


def crop(scan: SimulatedScan) -> list[slice]:
    """The head in a plane, with a narrow margin."""
    return [slice(max(0, c.min() - 3), c.max() + 4) for c in np.nonzero(scan.mask)[:2]]


def figure(columns: int) -> tuple[plt.Figure, np.ndarray]:
    """Black, for `columns` pictures side by side."""
    fig, axes = plt.subplots(1, columns, figsize=(2.9 * columns, 3.2), facecolor="black")
    for ax in axes:
        ax.axis("off")
    return fig, axes


def show(ax: plt.Axes, image: np.ndarray, window: tuple[float, float], title: str) -> None:
    """One slice, second axis upwards."""
    ax.imshow(image.T, cmap="gray", vmin=window[0], vmax=window[1], origin="lower", interpolation="nearest")
    ax.set_title(title, color="white", fontsize=9)


def save(fig: plt.Figure, name: str) -> None:
    """Write the picture."""
    fig.subplots_adjust(0.02, 0.06, 0.98, 0.92, 0.06)
    IMG.mkdir(exist_ok=True)
    fig.savefig(IMG / name, dpi=85, pil_kwargs={"optimize": True})
    plt.close(fig)


if __name__ == "__main__":
    main()
