"""What a scan of a random object gives: local field with noise, errors and their map, and the images that guide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_erosion

from chimap.acquisition import Acquisition
from chimap.learning.synthetic.fields import random_field
from chimap.learning.synthetic.sampling import FACTORS, at_points, averaged, chosen, cut, nearest
from chimap.learning.synthetic.scene import Scene, random_scene
from chimap.numerics.dipole import forward_field
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class LocalSample:
    """Everything that an inversion of the local field may use, and the truth.

    Attributes
    ----------
    chi_ppm : (x, y, z) float32
        The truth; 0 outside `mask`.
    field_ppm : (x, y, z) float32
        Local field with noise and what background removal left over.
    noise_ppm : (x, y, z) float32 or None
        Its standard deviation as a scan would state it, if it does.
    magnitude, r2star : (x, y, z) float32 or None
    mask : (x, y, z) bool
    acq : Acquisition
    """

    chi_ppm: Volume
    field_ppm: Volume
    noise_ppm: Volume | None
    magnitude: Volume | None
    r2star: Volume | None
    mask: Mask
    acq: Acquisition


def random_acquisition(rng: np.random.Generator, anisotropy: float = 0.3) -> Acquisition:
    """Voxels of 0.5 to 2 mm, a share of them `anisotropy` not isotropic, any B0 direction, 1.5 to 9.4 T, three to six echoes."""
    voxel = np.full(3, np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
    if rng.random() < anisotropy:
        voxel[rng.integers(3)] *= rng.uniform(1.2, 3.0)
    voxel = np.clip(voxel, 0.4, 3.0)
    b0 = np.array([0.0, 0.0, 1.0])
    if rng.random() > 0.3:
        b0 = rng.standard_normal(3)
        b0 /= np.linalg.norm(b0)
    b0_t = float(rng.choice([1.5, 3.0, 3.0, 7.0, 7.0, 9.4]))
    first, spacing = rng.uniform(0.002, 0.006), rng.uniform(0.003, 0.008)
    te = tuple(float(first + i * spacing * 3 / max(b0_t, 3)) for i in range(int(rng.integers(3, 7))))
    return Acquisition(te, b0_t, b0_dir=tuple(b0), voxel_size_mm=tuple(voxel))


def local_sample(
    rng: np.random.Generator,
    shape: Sequence[int],
    fine: float = 0.35,
    acq: Acquisition | None = None,
    sampling: Mapping[str, float] | None = None,
) -> LocalSample:
    """One random object as a scan sees it.

    Parameters
    ----------
    rng : Generator
    shape : 3 int
        Grid of the scan.
    fine : float
        Share of samples whose field is made on a grid twice as fine and averaged over the voxel.
    acq : Acquisition, optional
        Default: one of `random_acquisition`.
    sampling : dict of float, optional
        Instead of `fine`: shares of the ways in `chimap.learning.synthetic.sampling`.
    """
    acq = acq or random_acquisition(rng)
    way = chosen(rng, sampling or {"mean": fine, "voxel": 1 - fine})
    factor = FACTORS[way]
    x, y, z = (v / factor for v in acq.voxel_size_mm)
    voxel = (x, y, z)
    scene = random_scene(rng, [round(n * factor) for n in shape], voxel, round(2 * factor))
    if rng.random() < 0.3:
        # The same object with weaker or stronger susceptibility.
        scene = replace(
            scene, chi_ppm=scene.chi_ppm * np.float32(np.exp(rng.uniform(np.log(0.25), np.log(4))))
        )
    rates = scene.r2star * np.float32(acq.b0_t / 3)
    fine_acq = replace(acq, voxel_size_mm=voxel)
    if way in ("points", "scanner"):
        offset = rng.uniform(0, factor - 1, 3).tolist()
        field, chi, mask, m0, r2star = _sampled(scene, fine_acq, rates, shape, offset, way == "scanner")
    else:
        field, chi, mask, m0, r2star = _voxels(scene, fine_acq, rates, int(factor))
    if rng.random() < 0.35:
        field = field + _left_over(rng, acq, mask)
    te = float(np.mean(acq.te_s))
    signal = m0 * np.exp(-te * r2star)
    base = float(np.exp(rng.uniform(np.log(0.0001), np.log(0.006))))
    typical = float(np.median(signal[mask]))
    noise = np.where(mask, base * typical / np.maximum(signal, 0.03 * typical), 0).astype(np.float32)
    field = field + noise * rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.3:
        field = with_garbage(rng, field, mask)
    if rng.random() < 0.25:
        mask = mask_with_errors(rng, mask)
    stated = noise if rng.random() < 0.6 else None
    guides = rng.random()
    magnitude = r2_map = None
    if guides < 0.8:
        magnitude = signal * (1 + np.float32(0.01) * rng.standard_normal(shape, dtype=np.float32))
        magnitude *= 1 + np.float32(rng.uniform(0, 0.3)) * random_field(rng, shape, acq.voxel_size_mm, 40.0)
    if guides < 0.6:
        r2_map = r2star + np.float32(rng.uniform(0, 2)) * rng.standard_normal(shape, dtype=np.float32)
    inside = mask.astype(np.float32)
    return LocalSample(
        chi * inside,
        (field * inside).astype(np.float32),
        None if stated is None else stated * inside,
        None if magnitude is None else (np.maximum(magnitude, 0) * inside).astype(np.float32),
        None if r2_map is None else (np.maximum(r2_map, 0) * inside).astype(np.float32),
        mask,
        acq,
    )


def _voxels(scene: Scene, acq: Acquisition, rates: np.ndarray, factor: int) -> tuple[np.ndarray, ...]:
    """Field, susceptibility, mask, density and R2* of the voxels; the field as the phase of their mean signal sees it."""
    field = forward_field(scene.chi_ppm, acq, pad=1.5)
    if factor == 1:
        return field, scene.chi_ppm, scene.mask, scene.m0, rates
    share = averaged(scene.mask.astype(np.float32), factor)
    mask = share > 0.5
    per = np.maximum(share, np.float32(0.5))
    weight = scene.m0 * np.exp(-np.float32(np.mean(acq.te_s)) * rates)
    total = np.maximum(averaged(weight, factor), np.float32(1e-4))
    seen = averaged(weight * field, factor) / total
    m0, r2star = averaged(scene.m0, factor) / per, averaged(rates, factor) / per
    return seen, averaged(scene.chi_ppm, factor), mask, m0, r2star


def _sampled(
    scene: Scene,
    acq: Acquisition,
    rates: np.ndarray,
    shape: Sequence[int],
    offset: Sequence[float],
    scanner: bool,
) -> tuple[np.ndarray, ...]:
    """As `_voxels` at the voxels' centres; with `scanner` the field is that of the signal whose k-space is cut."""
    field = forward_field(scene.chi_ppm, acq, pad=1.35)
    weight = scene.m0 * np.exp(-np.float32(np.mean(acq.te_s)) * rates)
    signal = cut(weight, shape, offset)
    mask = nearest(scene.mask, shape, offset)
    if scanner:
        least = np.float32(0.2) * np.median(signal[mask])
        seen = cut(weight * field, shape, offset) / np.maximum(signal, least)
    else:
        seen = at_points(field, shape, offset)
    chi = at_points(scene.chi_ppm, shape, offset)
    r2star = np.clip(cut(rates, shape, offset), 0.5, None)
    # The density that gives the signal that was cut.
    m0 = np.maximum(signal, np.float32(1e-4)) * np.exp(np.float32(np.mean(acq.te_s)) * r2star)
    return seen, chi, mask, m0, r2star


def _left_over(rng: np.random.Generator, acq: Acquisition, mask: np.ndarray) -> np.ndarray:
    """Field of sources outside the mask, as background removal leaves it: strongest near the surface."""
    sources = random_field(rng, mask.shape, acq.voxel_size_mm, rng.uniform(2, 12))
    sources[mask] = 0
    field = forward_field(sources, acq, pad=1.25)
    rms = float(np.sqrt(np.mean(field[mask] ** 2))) if mask.any() else 1.0
    return field * np.float32(np.exp(rng.uniform(np.log(0.0005), np.log(0.008))) / max(rms, 1e-9))


def with_garbage(rng: np.random.Generator, field: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A few small places with no usable phase."""
    where = np.flatnonzero(mask)
    out = field.copy()
    for at in rng.choice(where, size=min(int(rng.integers(1, 12)), where.size)):
        centre = np.unravel_index(at, mask.shape)
        half = int(rng.integers(0, 3))
        part = tuple(slice(max(c - half, 0), c + half + 1) for c in centre)
        out[part] += np.float32(rng.uniform(0.05, 0.4)) * rng.standard_normal(
            out[part].shape, dtype=np.float32
        )
    return out


def mask_with_errors(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """The mask eroded, or with holes."""
    if rng.random() < 0.5:
        return binary_erosion(mask, iterations=int(rng.integers(1, 3)))
    out = mask.copy()
    where = np.flatnonzero(mask)
    for at in rng.choice(where, size=min(int(rng.integers(1, 8)), where.size)):
        centre = np.unravel_index(at, mask.shape)
        half = rng.integers(0, 3, 3)
        out[tuple(slice(max(c - h, 0), c + h + 1) for c, h in zip(centre, half, strict=True))] = False
    return out
