"""What several head orientations gain over one: a table over their number, on a simulated head with its truth.

    python -m benchmarks.orientations [--voxel 2.0] [--count 5] [--within 25] [--snr 40] [--seed 3] [--start field] [--known-motion]

A head is scanned in `count` positions (3 T, eight echoes from 5 to 40 ms), each scan with its own noise, receiver and shim. The table starts from

    field   the true local field with the noise that the echoes' phase leaves at best (two unknowns a voxel, all echoes weighted by signal)
    phase   the field from wrapped phase, less its background, which a simulation knows; without the outermost layer of the brain
    chain   the field from wrapped phase, its background removed by the preset's method, in a mask that chimap makes

Motion is found by registration of the magnitudes, unless --known-motion takes it from the simulation. One orientation is inverted by `tv` and `guided`,
2 to `count` by `chimap.cosmos`, with and without total variation. All maps are scored in the same voxels (those that every scan sees, without the outer
two layers), against the true susceptibility of the first position.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion

import chimap
from chimap.metrics import nrmse, xsim
from chimap.numerics.echoes import root_sum_of_squares
from chimap.orientation.conditioning import conditioning
from chimap.orientation.registration import Image, angle_deg, centre_of, register
from chimap.orientation.resample import b0_in_frame, resample
from chimap.simulate import SimulatedScan, head_phantom
from chimap.simulate.dataset import scanner_affine
from chimap.simulate.orientations import simulate_orientations, standard_positions

TE_S = (0.005, 0.010, 0.015, 0.020, 0.025, 0.030, 0.035, 0.040)


@dataclass
class Given:
    """One orientation on its own grid: what is needed of a scan once its field is known."""

    field: np.ndarray
    noise: np.ndarray
    mask: np.ndarray
    magnitude: np.ndarray
    motion: np.ndarray


def given(scan: SimulatedScan, acq: chimap.Acquisition, start: str, seed: int) -> tuple[Given, np.ndarray]:
    """Field, noise and mask of a scan, and its R2*."""
    magnitude = root_sum_of_squares(scan.magnitude)
    motion = np.asarray(scan.parameters["head_motion"])
    mask = chimap.brain_mask(scan.magnitude, acq, phase=scan.phase) if start == "chain" else scan.mask
    if start == "field":
        noise = least_noise(scan, acq)
        draw = np.random.default_rng([seed, 7]).standard_normal(mask.shape, dtype=np.float32)
        return Given(
            (scan.local_field_ppm + noise * draw) * mask, noise, mask, magnitude, motion
        ), scan.r2star * mask
    total = chimap.estimate_field(scan.phase, mask, acq, magnitude=scan.magnitude)
    r2star = chimap.map_r2star(scan.magnitude, mask, acq, field=total.field_ppm).r2star
    if start == "chain":
        local = chimap.remove_background(
            total.field_ppm, mask, acq, noise=total.noise_ppm, magnitude=magnitude
        )
        field, noise, mask = local.field_ppm, local.noise_ppm, local.mask
    else:
        field = (total.field_ppm - (scan.total_field_ppm - scan.local_field_ppm)) * mask
        # In the outer layer the background varies within a voxel, so that its mean is not what the phase holds: such data do not count.
        noise = np.where(binary_erosion(mask), total.noise_ppm, np.float32(0))
    assert noise is not None
    return Given(field, noise, mask, magnitude, motion), r2star


def least_noise(scan: SimulatedScan, acq: chimap.Acquisition) -> np.ndarray:
    """Standard deviation in ppm of the best line through the echoes' phase, from the first magnitude, R2* and the noise."""
    sd = float(scan.parameters["noise_sd"])  # type: ignore[arg-type]
    te = np.asarray(acq.te_s)
    first = np.maximum(scan.magnitude[..., 0], sd)
    weights = [(first * np.exp(-(t - te[0]) * scan.r2star) / sd) ** 2 for t in te]
    total = sum(weights)
    middle = sum(w * t for w, t in zip(weights, te)) / total
    power = sum(w * (t - middle) ** 2 for w, t in zip(weights, te))
    return (1 / (np.sqrt(power) * acq.rad_per_ppm(1.0))).astype(np.float32) * scan.mask


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--voxel", type=float, default=2.0)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--within", type=float, default=25.0)
    parser.add_argument("--snr", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--start", choices=["field", "phase", "chain"], default="field")
    parser.add_argument("--known-motion", action="store_true")
    args = parser.parse_args(argv)
    acq = chimap.Acquisition(TE_S, 3.0, voxel_size_mm=(args.voxel,) * 3)
    phantom = head_phantom((args.voxel / 1.5,) * 3, seed=args.seed)
    positions = standard_positions(args.count, args.within, seed=args.seed)
    scans = simulate_orientations(phantom, acq, positions, snr=args.snr, seed=args.seed)
    compare(scans, acq, args.start, args.known_motion)


def compare(scans: Iterable[SimulatedScan], acq: chimap.Acquisition, start: str, known_motion: bool) -> None:
    """Print the table of the registrations and that of the maps."""
    found, truth = [], None
    for n, scan in enumerate(scans):
        one, rate = given(scan, acq, start, n)
        if truth is None:
            truth, r2star, inside = scan.chi_ppm, rate, scan.mask
        found.append(one)
    assert truth is not None
    count = len(found)
    affine = scanner_affine(acq, truth.shape)
    images = [Image(g.magnitude, g.mask, affine) for g in found]
    fields, noises, masks, acqs = [found[0].field], [found[0].noise], [found[0].mask], [acq]
    if not known_motion:
        print("| scan | true rotation | error of rotation | error of shift | there and back |")
        print("|---|---|---|---|---|")
    for n, g in enumerate(found[1:], 1):
        motion = g.motion if known_motion else registered(images[0], images[n], n + 1, g.motion)
        field, mask = resample(g.field, g.mask, affine, affine, truth.shape, motion)
        fields.append(field)
        masks.append(mask)
        noises.append(resample(g.noise, g.mask, affine, affine, truth.shape, motion, order=1)[0])
        acqs.append(acq.with_(b0_dir=b0_in_frame(acq.b0_dir, affine, affine, motion)))
    where = binary_erosion(np.logical_and.reduce([*masks, inside]), iterations=2)

    print("\n| orientations | condition number | map | NRMSE | XSIM | seconds |\n|---|---|---|---|---|---|")

    def row(used: int, name: str, call) -> float:  # type: ignore[no-untyped-def]
        start = time.perf_counter()
        chi = call()
        took = time.perf_counter() - start
        chi = np.where(where, chi - chi[where].mean() + truth[where].mean(), 0)
        error, similar = nrmse(chi, truth, where), xsim(chi, np.where(where, truth, 0), where)
        number = conditioning([a.b0_dir for a in acqs[:used]]).number
        shown = f"{number:.1f}" if np.isfinite(number) else "infinite"
        print(f"| {used} | {shown} | {name} | {error:.1f} % | {similar:.3f} | {took:.0f} |", flush=True)
        return error

    single = []
    for method in ("tv", "guided"):
        single.append(
            row(
                1,
                method,
                lambda m=method: chimap.invert(
                    fields[0],
                    masks[0],
                    acq,
                    noise=noises[0],
                    magnitude=found[0].magnitude,
                    r2star=r2star,
                    method=m,
                ),
            )
        )
    last = np.inf
    for n in range(2, count + 1):
        for kind in ("none", "tv"):
            last = row(
                n,
                f"cosmos, {kind}",
                lambda n=n, kind=kind: (
                    chimap.cosmos(
                        fields[:n], masks[:n], acqs[:n], noise=noises[:n], regularisation=kind
                    ).chi_ppm
                ),
            )
    print(f"\nNRMSE of {count} orientations against the best of one: {100 * (last / min(single) - 1):.0f} %")


def registered(first: Image, other: Image, number: int, truth: np.ndarray) -> np.ndarray:
    """The motion that registration finds, and a line of its errors."""
    found = register(first, other)
    miss = np.linalg.inv(truth) @ found.matrix
    centre = centre_of(first)
    off = float(np.linalg.norm((miss @ (*centre, 1))[:3] - centre))
    print(
        f"| {number} | {angle_deg(truth):.2f} deg | {angle_deg(miss):.3f} deg | {off:.3f} mm | {found.inverse_mm:.3f} mm |",
        flush=True,
    )
    return found.matrix


if __name__ == "__main__":
    main()
