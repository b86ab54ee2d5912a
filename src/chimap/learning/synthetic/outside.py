"""Total fields: a random object within surroundings of skull, air cavities, veins and a body, shimmed, with noise and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from chimap.acquisition import Acquisition
from chimap.learning.synthetic.fields import blob, grid, random_field, tube
from chimap.learning.synthetic.measure import mask_with_errors, random_acquisition, with_garbage
from chimap.learning.synthetic.sampling import averaged
from chimap.learning.synthetic.scene import random_scene
from chimap.numerics.dipole import dipole_kernel, forward_field
from chimap.numerics.fft import convolve, frequencies, next_fast_shape
from chimap.numerics.harmonic import solid_harmonics
from chimap.simulate.tissue import AIR_PPM
from chimap.types import Mask, Volume

SOFT = 0.8
"""Standard deviation in voxels by which the sources outside are blurred."""


@dataclass(frozen=True)
class TotalSample:
    """What background removal is given, and the truth.

    Attributes
    ----------
    local_ppm : (x, y, z) float32
        The truth: field of the sources inside `mask`, without noise; 0 outside.
    background_ppm : (x, y, z) float32
        Field of everything else.
    total_ppm : (x, y, z) float32
        Total field with noise and voxels that are lost.
    noise_ppm : (x, y, z) float32 or None
        Its standard deviation as a scan would state it, if it does.
    magnitude : (x, y, z) float32 or None
    mask : (x, y, z) bool
    acq : Acquisition
    """

    local_ppm: Volume
    background_ppm: Volume
    total_ppm: Volume
    noise_ppm: Volume | None
    magnitude: Volume | None
    mask: Mask
    acq: Acquisition


def total_sample(rng: np.random.Generator, shape: Sequence[int], fine: float = 0.15) -> TotalSample:
    """One random object in random surroundings.

    Parameters
    ----------
    rng : Generator
    shape : 3 int
        Grid of the scan.
    fine : float
        Share of samples whose local field is made on a grid twice as fine and averaged over the voxel.
    """
    acq = random_acquisition(rng)
    factor = 2 if rng.random() < fine else 1
    x, y, z = (v / factor for v in acq.voxel_size_mm)
    scene = random_scene(rng, [n * factor for n in shape], (x, y, z), 2 * factor)
    whole = averaged(scene.mask.astype(np.float32), factor) > 0.5
    mask = mask_with_errors(rng, whole) if rng.random() < 0.35 else whole
    kept = mask
    for axis in range(3):
        kept = kept.repeat(factor, axis)
    fine_acq = replace(acq, voxel_size_mm=(x, y, z))
    local = averaged(forward_field(np.where(kept, scene.chi_ppm, 0), fine_acq, pad=1.4), factor)
    # What the mask has left out of the object is a source of background, too.
    missed = averaged(np.where(kept, np.float32(0), scene.chi_ppm), factor)
    background = _background(rng, acq, mask, missed)
    m0, rates = averaged(scene.m0, factor), averaged(scene.r2star, factor) * np.float32(acq.b0_t / 3)
    field = local + background
    te = float(np.mean(acq.te_s))
    signal = np.maximum(m0, np.float32(0.02)) * np.exp(-te * rates)
    signal *= _dephasing(background, acq, te)
    base = float(np.exp(rng.uniform(np.log(0.0004), np.log(0.008))))
    typical = float(np.median(signal[mask]))
    noise = (base * typical / np.maximum(signal, 0.03 * typical)).astype(np.float32)
    field = field + noise * rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.15:
        lost = with_garbage(rng, field, mask)
        noise = np.where(lost != field, np.maximum(noise, np.float32(0.3)), noise)
        field = lost
    stated = noise if rng.random() < 0.6 else None
    magnitude = None
    if rng.random() < 0.6:
        magnitude = signal * (1 + np.float32(0.01) * rng.standard_normal(shape, dtype=np.float32))
        magnitude *= 1 + np.float32(rng.uniform(0, 0.3)) * random_field(rng, shape, acq.voxel_size_mm, 40.0)
    inside = mask.astype(np.float32)
    return TotalSample(
        local * inside,
        background * inside,
        (field * inside).astype(np.float32),
        None if stated is None else stated * inside,
        None if magnitude is None else (np.maximum(magnitude, 0) * inside).astype(np.float32),
        mask,
        acq,
    )


def _background(rng: np.random.Generator, acq: Acquisition, mask: Mask, missed: Volume) -> Volume:
    """Field of everything outside the mask, shimmed, in ppm.

    The grid is larger than the mask's and periodic: its images lie outside the mask as well, so their field is background.
    """
    voxel = acq.voxel_size_mm
    shape = next_fast_shape([n + int(rng.integers(16, 28)) for n in mask.shape])
    corner = [(n - m) // 2 for n, m in zip(shape, mask.shape, strict=True)]
    part = tuple(slice(c, c + m) for c, m in zip(corner, mask.shape, strict=True))
    chi, inside = np.zeros(shape, np.float32), np.zeros(shape, bool)
    chi[part], inside[part] = missed, mask
    depth = distance_transform_edt(~inside, sampling=voxel).astype(np.float32)
    p, size = grid(shape, voxel), np.asarray(shape) * voxel
    outside = ~inside
    # Fluid and meninges next to the mask, bone behind, air beyond.
    chi[outside & (chi == 0)] = np.float32(rng.normal(0, 0.03))
    gap = float(np.exp(rng.uniform(np.log(1.0), np.log(8.0))))
    if rng.random() < 0.7:
        wavy = gap * (1 + np.float32(0.4) * random_field(rng, shape, voxel, rng.uniform(4, 15)))
        bone = (depth > wavy) & (depth < wavy + np.float32(rng.uniform(2, 9)))
        chi[bone] = np.float32(-rng.uniform(0.5, 2.8))
    if rng.random() < 0.8:
        skin = (
            gap
            + rng.uniform(4, 20)
            + rng.uniform(0.5, 4) * random_field(rng, shape, voxel, rng.uniform(8, 30))
        )
        chi[depth > skin] = np.float32(AIR_PPM)
    # Little that is strong touches the mask, but some does.
    clear = depth > np.float32(gap if rng.random() < 0.85 else 0.3)
    for _ in range(rng.poisson(2)):
        _add_near(rng, p, size, depth, chi, clear, AIR_PPM * rng.uniform(0.3, 1), (1.5, 14))
    for _ in range(rng.poisson(2)):
        _add_near(rng, p, size, depth, chi, clear, rng.uniform(-2.5, 1.5), (1, 8))
    for _ in range(rng.poisson(3)):
        at = tube(rng, shape, voxel, float(np.exp(rng.uniform(np.log(0.4), np.log(3.5)))))
        chi[at] = np.float32(rng.uniform(0.05, 0.45))
    if rng.random() < 0.4:
        # The body, to one side.
        axis, side = int(rng.integers(3)), rng.choice([-1, 1])
        far = side * p[axis] > np.float32(rng.uniform(0.38, 0.48) * size[axis])
        body = random_field(rng, shape, voxel, rng.uniform(5, 40))
        chi = np.where(far, np.where(body > rng.uniform(-1, 1), np.float32(AIR_PPM), np.float32(0)), chi)
    chi[inside] = 0
    # As soft as a voxel sees it: edges of air as sharp as the grid ring through the whole mask.
    kernel = dipole_kernel(shape, voxel, acq.b0_dir)
    for axis, f in enumerate(frequencies(shape, (1, 1, 1))):
        kernel *= np.exp(-2 * (np.pi * SOFT * f) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
    field = convolve(chi, kernel)[part]
    return _shimmed(rng, field.astype(np.float32), mask, voxel)


def _add_near(rng, p, size, depth, chi, clear, value, radii):  # type: ignore[no-untyped-def]
    """An ellipsoid somewhere within 20 mm of the mask (or, if there is no such place, anywhere), as far as it is `clear`."""
    low = rng.uniform(1, 20)
    where = np.flatnonzero((depth > low) & (depth < low + 2))
    if where.size:
        at = np.unravel_index(int(rng.choice(where)), depth.shape)
        centre = [float(p[a].ravel()[at[a]]) for a in range(3)]
    else:
        centre = list(rng.uniform(-0.5, 0.5, 3) * size)
    axes = float(np.exp(rng.uniform(*np.log(radii)))) * rng.uniform(0.6, 1.6, 3)
    chi[(blob(rng, p, centre, axes) < 0) & clear] = np.float32(value)


def _shimmed(rng, field, mask, voxel):  # type: ignore[no-untyped-def]
    """The field less its best polynomial of degree 1 to 3 (what a shim does), or not, and another random polynomial on top."""
    at = np.stack(np.broadcast_arrays(*grid(mask.shape, voxel)), -1)[mask]
    basis = solid_harmonics(at / np.abs(at).max(), 3)
    values = field[mask].astype(np.float64)
    degree = int(rng.integers(0, 4))
    own = basis[:, : (degree + 1) ** 2]
    values = values - own @ np.linalg.lstsq(own, values, rcond=None)[0]
    if rng.random() < 0.7:
        strength = np.exp(rng.uniform(np.log(0.02), np.log(1.5))) * (rng.random(basis.shape[1]) < 0.6)
        values = values + basis @ (strength * rng.standard_normal(basis.shape[1]))
    out = np.zeros(mask.shape, np.float32)
    out[mask] = values
    return out


def _dephasing(background: Volume, acq: Acquisition, te: float) -> Volume:
    """Share of the signal that is left where the background turns the phase within a voxel."""
    turn = sum(np.gradient(background, axis=a) ** 2 for a in range(3) if background.shape[a] > 1)
    return np.exp(-turn * np.float32((acq.rad_per_ppm(te) ** 2) / 24)).astype(np.float32)
