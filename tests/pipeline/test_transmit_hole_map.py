"""A map in a hole of the transmit field: where a fifth of the signal is left, it is no worse than elsewhere."""

import numpy as np
from scipy.ndimage import binary_erosion

import chimap
from chimap.simulate import head_phantom, simulate_scan
from chimap.simulate.effects import transmit_hole
from chimap.simulate.lesions import without_lesions

CENTRE_MM = (35.0, 0.0, -15.0)


def test_susceptibility_survives_a_hole_of_the_transmit_field():
    acq = chimap.Acquisition((0.004, 0.010, 0.016), 7.0, voxel_size_mm=(4.0, 4.0, 4.0))
    phantom = without_lesions(head_phantom((2.7, 2.7, 2.7), b0_t=7.0, seed=2))
    scan = simulate_scan(phantom, acq, snr=None, seed=1)
    echoes = (scan.magnitude * np.exp(1j * scan.phase)).astype(np.complex64)
    sd = scan.magnitude[..., 0][scan.mask].mean() / 60
    noise = np.random.default_rng(5).standard_normal((2, *echoes.shape)) * sd
    one = np.ones((*scan.mask.shape, 1), np.complex64)
    left = transmit_hole(one, acq, centre_mm=CENTRE_MM)[..., 0].real
    errors = []
    for z in (echoes, transmit_hole(echoes, acq, centre_mm=CENTRE_MM)):
        seen = (z + noise[0] + 1j * noise[1]).astype(np.complex64)
        found = chimap.reconstruct(
            np.angle(seen), scan.mask, acq, magnitude=np.abs(seen), phase_sign="+", preset="consensus"
        )
        inside = binary_erosion(scan.mask & found.mask)
        hole = inside & (left < 0.5)
        assert hole.sum() > 300 and hole.sum() > 0.95 * (binary_erosion(scan.mask) & (left < 0.5)).sum()
        errors.append(float((found.chi_ppm - scan.chi_ppm)[hole].std()))
    assert errors[1] < 1.15 * errors[0]
