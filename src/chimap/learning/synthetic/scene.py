"""Random objects: a mask, susceptibility, proton density and R2* inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.learning.synthetic.fields import blob, box, grid, random_field, tube
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Scene:
    """An object on its own (fine) grid.

    Attributes
    ----------
    mask : (x, y, z) bool
    chi_ppm, m0, r2star : (x, y, z) float32
        Susceptibility in ppm, proton density (1: water), R2* in 1/s at 3 T; 0 outside the mask.
    voxel_mm : 3 float
    """

    mask: Mask
    chi_ppm: Volume
    m0: Volume
    r2star: Volume
    voxel_mm: tuple[float, float, float]


def random_scene(
    rng: np.random.Generator, shape: Sequence[int], voxel_mm: Sequence[float], margin: int = 2
) -> Scene:
    """A random object that keeps `margin` voxels away from the edge of the grid."""
    voxel = tuple(float(v) for v in voxel_mm)
    p = grid(shape, voxel)
    depth = _depth(rng, shape, voxel, p, margin)
    mask = depth > 0
    labels = _folded(rng, shape, voxel, depth) if rng.random() < 0.65 else _mixed(rng, shape, voxel)
    classes = int(labels.max()) + 1
    spread = float(rng.choice([0.02, 0.04, 0.08], p=[0.45, 0.4, 0.15]))
    values = rng.normal(0, spread, classes).astype(np.float32)
    textures = (rng.uniform(0, 0.4, classes) * spread).astype(np.float32)
    density = rng.uniform(0.55, 1.0, classes).astype(np.float32)
    rates = rng.uniform(3, 30, classes).astype(np.float32)
    rates += rng.uniform(0, 130) * np.abs(values)

    chi, m0, r2star = values[labels], density[labels], rates[labels]
    size = np.asarray(shape) * voxel
    for _ in range(rng.poisson(7)):
        _add_shape(rng, p, size, voxel, chi, m0, r2star)
    for _ in range(rng.poisson(5)):
        _add_vessel(rng, shape, voxel, chi, m0, r2star)
    if rng.random() < 0.4:
        for _ in range(1 + rng.poisson(1)):
            _add_lesion(rng, p, size, chi, m0, r2star)

    fine = random_field(rng, shape, voxel, rng.uniform(1.0, 2.5))
    coarse = random_field(rng, shape, voxel, rng.uniform(2.5, 8.0))
    mix = np.float32(rng.random())
    texture = mix * fine + (1 - mix) * coarse
    chi = chi + textures[labels] * texture
    if rng.random() < 0.5:
        slow = random_field(rng, shape, voxel, rng.uniform(8, 30))
        chi += np.float32(rng.uniform(0, 0.5) * spread) * slow
    same = np.float32(rng.random())
    other = same * texture + (1 - same) * random_field(rng, shape, voxel, rng.uniform(1, 5))
    r2star = r2star * (1 + np.float32(rng.uniform(0, 0.2)) * other)
    m0 = m0 * (1 + np.float32(rng.uniform(0, 0.08)) * other)
    return Scene(
        mask,
        np.where(mask, chi, np.float32(0)),
        np.where(mask, np.clip(m0, 0.02, 1.2), np.float32(0)),
        np.where(mask, np.clip(r2star, 1, 400), np.float32(0)),
        (voxel[0], voxel[1], voxel[2]),
    )


def _depth(rng, shape, voxel, p, margin):  # type: ignore[no-untyped-def]
    """Distance in mm below the object's surface; negative outside and near the edge of the grid."""
    size = np.asarray(shape) * voxel
    axes = rng.uniform(0.36, 0.56, 3) * size
    depth = -blob(rng, p, rng.uniform(-0.06, 0.06, 3) * size, axes)
    depth = depth + np.float32(rng.uniform(0, 0.08) * size.min()) * random_field(
        rng, shape, voxel, rng.uniform(0.1, 0.4) * float(size.min())
    )
    inner = np.zeros(shape, bool)
    inner[tuple(slice(margin, n - margin) for n in shape)] = True
    return np.where(inner, depth, np.float32(-1))


def _folded(rng, shape, voxel, depth):  # type: ignore[no-untyped-def]
    """Fluid, a folded sheet, its core, and patches of the core: labels 0 to 4 about the object's surface."""
    folds = random_field(rng, shape, voxel, rng.uniform(5, 14))
    u = depth - np.float32(rng.uniform(1, 4)) - np.float32(rng.uniform(2, 6)) * (folds + 1)
    sheet = rng.uniform(1.8, 4.5)
    labels = np.where(u < 0, 0, np.where(u < sheet, 1, 2)).astype(np.uint8)
    patches = random_field(rng, shape, voxel, rng.uniform(5, 20))
    labels[(labels == 2) & (patches > rng.uniform(0.3, 1.5))] = 3
    labels[(labels >= 2) & (patches < rng.uniform(-2.0, -0.8))] = 4
    return labels


def _mixed(rng, shape, voxel):  # type: ignore[no-untyped-def]
    """Two to seven classes by levels of a random field of one or two scales."""
    f = random_field(rng, shape, voxel, rng.uniform(2, 20))
    if rng.random() < 0.5:
        f += np.float32(rng.uniform(0.2, 1)) * random_field(rng, shape, voxel, rng.uniform(2, 8))
    levels = np.sort(rng.normal(0, 0.9, int(rng.integers(1, 7))))
    return np.digitize(f, levels).astype(np.uint8)


def _add_shape(rng, p, size, voxel, chi, m0, r2star):  # type: ignore[no-untyped-def]
    """One nucleus, block or ball, with its value in susceptibility and, mostly, in relaxation and density."""
    axes = rng.uniform(1.0, 9.0) * rng.uniform(0.5, 1.5, 3)
    form = blob if rng.random() < 0.8 else box
    inside = form(rng, p, rng.uniform(-0.4, 0.4, 3) * size, axes) < 0
    value = rng.uniform(-0.08, 0.22) if rng.random() < 0.8 else rng.uniform(-0.4, 0.4)
    if rng.random() < 0.3:
        chi[inside] += np.float32(value)
    else:
        chi[inside] = np.float32(value)
    if rng.random() < 0.85:
        r2star[inside] = np.float32(rng.uniform(5, 25) + rng.uniform(60, 180) * abs(value))
    if rng.random() < 0.6:
        m0[inside] = np.float32(rng.uniform(0.6, 1.0))


def _add_vessel(rng, shape, voxel, chi, m0, r2star):  # type: ignore[no-untyped-def]
    """One vein (or, rarely, a diamagnetic thread)."""
    radius = float(np.exp(rng.uniform(np.log(0.2), np.log(2.5))))
    at = tube(rng, shape, voxel, radius)
    value = rng.uniform(0.08, 0.45) if rng.random() < 0.9 else -rng.uniform(0.05, 0.3)
    chi[at] = np.float32(value)
    r2star[at] = np.float32(rng.uniform(15, 60))
    m0[at] = np.float32(rng.uniform(0.7, 1.0))


def _add_lesion(rng, p, size, chi, m0, r2star):  # type: ignore[no-untyped-def]
    """One haemorrhage (to +2 ppm) or calcification (to -3 ppm)."""
    axes = float(np.exp(rng.uniform(np.log(0.7), np.log(5.0)))) * rng.uniform(0.7, 1.4, 3)
    inside = blob(rng, p, rng.uniform(-0.35, 0.35, 3) * size, axes) < 0
    blood = rng.random() < 0.6
    value = np.exp(rng.uniform(np.log(0.3), np.log(2.0 if blood else 3.0)))
    chi[inside] = np.float32(value if blood else -value)
    r2star[inside] = np.float32(rng.uniform(40, 250))
    m0[inside] = np.float32(rng.uniform(0.3, 0.8))
