"""Every inversion method on the same simulated head: the pictures and the table of the guide page on inversion.

    python -m benchmarks.inversion_gallery [METHOD ...] [--voxel 2] [--store DIR] [--draw]

Writes ``docs/img/inversion_*.png`` and the table between the marks in ``docs/inversion.md``. Results are kept in the store, so that
one changed method need not wait for the others: named methods are run again, without names those that are not there yet,
with ``--draw`` none.

The local field is the true one with the Gaussian noise that the magnitudes of the echoes imply. Total field and noise map are
those that chimap estimates from the phase. Time is that of one thread, as a multiple of rfftn + irfftn of the grid timed
around it; memory the most that arrays held at once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from scipy import ndimage

import chimap
from chimap import registry
from chimap.masking.quality import refine
from chimap.metrics import nrmse, xsim
from chimap.numerics.fft import irfftn, next_fast_shape, rfftn
from chimap.numerics.threads import set_threads
from chimap.simulate import head_phantom, simulate_scan

DOCS = Path(__file__).parents[1] / "docs"
TE_S = (0.004, 0.009, 0.014, 0.019, 0.024)
SNR = 60.0
MOST_NOISE_PPM = 0.05
SHEETS = {
    "closed": ("tkd", "tsvd", "tikhonov", "l2"),
    "linear": ("iterative_tikhonov", "weighted_l2", "ndi", "ilsqr"),
    "edges": ("tv", "weighted_tv", "guided", "medi", "tgv"),
    "robust": ("fansi_tv", "fansi_tgv", "l1_data", "hdqsm", "weak_harmonic"),
    "other": ("wavelet", "rts", "star"),
    "single": ("tfi", "sstv", "tgv_phase"),
}
"""Which methods share a picture, in the table's order; one that is not named here comes last, in a picture of its own."""
WINDOW_PPM = (-0.1, 0.15)
ERROR_PPM = 0.05
CALCIFIED_PPM = -0.3
COLUMNS = 6
# Dark in the middle: what is right vanishes into the background.
SIGNED = LinearSegmentedColormap.from_list("signed", ["#9fdcff", "#2a7fd4", "#000000", "#d9701a", "#ffd39b"])


def simulate(voxel_mm: float, path: Path) -> dict[str, np.ndarray]:
    """The scan and what chimap makes of it before inversion; kept in `path`."""
    if not path.exists():
        acq = acquisition(voxel_mm)
        scan = simulate_scan(head_phantom((voxel_mm / 1.5,) * 3), acq, snr=SNR)
        mask = refine(scan.mask, scan.phase, scan.magnitude, acq)
        # The best that a weighted combination of the echoes can do.
        signal = scan.magnitude * np.array([acq.rad_per_ppm(te) for te in TE_S]) / scan.parameters["noise_sd"]
        sigma = (mask / np.maximum(np.linalg.norm(signal, axis=-1), 1 / MOST_NOISE_PPM)).astype(np.float32)
        error = sigma * np.random.default_rng(0).standard_normal(mask.shape, np.float32)
        total = chimap.estimate_field(scan.phase, mask, acq, magnitude=scan.magnitude)
        source = scan.table["globus pallidus"][0]
        np.savez(
            path,
            phase=scan.phase,
            echoes=scan.magnitude,
            magnitude=np.sqrt(np.square(scan.magnitude).sum(-1)) * mask,
            r2star=chimap.map_r2star(scan.magnitude, mask, acq).r2star,
            mask=mask,
            total=total.field_ppm,
            noise=total.noise_ppm,
            local=(scan.local_field_ppm + error) * mask,
            chi=np.where(mask, scan.chi_ppm - scan.chi_ppm[mask].mean(), 0).astype(np.float32),
            axial=int((scan.labels == source).sum((0, 1)).argmax()),
            sagittal=int(np.where(mask, scan.chi_ppm, 0).min((1, 2)).argmin()),
        )
    with np.load(path) as arrays:
        return dict(arrays)


def acquisition(voxel_mm: float) -> chimap.Acquisition:
    """3 T, five echoes, isotropic."""
    return chimap.Acquisition(TE_S, b0_t=3.0, voxel_size_mm=(voxel_mm,) * 3)


def run(method: registry.Method, data: dict[str, np.ndarray], voxel_mm: float) -> dict[str, Any]:
    """The map of a method with its time in FFT pairs and its memory in volumes."""
    key = {None: "local", "total field": "total", "phase": "phase"}[method.of]
    magnitude = data["echoes"] if method.of == "phase" else data["magnitude"]
    inputs = method.takes(magnitude=magnitude, r2star=data["r2star"], noise=data["noise"])
    volume = np.zeros(next_fast_shape(data["mask"].shape), np.float32)

    def call() -> np.ndarray:
        result = method(data[key], data["mask"], acquisition(voxel_mm), **inputs)
        return result if isinstance(result, np.ndarray) else result.chi_ppm

    pair = seconds(lambda: irfftn(rfftn(volume), volume.shape))
    tracemalloc.start()
    chi: list[np.ndarray] = []
    took = [cpu(lambda: chi.append(call()))]
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Loading compiled code counts in the first run of the quick ones.
    if took[0] < 300 * pair:
        took += [cpu(call), cpu(call)]
    pair = (pair + seconds(lambda: irfftn(rfftn(volume), volume.shape))) / 2
    return {"chi": chi[0], "pairs": min(took) / pair, "volumes": memory / data["mask"].size / 4}


def cpu(call: Callable[[], object]) -> float:
    """Processor time of a call in s, which other programs disturb less than the clock."""
    start = time.process_time()
    call()
    return time.process_time() - start


def seconds(call: Callable[[], object]) -> float:
    """Median processor time of nine calls."""
    return float(np.median([cpu(call) for _ in range(9)]))


def sheet(path: Path, names: Sequence[str], data: dict[str, np.ndarray], found: dict[str, Any]) -> None:
    """Truth and methods side by side: a transverse and a sagittal slice, each above its error."""
    inside = np.nonzero(data["mask"])
    x, y, z = (slice(max(0, a.min() - 2), a.max() + 3) for a in inside)
    cuts = ((x, y, int(data["axial"])), (int(data["sagittal"]), y, z))
    columns = min(COLUMNS, len(names) + 1)
    blocks = [names[n : n + columns - 1] for n in range(0, len(names), columns - 1)]
    # A row for the names, then slice and error of each cut.
    heights = [0.28, *(a.shape[1] / a.shape[0] for a in (data["chi"][c] for c in cuts) for _ in range(2))]
    width = 1.75
    fig, axes = plt.subplots(
        5 * len(blocks),
        columns,
        figsize=(width * columns, width * sum(heights) * len(blocks) * 1.02),
        height_ratios=heights * len(blocks),
        facecolor="black",
        squeeze=False,
    )
    for ax in axes.flat:
        ax.axis("off")
    for block, rows in zip(blocks, np.split(axes, len(blocks)), strict=True):
        for name, (title, *column) in zip(["truth", *block], rows.T, strict=False):
            chi = data["chi"] if name == "truth" else found[name]["chi"]
            for cut, top, below in zip(cuts, column[::2], column[1::2], strict=True):
                show(top, np.where(data["mask"], chi, -np.inf)[cut], WINDOW_PPM, "gray")
                if name != "truth":
                    show(below, (chi - data["chi"])[cut], (-ERROR_PPM, ERROR_PPM), SIGNED)
            label = name if name == "truth" else f"{name}\n{found[name]['nrmse']:.0f} %"
            title.text(0.5, 0.05, label, color="white", fontsize=10, ha="center", transform=title.transAxes)
        scales(rows[2, 0], rows[4, 0])
    fig.subplots_adjust(0.003, 0.003, 0.997, 1, 0.02, 0.02)
    path.parent.mkdir(exist_ok=True)
    fig.savefig(path, dpi=100, facecolor="black", pil_kwargs={"optimize": True})
    plt.close(fig)


def show(ax: Any, image: np.ndarray, limits: tuple[float, float], colours: Any) -> None:
    """One slice, front or top up."""
    ax.imshow(image.T, cmap=colours, vmin=limits[0], vmax=limits[1], origin="lower", interpolation="nearest")


def scales(chi: Any, error: Any) -> None:
    """The two scales, in the fields below the truth, which has no error."""
    for ax, limits, colours, text in (
        (chi, WINDOW_PPM, "gray", "χ"),
        (error, (-ERROR_PPM, ERROR_PPM), SIGNED, "error"),
    ):
        bar = ax.inset_axes((0.1, 0.45, 0.8, 0.09))
        bar.imshow(np.linspace(0, 1, 256)[None], cmap=colours, aspect="auto", extent=(*limits, 0, 1))
        bar.set_yticks([])
        bar.set_xticks(
            [limits[0], 0, limits[1]], [f"{1000 * v:.0f}" for v in (limits[0], 0, limits[1])], fontsize=9
        )
        bar.set_title(f"{text} [ppb]", color="white", fontsize=9, pad=4)
        bar.tick_params(colors="white", length=2)
        for spine in bar.spines.values():
            spine.set_color("#888888")


def table(sheets: dict[str, list[str]], found: dict[str, Any]) -> str:
    """Markdown: a row a method."""
    rows = [
        "| method | starts from | NRMSE [%] | away from the calcification | XSIM | time [FFT pairs] | memory [volumes] |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for names in sheets.values():
        for name in names:
            f, of = found[name], registry.get("inversion", name).of or "local field"
            rows.append(
                f"| `{name}` | {of} | {f['nrmse']:.1f} | {f['away']:.1f} | {f['xsim']:.3f} | {float(f['pairs']):.0f} | {float(f['volumes']):.0f} |"
            )
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, draw, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="run these again")
    parser.add_argument("--voxel", type=float, default=2.0, metavar="MM")
    parser.add_argument(
        "--store", type=Path, default=Path(tempfile.gettempdir()) / "chimap_inversion_gallery"
    )
    parser.add_argument("--draw", action="store_true", help="draw what is in the store, run nothing")
    args = parser.parse_args(argv)
    args.store.mkdir(parents=True, exist_ok=True)
    set_threads(1)
    data = simulate(args.voxel, args.store / "scan.npz")
    mask, methods = data["mask"], registry.methods("inversion")
    for name, method in methods.items():
        path = args.store / f"{name}.npz"
        if args.draw or (name not in args.methods if args.methods else path.exists()):
            continue
        result = run(method, data, args.voxel)
        np.savez(path, **result)
        print(f"{name:20} {result['pairs']:8.1f} pairs {result['volumes']:6.1f} volumes", flush=True)
    away = mask & ~ndimage.binary_dilation(data["chi"] < CALCIFIED_PPM, iterations=4)
    found: dict[str, Any] = {}
    for name in methods:
        path = args.store / f"{name}.npz"
        if not path.exists():
            continue
        with np.load(path) as arrays:
            f = dict(arrays)
        f["chi"] = np.where(mask, f["chi"] - f["chi"][mask].mean(), 0)
        f |= {"nrmse": nrmse(f["chi"], data["chi"], mask), "xsim": xsim(f["chi"], data["chi"], mask)}
        f["away"] = nrmse(f["chi"], data["chi"], away)
        found[name] = f
    sheets = {key: [n for n in names if n in found] for key, names in SHEETS.items()}
    sheets["more"] = [n for n in found if not any(n in names for names in sheets.values())]
    sheets = {key: names for key, names in sheets.items() if names}
    for key, names in sheets.items():
        sheet(DOCS / "img" / f"inversion_{key}.png", names, data, found)
    page = DOCS / "inversion.md"
    text = page.read_text("utf-8")
    begin, end = "<!-- measured: begin -->", "<!-- measured: end -->"
    if begin in text:
        head, rest_of_page = text.split(begin)
        page.write_text(
            f"{head}{begin}\n\n{table(sheets, found)}\n\n{end}{rest_of_page.split(end)[1]}", "utf-8"
        )
    print(table(sheets, found))


if __name__ == "__main__":
    main()
