"""What a multi-echo scan of a random object gives: wrapped phase with a strong background, and magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, binary_opening, gaussian_filter, label

from chimap.acquisition import Acquisition
from chimap.learning.synthetic.fields import blob, grid, random_field
from chimap.learning.synthetic.measure import random_acquisition
from chimap.learning.synthetic.scene import random_scene
from chimap.numerics.dipole import forward_field
from chimap.simulate.tissue import AIR_PPM
from chimap.types import Mask, Volume

BEYOND = 12
"""Voxels on each side of the grid where sources of the background may lie."""


@dataclass(frozen=True)
class EchoSample:
    """A scan, and the truth.

    Attributes
    ----------
    chi_ppm : (x, y, z) float32
        The truth; 0 outside `mask`.
    total_ppm : (x, y, z) float32
        Field of all sources, shimmed, without noise.
    phase, magnitude : (x, y, z, echo) float32
        Wrapped, in rad; 1 for water at TE 0.
    true_phase : (x, y, z, echo) float32
        In rad, neither wrapped nor noisy.
    r2star : (x, y, z) float32
    mask : (x, y, z) bool
    acq : Acquisition
    """

    chi_ppm: Volume
    total_ppm: Volume
    phase: Volume
    magnitude: Volume
    true_phase: Volume
    r2star: Volume
    mask: Mask
    acq: Acquisition


def echo_sample(
    rng: np.random.Generator,
    shape: Sequence[int],
    *,
    snr: tuple[float, float] = (5.0, 150.0),
    least_voxel_mm: float = 0.0,
    careful: bool = False,
    soft: float = 1.0,
) -> EchoSample:
    """One random object in a scanner: cavities, sources outside, a shim, a phase offset, dephasing and noise.

    Parameters
    ----------
    rng : Generator
    shape : 3 int
        Grid of the scan.
    snr : pair
        Signal-to-noise ratio of typical voxels at TE 0, lowest and highest.
    least_voxel_mm : float
        Shorter edges of a voxel are made as long as this.
    careful : bool
        A scan ready for inversion: the mask leaves out what has hardly any signal, and the background is weaker.
    soft : float
        Blur in voxels of the sources outside. Sharp ones make the discrete dipole field ring, which no scan does.
    """
    acq = random_acquisition(rng)
    x, y, z = (max(v, least_voxel_mm) for v in acq.voxel_size_mm)
    acq = replace(acq, voxel_size_mm=(x, y, z))
    voxel = acq.voxel_size_mm
    scene = random_scene(rng, shape, voxel)
    outside, cavities = _background_sources(rng, scene.mask, voxel)
    mask = scene.mask & ~cavities
    if np.count_nonzero(mask) < 0.3 * np.count_nonzero(scene.mask):
        mask, cavities = scene.mask, np.zeros_like(mask)
    chi = np.where(mask, scene.chi_ppm, np.float32(0))
    edges = tuple(slice(BEYOND, BEYOND + n) for n in shape)
    outside[edges][mask] = 0
    background = forward_field(gaussian_filter(outside, soft), acq, pad=1.25)[edges]
    if rng.random() < 0.3:
        # The surface of a head in air.
        tissue = binary_dilation(mask, iterations=int(rng.integers(1, 6)))
        background -= forward_field(AIR_PPM * gaussian_filter(tissue.astype(np.float32), soft), acq, pad=1.25)
    low, high = (0.05, 0.7) if careful else (0.3, 1.5)
    background *= np.float32(np.exp(rng.uniform(np.log(low), np.log(high))))
    background = _shimmed(rng, background, mask, voxel)
    total = forward_field(chi, acq, pad=1.5) + background

    offset = np.float32(rng.uniform(-np.pi, np.pi)) + np.float32(rng.uniform(0, 1.5)) * random_field(
        rng, shape, voxel, rng.uniform(30, 90)
    )
    bias = np.exp(np.float32(rng.uniform(0, 0.3)) * random_field(rng, shape, voxel, 40.0))
    rates = scene.r2star * np.float32(acq.b0_t / 3)
    density = np.where(mask, scene.m0 * bias, np.float32(0))
    level = float(np.median(density[mask]))
    sigma = np.float32(level / np.exp(rng.uniform(*np.log(snr))))
    steps = [np.gradient(total, axis=a) if total.shape[a] > 1 else np.zeros_like(total) for a in range(3)]
    phase, magnitude, true = (np.empty((*shape, acq.echoes), np.float32) for _ in range(3))
    for e, te in enumerate(acq.te_s):
        scale = np.float32(acq.rad_per_ppm(te))
        true[..., e] = offset + scale * total
        signal = density * np.exp(-np.float32(te) * rates)
        for g in steps:
            # Spins of a voxel across which the phase changes by 2 pi cancel.
            signal = signal * np.abs(np.sinc(scale * g / np.float32(2 * np.pi)))
        noise = rng.standard_normal((2, *shape), dtype=np.float32) * sigma
        measured = signal * np.exp(1j * true[..., e]) + noise[0] + 1j * noise[1]
        phase[..., e], magnitude[..., e] = np.angle(measured), np.abs(measured)
    drawn = _with_signal(rng, mask, magnitude, level) if careful else _drawn(rng, mask)
    return EchoSample(chi, total, phase, magnitude, true, np.where(mask, rates, np.float32(0)), drawn, acq)


def _with_signal(rng: np.random.Generator, mask: Mask, magnitude: Volume, level: float) -> Mask:
    """The part of the mask with signal in the first and last echo, in one piece, eroded at times."""
    good = mask & (magnitude[..., 0] > 0.2 * level) & (magnitude[..., -1] > 0.05 * level)
    good = binary_opening(good, iterations=1)
    if rng.random() < 0.5:
        good = binary_erosion(good)
    labels, count = label(good)
    if count == 0:
        return mask
    return np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())


def _background_sources(rng: np.random.Generator, mask: Mask, voxel: Sequence[float]) -> tuple[Volume, Mask]:
    """Susceptibility in ppm on the grid enlarged by `BEYOND`, and what of it are cavities in the object."""
    shape = [n + 2 * BEYOND for n in mask.shape]
    p = grid(shape, voxel)
    size = np.asarray(shape) * voxel
    out = np.zeros(shape, np.float32)
    cavities = np.zeros(mask.shape, bool)
    edges = tuple(slice(BEYOND, BEYOND + n) for n in mask.shape)
    for _ in range(1 + rng.poisson(4)):
        axes = np.exp(rng.uniform(np.log(0.03), np.log(0.2))) * size.min() * rng.uniform(0.6, 1.6, 3)
        inside = blob(rng, p, list(rng.uniform(-0.5, 0.5, 3) * size), list(axes)) < 0
        out[inside] = AIR_PPM if rng.random() < 0.7 else rng.uniform(-4, 4)
        if rng.random() < 0.35:
            cavities |= inside[edges]
    return out, cavities


def _shimmed(rng: np.random.Generator, field: Volume, mask: Mask, voxel: Sequence[float]) -> Volume:
    """The field less most of the constant, linear and, at times, quadratic part that fits it best in the mask."""
    p = [np.broadcast_to(a, field.shape) / np.float32(20) for a in grid(field.shape, voxel)]
    terms: list[np.ndarray] = [np.ones_like(field), *p]
    if rng.random() < 0.5:
        terms += [
            p[0] * p[1],
            p[0] * p[2],
            p[1] * p[2],
            p[0] ** 2 - p[1] ** 2,
            2 * p[2] ** 2 - p[0] ** 2 - p[1] ** 2,
        ]
    matrix = np.stack([t[mask] for t in terms], axis=1)
    some = slice(None, None, max(1, matrix.shape[0] // 5000))
    found, *_ = np.linalg.lstsq(matrix[some], field[mask][some], rcond=None)
    out = field.copy()
    for term, value in zip(terms, found, strict=True):
        out -= np.float32(value * rng.uniform(0.8, 1.1)) * term
    return out


def _drawn(rng: np.random.Generator, mask: Mask) -> Mask:
    """The mask as somebody would draw it: exact, eroded, or with noise beyond the object and in its cavities."""
    choice = rng.random()
    if choice < 0.5:
        return mask
    if choice < 0.6:
        smaller = binary_erosion(mask)
        return smaller if smaller.sum() > 500 else mask
    return binary_dilation(mask, iterations=int(rng.integers(1, 4)))
