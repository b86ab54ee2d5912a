"""Scanning a phantom: its field, the gradient-echo signal, coils, shim and noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import frequencies, irfftn, next_fast_shape, rfftn
from chimap.numerics.threads import slabs
from chimap.simulate.effects import Effect, describe, join, split
from chimap.simulate.phantom import Phantom
from chimap.simulate.resample import average, crop_kspace, enlarge, image_shape, nearest
from chimap.simulate.tissue import AIR_PPM
from chimap.types import Mask, Progress, Volume, silent

_PADDED_VOXELS = 40e6
_SOFTNESS = 0.6
"""SD in fine voxels of the smoothing of what surrounds the brain, before its field is computed."""


@dataclass(frozen=True)
class SimulatedScan:
    """A multi-echo gradient-echo scan and the truth behind it, on the image grid.

    Attributes
    ----------
    phase, magnitude : (x, y, z, echo) float32
        Wrapped phase in rad, (-pi, pi], and magnitude in arbitrary units.
    mask : (x, y, z) bool
        Brain: at least half of the voxel lies inside the skull.
    total_field_ppm : (x, y, z) float32
        Field of everything after the shim, mean over the voxel, ppm.
    local_field_ppm : (x, y, z) float32
        Field of the brain's own susceptibility against water, ppm; total minus local has no sources in the brain.
    chi_ppm, r2star : (x, y, z) float32
        Susceptibility in ppm and R2* in 1/s, means over the voxel; in the mask over the part of the voxel that is
        brain, so that bone does not show in voxels at the edge.
    labels : (x, y, z) uint8
        Tissue at the voxel's centre; in the mask the nearest one of the brain.
    table : dict
        Tissue name to (number, mean susceptibility in ppm).
    acq : Acquisition
        Echo times, B0 and voxel size of the image.
    parameters : dict
        All settings of the simulation and the noise's standard deviation.
    paramagnetic_ppm, diamagnetic_ppm, r2prime : (x, y, z) float32, optional
        The parts of `chi_ppm` (0 or more, and 0 or less) in ppm, and R2' in 1/s, means like `chi_ppm`; of phantoms with sources.
    """

    phase: Volume
    magnitude: Volume
    mask: Mask
    total_field_ppm: Volume
    local_field_ppm: Volume
    chi_ppm: Volume
    r2star: Volume
    labels: np.ndarray
    table: dict[str, tuple[int, float]]
    acq: Acquisition
    parameters: dict[str, object]
    paramagnetic_ppm: Volume | None = None
    diamagnetic_ppm: Volume | None = None
    r2prime: Volume | None = None


def ernst_signal(m0: Volume, r1: Volume, tr_s: float, flip_deg: float) -> Volume:
    r"""Spoiled steady-state magnetisation, :math:`M_0 \sin\alpha\,(1-E)/(1-E\cos\alpha)` with
    :math:`E = e^{-T_R R_1}` (Ernst and Anderson 1966, doi:10.1063/1.1719961)."""
    e = np.exp(np.float32(-tr_s) * r1)
    a = np.deg2rad(flip_deg)
    return (m0 * np.float32(np.sin(a)) * (1 - e) / (1 - e * np.float32(np.cos(a)))).astype(np.float32)


def simulate_scan(
    phantom: Phantom,
    acq: Acquisition,
    *,
    snr: float | None = 60.0,
    seed: int = 0,
    shim_order: int | None = 2,
    receive_phase: bool = True,
    receive_magnitude: bool = True,
    tr_s: float | None = None,
    flip_deg: float = 15.0,
    effects: Sequence[Effect] = (),
    progress: Progress | None = None,
) -> SimulatedScan:
    r"""Simulate a spoiled multi-echo gradient-echo scan of a phantom.

    On the phantom's (finer) grid the complex signal of each echo is
    :math:`S = S_0\,e^{-T_E R_2^*}\,e^{\,i 2\pi\bar\gamma B_0 B\,T_E}` with the relative field B, so that phase grows
    where the field is higher. The centre of its k-space makes the image; then come the receiver's smooth
    magnitude and phase offset (the same for all echoes) and complex Gaussian noise.

    Parameters
    ----------
    phantom : Phantom
        Object, on a grid at least as fine as the image's; its extent in voxels should be a multiple of the
        image voxel (it is filled up with air otherwise).
    acq : Acquisition
        Echo times, field strength, B0 direction in voxel axes and the image's voxel size.
    snr : float or None
        Mean noise-free magnitude of the first echo in the brain over the standard deviation of the noise in the real (and in
        the imaginary) part. None: no noise.
    seed : int
        For noise and coils.
    shim_order : 0, 1, 2 or None
        Solid harmonics up to this order are fitted to the field in the brain and taken off. None: no shim.
    receive_phase, receive_magnitude : bool
        Smooth phase offset of a few rad over the head; smooth sensitivity, brighter at the edge.
    tr_s : float, optional
        Repetition time in s. Default: the last echo time and 7 ms.
    flip_deg : float
        Flip angle.
    effects : sequence of callables
        What else happens to the noisy complex echoes, in this order: functions of `chimap.simulate.effects`.
    progress : callable, optional
        Told of each step.

    Returns
    -------
    SimulatedScan

    Raises
    ------
    InputError
        If the grids do not fit, or a setting is out of range.

    Notes
    -----
    The field is the convolution of all susceptibility (air outside included) with the unit dipole on the padded fine
    grid (Salomir et al. 2003, doi:10.1002/cmr.b.10083), what surrounds the brain softened by a Gaussian of 0.6 fine voxels; tissue that reaches the lowest plane goes on below it, as a neck
    does. The local field comes from susceptibility in the brain mask alone. Peak memory about 9 float32 volumes of
    the fine grid.
    """
    tr_s = acq.te_s[-1] + 0.007 if tr_s is None else float(tr_s)
    if tr_s < acq.te_s[-1]:
        raise InputError(f"repetition time {tr_s} s is shorter than the last echo time {acq.te_s[-1]} s")
    if not 0 < flip_deg <= 90:
        raise InputError(f"flip angle {flip_deg} degrees is outside 0 to 90")
    if snr is not None and not snr > 0:
        raise InputError(f"SNR {snr} is not positive", fix="Leave it out for no noise")
    if shim_order not in (None, 0, 1, 2):
        raise InputError(f"shim order {shim_order} is none of 0, 1, 2")
    fine_shape, shape = image_shape(phantom.labels.shape, phantom.voxel_size_mm, acq.voxel_size_mm)
    fine_acq = acq.with_(voxel_size_mm=phantom.voxel_size_mm)
    steps = acq.echoes + 4
    tell = progress or silent

    mask = enlarge(phantom.mask, fine_shape, False)
    chi = enlarge(phantom.chi_ppm, fine_shape, AIR_PPM)
    tell(0, steps, stage="field")
    total, local = _fields(chi, mask, fine_acq, lambda n: tell(n, steps))
    if shim_order is not None:
        _shim(total, mask, phantom.voxel_size_mm, shim_order)
    tell(3, steps)

    share = average(mask.astype(np.float32), shape)
    small_mask = share >= 0.5
    r2star = enlarge(phantom.r2star, fine_shape, 1)
    out = {
        "total_field_ppm": average(total, shape),
        "local_field_ppm": average(local, shape),
        "chi_ppm": _tissue_mean(chi, mask, share, small_mask),
        "r2star": _tissue_mean(r2star, mask, share, small_mask),
    }
    if phantom.sources is not None:
        para = enlarge(phantom.sources.paramagnetic_ppm, fine_shape, AIR_PPM)
        out["paramagnetic_ppm"] = _tissue_mean(para, mask, share, small_mask)
        del para
        # What is left of the mean is exactly the other part.
        out["diamagnetic_ppm"] = np.minimum(out["chi_ppm"] - out["paramagnetic_ppm"], np.float32(0))
        r2prime = enlarge(phantom.sources.r2prime, fine_shape, 1)
        out["r2prime"] = _tissue_mean(r2prime, mask, share, small_mask)
        del r2prime
    labels = _labels(enlarge(phantom.labels, fine_shape, 0), mask, small_mask)
    del local, chi
    s0 = ernst_signal(enlarge(phantom.m0, fine_shape, 0), enlarge(phantom.r1, fine_shape, 1), tr_s, flip_deg)
    rng = np.random.default_rng([seed, 3])
    receiver = _receiver(shape, acq.voxel_size_mm, rng, receive_phase, receive_magnitude)
    tell(4, steps, stage="signal")

    phase = np.empty((acq.echoes, *shape), np.float32)
    magnitude = np.empty_like(phase)
    sigma = 0.0
    for e, te in enumerate(acq.te_s):
        image = crop_kspace(_signal(s0, r2star, total, te, acq.rad_per_ppm(te)), shape)
        image *= receiver
        if e == 0 and snr is not None:
            sigma = float(np.abs(image[small_mask]).mean(dtype=np.float64)) / snr if small_mask.any() else 0.0
        if sigma:
            image.real += np.float32(sigma) * rng.standard_normal(shape, dtype=np.float32)
            image.imag += np.float32(sigma) * rng.standard_normal(shape, dtype=np.float32)
        np.arctan2(image.imag, image.real, out=phase[e])
        np.abs(image, out=magnitude[e])
        tell(5 + e, steps)
    magnitude *= np.float32(1000.0)
    # Stored echo by echo, shown with the echo last: each echo stays contiguous.
    phase, magnitude = np.moveaxis(phase, 0, -1), np.moveaxis(magnitude, 0, -1)
    if effects:
        echoes = join(magnitude, phase)
        for effect in effects:
            echoes = effect(echoes, acq)
        magnitude, phase = split(echoes)
    return SimulatedScan(
        phase=phase,
        magnitude=magnitude,
        mask=small_mask,
        labels=labels,
        table=phantom.table,
        acq=acq,
        parameters={
            "snr": snr,
            "noise_sd": sigma * 1000,
            "seed": seed,
            "shim_order": shim_order,
            "receive_phase": receive_phase,
            "receive_magnitude": receive_magnitude,
            "tr_s": tr_s,
            "flip_deg": flip_deg,
            "effects": [describe(effect) for effect in effects],
            "fine_voxel_size_mm": list(phantom.voxel_size_mm),
        },
        **out,
    )


def _tissue_mean(volume: Volume, mask: Mask, share: Volume, inside: Mask) -> Volume:
    out = average(volume, inside.shape)
    out[inside] = (average(volume * mask, inside.shape) / np.maximum(share, np.float32(1e-3)))[inside]
    return out


def _labels(fine: np.ndarray, mask: Mask, inside: Mask) -> np.ndarray:
    """Labels at voxel centres, those in the mask from the nearest fine voxel that is in the mask too."""
    out = nearest(fine, inside.shape)
    wrong = inside & ~nearest(mask, inside.shape)
    centre = np.argwhere(wrong)
    ratio = np.array(mask.shape) / inside.shape
    todo = np.ones(len(centre), bool)
    reach = range(-2, 3)
    steps = sorted(itertools.product(reach, reach, reach), key=lambda s: sum(v * v for v in s))
    base = ((centre + 0.5) * ratio - 1e-6).astype(int)
    for step in steps:
        at = np.clip(base + step, 0, np.array(mask.shape) - 1)
        hit = todo & mask[tuple(at.T)]
        out[tuple(centre[hit].T)] = fine[tuple(at[hit].T)]
        todo &= ~hit
    return out


def _fields(chi: Volume, mask: Mask, acq: Acquisition, tell) -> tuple[Volume, Volume]:  # type: ignore[no-untyped-def]
    """Field in ppm of everything, and of the brain alone."""
    n = chi.shape
    # Room against the periodic copies, as far as memory goes; what is left of them is smooth, and shimmed.
    pad = min(max((_PADDED_VOXELS / chi.size) ** (1 / 3), 1.4), 2.0)
    shape = next_fast_shape([int(np.ceil(s * pad)) for s in n])
    kernel = dipole_kernel(shape, acq.voxel_size_mm, acq.b0_dir)
    inner = tuple(slice(0, s) for s in n)
    padded = np.zeros(shape, np.float32)
    np.multiply(chi, mask, out=padded[inner])
    spectrum = rfftn(padded, overwrite=True)
    spectrum *= kernel
    local = np.ascontiguousarray(irfftn(spectrum, shape)[inner])
    del spectrum
    tell(1)
    # Everything else, with the brain as water. Air is the zero level, so that the padding is air too.
    padded = np.zeros(shape, np.float32)
    padded[inner] = np.where(mask, np.float32(-AIR_PPM), chi - np.float32(AIR_PPM))
    # Below the lowest plane lies what comes last in the periodic grid: the neck goes on there.
    rest = (shape[2] - n[2]) * 2 // 3
    if rest:
        padded[: n[0], : n[1], -rest:] = padded[: n[0], : n[1], :1]
    # Its surfaces are a little soft: a sampled kernel rings at steps of 9 ppm, far into the brain if B0 is oblique.
    for axis, f in enumerate(frequencies(shape, acq.voxel_size_mm)):
        kernel *= np.exp(-0.5 * (2 * np.pi * f * _SOFTNESS * acq.voxel_size_mm[axis]) ** 2)
    spectrum = rfftn(padded, overwrite=True)
    spectrum *= kernel
    total = irfftn(spectrum, shape)[inner] + local
    tell(2)
    return total, local


def _harmonics(x: np.ndarray, y: np.ndarray, z: np.ndarray, order: int) -> list[np.ndarray]:
    out = [np.ones_like(x)]
    if order >= 1:
        out += [x, y, z]
    if order >= 2:
        out += [x * y, y * z, z * x, x * x - y * y, 2 * z * z - x * x - y * y]
    return out


def _shim(field: Volume, mask: Mask, voxel: tuple[float, float, float], order: int) -> None:
    """Take the solid harmonics that fit the field in the brain best off the field (in place)."""
    index = np.nonzero(mask)
    if len(index[0]) < 16:
        return
    # Every few voxels are enough for nine numbers.
    index = tuple(i[:: max(1, len(i) // 200_000)] for i in index)
    length = max(n * d for n, d in zip(field.shape, voxel, strict=True))
    axes = [
        ((np.arange(n) - (n - 1) / 2) * d / length).astype(np.float32)
        for n, d in zip(field.shape, voxel, strict=True)
    ]
    x, y, z = (a[i].astype(np.float64) for a, i in zip(axes, index, strict=True))
    design = _harmonics(x, y, z, order)
    fit = np.linalg.lstsq(np.stack(design, -1), field[index].astype(np.float64), rcond=None)[0]
    y, z = axes[1][:, None], axes[2][None, :]
    flat = np.zeros((len(axes[1]), len(axes[2])), np.float32)

    def plane(start: int, stop: int) -> None:
        for i in range(start, stop):
            terms = _harmonics(axes[0][i] + flat, y + flat, z + flat, order)
            field[i] -= sum(np.float32(c) * t for c, t in zip(fit, terms, strict=True))

    slabs(plane, field.shape[0])


def _receiver(
    shape: tuple[int, ...], voxel: tuple[float, ...], rng: np.random.Generator, phase: bool, magnitude: bool
) -> np.ndarray:
    """Complex sensitivity of the combined coil, smooth over the field of view."""
    axes = [
        ((np.arange(n) - (n - 1) / 2) * d / 100).astype(np.float32) for n, d in zip(shape, voxel, strict=True)
    ]
    x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
    gain: np.ndarray = np.ones(shape, np.float32)
    if magnitude:
        gain = (0.8 + 0.45 * (x * x + y * y + 0.7 * z * z) + 0.1 * y - 0.08 * x).astype(np.float32)
    angle: np.ndarray = np.zeros(shape, np.float32)
    if phase:
        c = rng.normal(0, 1, 7)
        angle = 1.2 * (c[0] * x + c[1] * y + c[2] * z) + c[3] * (x * x - y * y) + c[4] * x * y + c[5] * z * z
        angle = angle + 0.5 * np.sin(2.2 * y + 1.3 * x) + np.float32(np.pi * c[6])
    return (gain * np.exp(1j * angle.astype(np.float32))).astype(np.complex64)


def _signal(s0: Volume, r2star: Volume, field: Volume, te_s: float, rad_per_ppm: float) -> np.ndarray:
    out = np.empty(s0.shape, np.complex64)

    def fill(start: int, stop: int) -> None:
        for i in range(start, stop):
            size = s0[i] * np.exp(np.float32(-te_s) * r2star[i])
            angle = field[i] * np.float32(rad_per_ppm)
            np.multiply(size, np.cos(angle), out=out.real[i])
            np.multiply(size, np.sin(angle), out=out.imag[i])

    slabs(fill, s0.shape[0])
    return out
