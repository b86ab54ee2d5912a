"""Nuclei of known iron, scanned, reconstructed and read off again."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

import chimap
from chimap.acquisition import Acquisition
from chimap.quantify.iron import CALIBRATIONS, iron_rows
from chimap.quantify.regions import region_rows
from chimap.simulate import simulate_scan
from chimap.simulate.phantom import Phantom

IRON = (30.0, 80.0, 130.0, 180.0, 230.0, 280.0)
LINE = CALIBRATIONS["langkammer2012"]


def _nuclei(n=108, voxel=1.5):
    """A ball of water of a head's size in air, with six balls of ferritin inside, by the calibration's own line."""
    at = voxel * (np.indices((n, n, n), dtype=np.float32) - (n - 1) / 2)
    inside = (at**2).sum(axis=0) < 75**2
    labels = inside.astype(np.uint8)
    chi = np.where(inside, np.float32(0), np.float32(9.4))
    r2star = np.where(inside, np.float32(12), np.float32(20))
    for k, iron in enumerate(IRON):
        angle = np.pi * k / 3
        centre = (28 * np.cos(angle), 28 * np.sin(angle), 8.0 * (-1) ** k)
        ball = sum((a - c) ** 2 for a, c in zip(at, centre)) < 10**2
        labels[ball], chi[ball], r2star[ball] = k + 2, LINE.slope * iron / 1000, 12 + 0.1 * iron
    one = inside.astype(np.float32)
    table = {"air": (0, 9.4), "water": (1, 0.0)} | {f"nucleus {k}": (k + 2, 0.0) for k in range(len(IRON))}
    return Phantom(chi, one, one + ~inside, r2star, labels, table, inside, (voxel,) * 3, 3.0)


def test_slope_of_measured_over_true_iron():
    acq = Acquisition((0.004, 0.009, 0.014, 0.019), 3.0, voxel_size_mm=(2.25, 2.25, 2.25))
    scan = simulate_scan(_nuclei(), acq, snr=100.0, shim_order=1)
    # Zero is the water well inside: at the edge of the mask a reconstruction is at its worst.
    water = (scan.labels == 1) & (ndimage.distance_transform_edt(scan.mask, sampling=2.25) > 16)
    found = chimap.reconstruct(
        scan.phase, scan.mask, acq, magnitude=scan.magnitude, region=water, phase_sign="+"
    )
    rows = region_rows(
        found.chi_ppm, scan.labels, found.mask, acq.voxel_size_mm, dict.fromkeys(range(2, 8), "putamen")
    )
    measured = [r["iron_mg_kg"] for r in iron_rows(rows, LINE) if r["label"] > 1]
    slope, offset = np.polyfit(IRON, measured, 1)
    assert 0.93 < slope < 1.07 and abs(offset) < 10, (slope, offset, measured)
