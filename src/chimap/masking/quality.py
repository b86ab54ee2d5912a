"""How far the phase of each voxel can be trusted, and masks refined by it."""

from __future__ import annotations

from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.masking import _intensity, morphology
from chimap.numerics.threads import jit, slabs
from chimap.registry import as_mask, as_volume, inside
from chimap.types import Mask, Volume


@jit("void(int64, int64, float32[:,:,::1], float32[:,:,::1], float32, float32[:,:,::1])")
def _coherence(start, stop, phase, magnitude, eps, out):  # pragma: no cover - compiled
    """Second difference of the wrapped phase along each axis, as a coherence 0 to 1, weighted by signal."""
    nx, ny, nz = phase.shape
    turn = np.float32(6.283185307179586)
    for x in range(start, stop):
        for y in range(ny):
            for z in range(nz):
                total = np.float32(0)
                weight = np.float32(0)
                p = phase[x, y, z]
                m = magnitude[x, y, z]
                for axis in range(3):
                    i = 1 if axis == 0 else 0
                    j = 1 if axis == 1 else 0
                    k = 1 if axis == 2 else 0
                    xa, ya, za = x - i, y - j, z - k
                    xb, yb, zb = x + i, y + j, z + k
                    if xa < 0 or ya < 0 or za < 0 or xb >= nx or yb >= ny or zb >= nz:
                        continue
                    d = phase[xa, ya, za] - 2 * p + phase[xb, yb, zb]
                    d -= turn * np.rint(d / turn)
                    # Neighbours darker than the voxel itself, as bone beside cortex, say little about it.
                    a = min(magnitude[xa, ya, za], magnitude[xb, yb, zb])
                    w = min(a, m) / (m + eps) + np.float32(0.05)
                    total += w * (np.float32(1) - abs(d) / np.float32(3.1415927))
                    weight += w
                out[x, y, z] = total / weight if weight > 0 else np.float32(1)


def phase_quality(phase: Any, magnitude: Any, acq: Acquisition) -> Volume:
    """Quality of the phase of each voxel, 0 (noise) to 1 (smooth), from one or several echoes.

    Parameters
    ----------
    phase : (x, y, z) or (x, y, z, echo)
        Wrapped phase in rad.
    magnitude : as `phase`, or None
        Arbitrary units. Echoes are weighted by squared magnitude times echo time, so that late echoes, which
        show dephasing, count where they have signal.
    acq : Acquisition
        Echo times.

    Returns
    -------
    (x, y, z) float32

    Notes
    -----
    One echo's quality is the mean over the axes of :math:`1 - |W(\\Delta^2 \\varphi)| / \\pi` with the second
    difference :math:`\\Delta^2` and the wrapping operator W (second-difference reliability of Herráez et al. 2002,
    doi:10.1364/AO.41.007437): pure noise has 0.5, a phase that is linear in space has 1, whatever its slope. The
    result is smoothed with a Gaussian of half a voxel and noise is put at 0.
    """
    phase = inside(as_volume(phase, "phase", 4), None, "phase")
    echoes = phase.shape[3]
    if echoes != acq.echoes:
        raise InputError(f"phase has {echoes} echoes but {acq.echoes} echo times are given")
    if magnitude is not None:
        magnitude = inside(as_volume(magnitude, "magnitude", 4), None, "magnitude")
        if magnitude.shape != phase.shape:
            raise InputError(f"magnitude has shape {magnitude.shape} but phase {phase.shape}")
    total = np.zeros(phase.shape[:3], np.float32)
    weight = np.zeros_like(total)
    one = np.empty_like(total)
    flat: Volume = np.ones_like(total)
    for e, te in enumerate(acq.te_s):
        p = np.ascontiguousarray(phase[..., e])
        m = flat if magnitude is None else np.ascontiguousarray(magnitude[..., e])
        eps = np.float32(1e-6 * float(m.max()) + 1e-30)
        slabs(_coherence, p.shape[0], p, m, eps, one)
        w = m * m * np.float32(te) + eps * eps * np.float32(te)
        one *= w
        total += one
        weight += w
    total /= weight
    total = _intensity.smooth(total, 0.5, (1.0, 1.0, 1.0))
    return np.clip(2 * total - 1, 0, 1)


def refine(
    mask: Any,
    phase: Any,
    magnitude: Any,
    acq: Acquisition,
    *,
    threshold: float = 0.4,
    rim_mm: float = 4.0,
    fill: bool = True,
) -> Mask:
    """`mask` without the unreliable voxels of its rim, interior holes filled.

    Parameters
    ----------
    mask : (x, y, z) bool
        For example the brain mask.
    phase, magnitude : (x, y, z) or (x, y, z, echo)
        Wrapped phase in rad and magnitude (or None).
    acq : Acquisition
        Voxel size and echo times.
    threshold : float
        Voxels of lower `phase_quality` go, 0 (none) to 1.
    rim_mm : float
        Only voxels this near to the edge of the mask, and connected to the outside through other unreliable
        voxels, are removed; unreliable voxels further in (veins, calcifications, bleeds) stay.
    fill : bool
        Fill enclosed holes, those the mask came with as well.

    Returns
    -------
    (x, y, z) bool, at least the part of the mask deeper than `rim_mm`.

    Raises
    ------
    InputError
        If shapes differ or a parameter is out of its range.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold {threshold} is not between 0 and 1", fix="Give for example 0.4")
    mask = as_mask(mask, np.shape(phase)[:3])
    voxel = acq.voxel_size_mm
    bad = mask & (phase_quality(phase, magnitude, acq) < threshold)
    step = max(voxel)
    core = morphology.erode(mask, rim_mm, voxel) | (mask & ~morphology.dilate(bad, 2 * step, voxel))
    kept = morphology.fill_holes((mask & ~bad) | core)
    # What hangs on by a thread between bad voxels is no brain, and single bad voxels are no hole.
    kept = morphology.open_(kept, step, voxel) | core
    kept = morphology.largest_component(kept, core if core.any() else None)
    kept = morphology.close(kept, step, voxel) & mask
    return morphology.fill_holes(kept) if fill else kept & mask
