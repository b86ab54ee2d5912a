"""A whole human head made by a procedure: labels, susceptibility and what the signal equation needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.fft import next_fast_len

from chimap.errors import InputError
from chimap.numerics.threads import slabs
from chimap.simulate import vessels
from chimap.simulate.anatomy import FORAMEN_Z, GRID, Forms, forms
from chimap.simulate.brain import brain_labels
from chimap.simulate.phantom import Phantom
from chimap.simulate.sources import Sources, paramagnetic, r2prime_of
from chimap.simulate.tissue import LABELS, TISSUES, lookup, r1_at, r2star_at
from chimap.simulate.vessels import Lattice
from chimap.types import Progress, Volume, silent

FIELD_OF_VIEW_MM = ((-88.0, 88.0), (-124.0, 106.0), (-108.0, 92.0))
"""The part of the anatomy that a head of scale 1 shows: left to right, back to front, chin to crown."""
SIZE = 0.96
"""The anatomy is laid out slightly larger than an average adult."""


def head_phantom(
    voxel_size_mm: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    b0_t: float = 3.0,
    seed: int = 0,
    scale: float = 1.0,
    texture: float = 1.0,
    sources: bool = False,
    r2prime_deviation: float = 0.0,
    progress: Progress | None = None,
) -> Phantom:
    """A head with scalp, skull, air spaces, folded cortex, deep nuclei, veins and lesions.

    Everything is made in code: smooth forms bent by random fields, cortex folded along the zero levels of
    band-limited noise, tubes for veins. The forms come from a model in mm, so that a seed is the same person at
    every voxel size. Axes: x to the right, y to the front, z up (RAS).

    Parameters
    ----------
    voxel_size_mm : 3 float
        0.3 to 6 mm. At 3 mm the phantom takes about a second and still has a voxel of every tissue (thin veins
        and small lesions are drawn one voxel wide); use it for tests. 0.8 mm and below show the sulci well.
    b0_t : float
        Field strength in T for R1 and R2*.
    seed : int
        The person.
    scale : float
        Size of the head, 0.5 to 1.3 (1: an adult).
    texture : float
        Strength of the smooth variation of susceptibility, M0 and R2* inside tissues (0: none).
    sources : bool
        Make the paramagnetic and the diamagnetic part of the susceptibility, and R2' from both (`chimap.simulate.sources`); R2* then
        follows R2'. Costs two more volumes.
    r2prime_deviation : float
        Standard deviation, relative, of a smooth factor on R2' that susceptibility does not explain.
    progress : callable, optional
        Told of each slab.

    Returns
    -------
    Phantom
        The numbers of voxels are multiples of 6 that transform fast.

    Raises
    ------
    InputError
        If a parameter is out of range.
    """
    voxel = tuple(float(v) for v in voxel_size_mm)
    if len(voxel) != 3 or not all(0.3 <= v <= 6 for v in voxel):
        raise InputError(
            f"voxel size {tuple(voxel_size_mm)} of the phantom is not three numbers from 0.3 to 6 mm"
        )
    if not 0.5 <= scale <= 1.3:
        raise InputError(f"head scale {scale} is outside 0.5 to 1.3")
    tell = progress or silent
    lattice = _lattice(voxel, SIZE * scale)
    tell(0, 20, stage="anatomy")
    model = forms(seed)
    tell(3, 20)

    labels = np.empty(lattice.shape, np.uint8)
    mask = np.empty(lattice.shape, bool)
    wave = np.empty(lattice.shape, np.float32)
    other, clouds = (np.empty(lattice.shape if sources else (0, 0, 0), np.float32) for _ in range(2))
    parts = np.array_split(np.arange(lattice.shape[0]), max(1, lattice.shape[0] // 8))
    done = [0]

    def fill(start: int, stop: int) -> None:
        for part in parts[start:stop]:
            at = slice(int(part[0]), int(part[-1]) + 1)
            labels[at], mask[at], wave[at] = _slab(model, lattice, at)
            if sources:
                other[at], clouds[at] = _mixture(model, lattice, at)
            done[0] += 1
            tell(3 + 12 * min(done[0], len(parts)) // len(parts), 20)

    slabs(fill, len(parts))
    _paint_small(model, lattice, labels, mask, seed)
    tell(17, 20)
    phantom = _properties(labels, mask, wave * np.float32(texture), voxel, b0_t)
    if sources:
        phantom = _with_sources(phantom, other * np.float32(texture), clouds, r2prime_deviation)
    tell(20, 20)
    return phantom


def _lattice(voxel: tuple[float, ...], size: float) -> Lattice:
    """Voxel centres in model mm, on a grid whose axes are multiples of 6 and transform fast."""
    axes = []
    for (low, high), d in zip(FIELD_OF_VIEW_MM, voxel, strict=True):
        n = 6 * next_fast_len(int(np.ceil((high - low) * size / d / 6)), real=True)
        axes.append(((low + high) / 2 + (np.arange(n) - (n - 1) / 2) * d / size).astype(np.float32))
    return Lattice((axes[0], axes[1], axes[2]), (voxel[0] / size, voxel[1] / size, voxel[2] / size))


def _slab(f: Forms, lattice: Lattice, at: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, brain mask and texture of some planes."""
    axes = [lattice.axes[0][at], lattice.axes[1], lattice.axes[2]]

    def read(field: Volume) -> Volume:
        return GRID.on_axes(field, axes)

    depth = -read(f.head)
    cavity, fine = read(f.cavity), read(f.fine)
    wave = np.float32(0.6) * fine + np.float32(0.8) * read(f.thickness)
    clouds = read(f.clouds)
    labels = np.zeros(depth.shape, np.uint8)

    body = depth > 0
    labels[body] = LABELS["muscle"]
    eyes = read(f.eyes)
    labels[body & ((depth < 5.0 + clouds) | (eyes < 5) | (clouds + wave > 1.6))] = LABELS["fat"]
    labels[body & (depth < 2.0)] = LABELS["skin"]
    bone = read(f.face_bone)
    hard = body & (depth > 3)
    labels[hard & (bone < 0)] = LABELS["bone"]
    labels[hard & (bone < -2.6 + 0.4 * fine)] = LABELS["marrow"]
    # The vault has two tables with marrow between them.
    thick = np.float32(6.3) + np.float32(1.1) * read(f.thickness)
    skull = hard & (cavity >= 0) & (cavity < thick)
    labels[skull] = LABELS["bone"]
    labels[skull & (np.abs(cavity / thick - 0.5) < 0.17 + 0.05 * fine)] = LABELS["marrow"]
    labels[(eyes < 0) & body & (cavity > 2)] = LABELS["eye"]
    labels[(read(f.airways) < 0) & (cavity > 1.5) & (labels > 0)] = LABELS["air"]
    below = np.broadcast_to(axes[2] < FORAMEN_Z + 2, depth.shape)
    labels[below & (read(f.canal) < 0)] = LABELS["CSF"]
    labels[below & (read(f.stem) < 0)] = LABELS["brain stem"]
    mask = cavity < 0
    if mask.any():
        i, j, k = np.nonzero(mask)
        points = [axes[0][i], axes[1][j], axes[2][k]]
        labels[mask] = brain_labels(f, points)
    return labels, mask, wave


def _mixture(f: Forms, lattice: Lattice, at: slice) -> tuple[Volume, Volume]:
    """Smooth variations that are not that of the susceptibility: of the mixture of its sources, and of R2'."""
    axes = [lattice.axes[0][at], lattice.axes[1], lattice.axes[2]]
    fine, thickness = GRID.on_axes(f.fine, axes), GRID.on_axes(f.thickness, axes)
    return np.float32(0.8) * fine - np.float32(0.6) * thickness, GRID.on_axes(f.clouds, axes)


def _with_sources(phantom: Phantom, other: Volume, clouds: Volume, deviation: float) -> Phantom:
    """The phantom with both kinds of sources, and an R2* that follows their R2'."""
    if not 0 <= deviation <= 0.4:
        raise InputError(f"r2prime_deviation {deviation:g} is outside 0 to 0.4", fix="Try 0.1")
    para, r2prime, r2star = (np.empty_like(phantom.chi_ppm) for _ in range(3))
    r2 = lookup("r2")

    def fill(start: int, stop: int) -> None:
        for i in range(start, stop):
            labels, chi = phantom.labels[i], phantom.chi_ppm[i]
            para[i] = paramagnetic(labels, chi, np.clip(other[i], -3, 3))
            r2prime[i] = r2prime_of(labels, chi, para[i], phantom.b0_t, deviation, np.clip(clouds[i], -2, 2))
            r2star[i] = r2[labels] * (1 + np.float32(0.06) * np.clip(other[i], -3, 3)) + r2prime[i]

    slabs(fill, len(para))
    return replace(phantom, r2star=r2star, sources=Sources(para, r2prime))


def _paint_small(f: Forms, lattice: Lattice, labels: np.ndarray, mask: np.ndarray, seed: int) -> None:
    """Veins and lesions, inside the brain mask."""
    labels[vessels.inside(vessels.veins(f, lattice, seed), mask)] = LABELS["veins"]
    homes = [LABELS["white matter"], LABELS["grey matter"], LABELS["thalamus"]]
    bleeds = vessels.microbleeds(lattice, labels, homes, seed)
    labels[vessels.inside(bleeds, mask)] = LABELS["microbleed"]
    labels[vessels.inside(vessels.calcification(lattice), mask)] = LABELS["calcification"]


def _properties(
    labels: np.ndarray, mask: np.ndarray, wave: np.ndarray, voxel: tuple[float, ...], b0_t: float
) -> Phantom:
    chi, m0, r1, r2star = (np.empty(labels.shape, np.float32) for _ in range(4))
    tables = [lookup("texture_ppm"), lookup("chi_ppm"), lookup("m0"), r1_at(b0_t), r2star_at(b0_t)]

    def fill(start: int, stop: int) -> None:
        for i in range(start, stop):
            spread, mean, density, rate, decay = (np.take(t, labels[i]) for t in tables)
            chi[i] = mean + spread * wave[i]
            m0[i] = density * (1 + np.float32(0.03) * wave[i])
            r1[i] = rate
            r2star[i] = decay * (1 + np.float32(0.06) * np.clip(wave[i], -3, 3))

    slabs(fill, labels.shape[0])
    return Phantom(
        chi_ppm=chi,
        m0=m0,
        r1=r1,
        r2star=r2star,
        labels=labels,
        table={name: (t.label, t.chi_ppm) for name, t in TISSUES.items()},
        mask=mask,
        voxel_size_mm=(voxel[0], voxel[1], voxel[2]),
        b0_t=float(b0_t),
    )
