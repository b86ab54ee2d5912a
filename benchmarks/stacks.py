"""Three orthogonal thick-slice stacks joined, against a true isotropic scan of the same time and against single stacks.

    python -m benchmarks.stacks [--voxel 1.6] [--fine 0.8] [--b0 3] [--snr 40] [--regularisation 0.3] [--pictures DIR]

The procedural head lies a little differently in each stack (up to 2 mm and 3 degrees), its field computed for each angle to B0 on the
fine grid; each scan has its own coil phase. Stacks have voxels three times as long as wide. Noise per k-space sample is the same in all
scans: the three stacks together take as long as the isotropic scan, whose SNR in the first echo is `--snr`. All maps are made by the
default preset with the same mask; errors are against the true susceptibility where all maps are valid, two voxels below the surface. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

import chimap
from chimap.acquisition import Acquisition
from chimap.metrics import hfen, nrmse, nrmse_detrended, xsim
from chimap.simulate import head_phantom, simulate_scan
from chimap.simulate.resample import crop_kspace
from chimap.stacks._model import model
from chimap.stacks.join import Joined, join_stacks
from chimap.stacks.scan import Grid, Motion, Stack

MOTIONS = (
    Motion(),
    Motion((1.5, -1.0, 0.8), (2.0, -1.5, 2.5)),
    Motion((-1.2, 0.6, 1.7), (-1.0, 3.0, 1.0)),
)
RIM = 2
"""Voxels below the surface from which on maps are compared."""
TE_S = {3.0: (0.005, 0.013, 0.021), 7.0: (0.004, 0.010, 0.016)}


def centred(shape: tuple[int, ...], voxel_mm: tuple[float, ...]) -> np.ndarray:
    """Affine of a grid whose middle is the isocentre."""
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def moved_scan(phantom: Any, acq: Acquisition, motion: Motion) -> tuple[Any, np.ndarray]:
    """Fine complex echoes of the head lying as `motion` says, its field that of its angle to B0; and the scan unmoved."""
    turn = Rotation.from_rotvec(np.deg2rad(motion.turn_deg)).as_matrix()
    b0 = turn.T @ np.asarray(acq.b0_dir)
    s = simulate_scan(phantom, acq.with_(b0_dir=tuple(b0)), snr=None, receive_phase=False)
    out = (s.magnitude * np.exp(1j * s.phase)).astype(np.complex64)
    if any(motion.shift_mm) or any(motion.turn_deg):
        affine = centred(out.shape[:3], acq.voxel_size_mm)
        back = np.linalg.inv(affine) @ np.linalg.inv(motion.matrix) @ affine
        for e in range(out.shape[3]):
            for part in (out[..., e].real, out[..., e].imag):
                part[...] = ndimage.affine_transform(part.copy(), back[:3, :3], back[:3, 3], order=3)
    return s, out


def measure(
    echoes: np.ndarray, shape: tuple[int, ...], voxel: tuple[float, ...], sigma: float, seed: int
) -> Stack:
    """What a scan of this many voxels sees, with a coil phase of its own."""
    rng = np.random.default_rng([seed, 41])
    x, y, z = (
        np.linspace(-1, 1, n).reshape([-1 if b == a else 1 for b in range(3)]) for a, n in enumerate(shape)
    )
    c = rng.normal(0, 1, 6)
    coil = np.exp(1j * (2 * c[0] + c[1] * x + c[2] * y + c[3] * z + 0.6 * (c[4] * x * y + c[5] * z * z)))
    images = []
    for e in range(echoes.shape[3]):
        image = crop_kspace(echoes[..., e].copy(), shape) * coil
        image += sigma * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
        images.append(image.astype(np.complex64))
    all_ = np.stack(images)
    phase, magnitude = np.angle(all_).astype(np.float32), np.abs(all_).astype(np.float32)
    return Stack(np.moveaxis(phase, 0, -1), np.moveaxis(magnitude, 0, -1), centred(shape, voxel))


def susceptibility(phase: np.ndarray, magnitude: np.ndarray, mask: np.ndarray, acq: Acquisition) -> Any:
    """The default preset's map."""
    return chimap.reconstruct(phase, mask, acq, magnitude=magnitude, phase_sign="+")


def on_grid(stack: Stack, grid: Grid, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """A single stack interpolated onto the isotropic grid, by its true motion: phase and magnitude."""
    m = model(stack.shape, stack.affine, stack.profile, grid, motion)
    out = np.stack([m.lift(stack.echo(e)) for e in range(stack.phase.shape[3])], -1)
    return np.angle(out).astype(np.float32), np.abs(out).astype(np.float32)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Simulate, join, reconstruct, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voxel", type=float, default=1.6, help="isotropic voxel in mm")
    parser.add_argument("--fine", type=float, default=0.8, help="voxel of the head in mm")
    parser.add_argument("--b0", type=float, default=3.0, choices=sorted(TE_S))
    parser.add_argument("--snr", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1, help="the person")
    parser.add_argument("--regularisation", type=float, nargs="+", default=[0.3])
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args(argv)
    te, v = TE_S[args.b0], args.voxel
    phantom = head_phantom((args.fine,) * 3, b0_t=args.b0, seed=args.seed)
    fine = Acquisition(te, args.b0, voxel_size_mm=(args.fine,) * 3)
    truth = simulate_scan(phantom, fine.with_(voxel_size_mm=(v,) * 3), snr=None, receive_phase=False)
    acq, mask, shape = truth.acq, truth.mask, truth.mask.shape
    if any(n % 3 for n in shape):
        raise SystemExit(f"the grid {shape} cannot be cut into voxels three times as long")
    stacks = []
    for n, motion in enumerate(MOTIONS):
        s, echoes = moved_scan(phantom, fine, motion)
        if n == 0:
            sigma = float(np.abs(echoes[..., 0])[s.mask].mean()) / args.snr
            iso = measure(echoes, shape, (v,) * 3, sigma, 9)
        axis = 2 - n
        size = tuple(3 * v if a == axis else v for a in range(3))
        cut = tuple(k // 3 if a == axis else k for a, k in enumerate(shape))
        stacks.append(measure(echoes, cut, size, sigma / np.sqrt(3), n))
        del s, echoes
    grid = Grid(shape, centred(shape, (v,) * 3))
    maps: dict[str, Any] = {"isotropic": susceptibility(iso.phase, iso.magnitude, mask, acq)}
    for n, (stack, motion) in enumerate(zip(stacks, MOTIONS)):
        maps[f"stack {n + 1}"] = susceptibility(*on_grid(stack, grid, motion), mask, acq)
    seconds, joined = {}, {}
    for reg in args.regularisation:
        begin = time.perf_counter()
        j = join_stacks(stacks, acq, regularisation=reg)
        seconds[reg], joined[reg] = time.perf_counter() - begin, j
        maps[f"joined {reg:g}"] = susceptibility(j.phase, j.magnitude, mask, acq)
    # The rim, where background removal errs in all maps alike, would hide what the stacks differ in.
    valid = ndimage.binary_erosion(np.logical_and.reduce([m.mask for m in maps.values()]), iterations=RIM)
    result: dict[str, Any] = {
        "voxel_mm": v,
        "fine_mm": args.fine,
        "b0_t": args.b0,
        "shape": shape,
        "maps": {},
    }
    for name, m in maps.items():
        result["maps"][name] = {
            f.__name__: round(float(f(m.chi_ppm, truth.chi_ppm, valid)), 4)
            for f in (nrmse, nrmse_detrended, hfen, xsim)
        }
    result["seconds"] = seconds
    result["motion"] = motion_errors(next(iter(joined.values())), v)
    print(json.dumps(result, indent=2))
    single = min(e["nrmse"] for name, e in result["maps"].items() if name.startswith("stack"))
    for reg in args.regularisation:
        e = result["maps"][f"joined {reg:g}"]["nrmse"]
        print(
            f"joined {reg:g}: NRMSE {e:.1f} %, {e / result['maps']['isotropic']['nrmse']:.3f} x isotropic, "
            f"{e / single:.3f} x best single stack"
        )
    if args.pictures:
        picture(args.pictures, {"truth": truth.chi_ppm, **{k: m.chi_ppm for k, m in maps.items()}}, valid)
        np.savez_compressed(args.pictures / "joined.npz", magnitude=j.magnitude, phase=j.phase)
    return result


def motion_errors(joined: Joined, voxel_mm: float) -> list[float]:
    """Largest error of the estimated motion 60 mm from the centre, in voxels, for each stack."""
    points = np.concatenate([60 * np.eye(3), -60 * np.eye(3)])
    out = []
    for found, true in zip(joined.motion, MOTIONS):
        a, b = (points @ m.matrix[:3, :3].T + m.matrix[:3, 3] for m in (found, true))
        out.append(round(float(np.linalg.norm(a - b, axis=1).max()) / voxel_mm, 3))
    return out


def picture(folder: Path, maps: dict[str, np.ndarray], mask: np.ndarray) -> None:
    """The maps side by side, in three planes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    at = [round(c) for c in ndimage.center_of_mass(mask)]
    figure, rows = plt.subplots(3, len(maps), figsize=(3 * len(maps), 10))
    for column, (name, chi) in enumerate(maps.items()):
        for axis in range(3):
            plane = np.take(np.where(mask, chi, 0), at[axis], axis).T
            rows[axis][column].imshow(plane, cmap="gray", vmin=-0.1, vmax=0.15, origin="lower")
            rows[axis][column].axis("off")
        rows[0][column].set_title(name)
    figure.tight_layout()
    figure.savefig(folder / "stacks.png", dpi=70)


if __name__ == "__main__":
    main()
