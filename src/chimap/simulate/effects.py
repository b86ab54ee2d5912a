"""What goes wrong between the magnetisation and the exported images, one function an effect.

Each function takes complex echoes (x, y, z, echo) and the `Acquisition` and returns new ones (complex64, each echo
contiguous), so that any of them, with its parameters bound by `functools.partial`, can be handed to
`simulate_scan(effects=...)`. None of them changes its input, all are deterministic, and one echo at a
time is worked on. Receive channels are in `chimap.simulate.coils`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.threads import get_threads
from chimap.types import Mask, Volume

Effect = Callable[[np.ndarray, Acquisition], np.ndarray]
"""From complex echoes to complex echoes."""


def describe(effect: Effect) -> str:
    """Name and parameters of an effect, for the record; arrays are left out."""
    function = getattr(effect, "func", effect)
    values = getattr(effect, "keywords", {}).items()
    shown = ", ".join(f"{k}={v!r}" for k, v in values if not isinstance(v, np.ndarray))
    return f"{getattr(function, '__name__', type(function).__name__)}({shown})"


def join(magnitude: Volume, phase: Volume) -> np.ndarray:
    """Complex echoes (x, y, z, echo) from magnitude and phase in rad."""
    out = np.empty((phase.shape[3], *phase.shape[:3]), np.complex64)
    for image, m, p in zip(out, np.moveaxis(magnitude, 3, 0), np.moveaxis(phase, 3, 0), strict=True):
        np.multiply(m, np.cos(p), out=image.real)
        np.multiply(m, np.sin(p), out=image.imag)
    return np.moveaxis(out, 0, 3)


def split(echoes: np.ndarray) -> tuple[Volume, Volume]:
    """Magnitude and phase in rad, (-pi, pi], of complex echoes."""
    magnitude = np.empty((echoes.shape[3], *echoes.shape[:3]), np.float32)
    phase = np.empty_like(magnitude)
    for m, p, image in zip(magnitude, phase, np.moveaxis(echoes, 3, 0), strict=True):
        np.abs(image, out=m)
        np.arctan2(image.imag, image.real, out=p)
    return np.moveaxis(magnitude, 0, 3), np.moveaxis(phase, 0, 3)


def bipolar_readout(
    echoes: np.ndarray,
    acq: Acquisition,
    *,
    axis: int = 0,
    constant_rad: float = 0.3,
    shift_samples: float = 0.5,
    slice_rad: float = 0.4,
    curve_rad: float = 0.3,
) -> np.ndarray:
    r"""Readouts of alternating polarity: phase +theta in odd and -theta in even echoes (counted from 1).

    A gradient that comes late shifts the echo in k-space by `shift_samples` samples one way under one polarity and
    the other way under the other, which is a phase ramp of :math:`2\pi` per sample over the field of view along the
    readout; eddy currents add a constant, a ramp along the last axis and terms of second and third order.

    Parameters
    ----------
    axis : int
        Readout axis.
    constant_rad, slice_rad : float
        Constant, and ramp over the field of view along the last axis (the first, if that is the readout), rad.
    shift_samples : float
        Shift of odd echoes in k-space; even ones are shifted by its negative.
    curve_rad : float
        Size at the border of the field of view of the quadratic and of the cubic term along the readout, rad.
    """
    theta = bipolar_phase(
        echoes.shape[:3],
        axis=axis,
        constant_rad=constant_rad,
        shift_samples=shift_samples,
        slice_rad=slice_rad,
        curve_rad=curve_rad,
    )
    return _turned(echoes, lambda e: theta if e % 2 == 0 else -theta)


def bipolar_phase(
    shape: Sequence[int],
    *,
    axis: int = 0,
    constant_rad: float,
    shift_samples: float,
    slice_rad: float,
    curve_rad: float,
) -> Volume:
    """theta of `bipolar_readout`, (x, y, z) float32 in rad."""
    x = _axes(shape)
    along, across = x[axis], x[2 if axis != 2 else 0]
    theta = constant_rad + np.pi * shift_samples * along + slice_rad / 2 * across
    theta = theta + curve_rad * (along**2 - along**3)
    return np.broadcast_to(theta, tuple(shape)).astype(np.float32)


def eddy_current_phase(
    echoes: np.ndarray, acq: Acquisition, *, amplitude_rad: float = 0.3, decay_s: float = 0.01, seed: int = 0
) -> np.ndarray:
    """A smooth phase (second order in space, `amplitude_rad` at most) that decays from echo to echo with `decay_s`."""
    x, y, z = _axes(echoes.shape[:3])
    c = np.random.default_rng([seed, 21]).normal(0, 1, 7)
    shape = (
        c[0] * x + c[1] * y + c[2] * z + c[3] * x * y + c[4] * y * z + c[5] * (x * x - y * y) + c[6] * z * z
    )
    shape *= amplitude_rad / np.abs(shape).max()
    return _turned(echoes, lambda e: shape * np.exp(-(acq.te_s[e] - acq.te_s[0]) / decay_s))


def motion_between_echoes(
    echoes: np.ndarray, acq: Acquisition, *, shift_mm: float = 0.5, turn_deg: float = 0.5, seed: int = 0
) -> np.ndarray:
    """Rigid motion between the echoes: a random walk, each step of SD `shift_mm` and `turn_deg` on every axis.

    The first echo stays. Real and imaginary part are interpolated by cubic splines; the field moves with the head.
    """
    rng = np.random.default_rng([seed, 22])
    voxel = np.asarray(acq.voxel_size_mm)
    centre = (np.array(echoes.shape[:3]) - 1) / 2
    shift, turn = np.zeros(3), np.zeros(3)
    out = _like(echoes)
    for e, image in enumerate(np.moveaxis(echoes, 3, 0)):
        if e == 0:
            out[e] = image
            continue
        shift = shift + rng.normal(0, shift_mm, 3)
        turn = turn + np.deg2rad(rng.normal(0, turn_deg, 3))
        matrix = (_rotation(turn) * voxel) / voxel[:, None]
        offset = centre + shift / voxel - matrix @ centre
        for part, moved in ((image.real, out[e].real), (image.imag, out[e].imag)):
            moved[...] = ndimage.affine_transform(part, matrix, offset, order=3)
    return np.moveaxis(out, 0, 3)


def flow_phase(
    echoes: np.ndarray, acq: Acquisition, *, veins: Mask, rad_at_last_echo: float = 1.0
) -> np.ndarray:
    """Blood that flows along a gradient: phase in the veins that grows with the square of the echo time."""
    amount = veins * np.float32(rad_at_last_echo)
    return _turned(echoes, lambda e: amount * (acq.te_s[e] / acq.te_s[-1]) ** 2)


def homodyne_filter(
    echoes: np.ndarray, acq: Acquisition, *, size: int = 64, axes: tuple[int, int] = (0, 1)
) -> np.ndarray:
    """Phase high-pass filtered as for susceptibility-weighted images.

    The signal is divided by the phase of what a Hann window of `size` samples in the plane `axes` leaves of k-space.
    """
    if size < 2:
        raise InputError(f"filter size is {size}", fix="Give 2 or more")
    out = _like(echoes)
    for image, filtered in zip(np.moveaxis(echoes, 3, 0), out, strict=True):
        low = scipy.fft.fftn(image, axes=axes, workers=get_threads())
        for axis in axes:
            n = low.shape[axis]
            k = np.abs(np.fft.fftfreq(n) * n)
            window = np.where(k < size / 2, 0.5 + 0.5 * np.cos(2 * np.pi * k / size), 0).astype(np.float32)
            low *= window.reshape([-1 if a == axis else 1 for a in range(3)])
        low = scipy.fft.ifftn(low, axes=axes, workers=get_threads(), overwrite_x=True)
        np.multiply(image, low.conj() / np.maximum(np.abs(low), np.float32(1e-20)), out=filtered)
    return np.moveaxis(out, 0, 3)


def transmit_hole(
    echoes: np.ndarray,
    acq: Acquisition,
    *,
    centre_mm: tuple[float, float, float] = (45.0, 0.0, -25.0),
    width_mm: float = 28.0,
    depth: float = 0.8,
) -> np.ndarray:
    """A hole of the transmit field, as at 7 T in temporal lobe or cerebellum: less signal, the noise as it was elsewhere.

    The signal is multiplied by a Gaussian dip of standard deviation `width_mm` and `depth` (1: no signal in its middle) at
    `centre_mm` from the middle of the grid. Meant for echoes without noise; noise that is there is made smaller with the signal.
    """
    if not 0 <= depth <= 1:
        raise InputError(f"depth {depth} is outside 0 to 1")
    dip: np.ndarray = np.ones((1, 1, 1), np.float32)
    for axis, (n, h, c) in enumerate(zip(echoes.shape[:3], acq.voxel_size_mm, centre_mm, strict=True)):
        place = ((np.arange(n) - (n - 1) / 2) * h - c).reshape([-1 if b == axis else 1 for b in range(3)])
        dip = dip * np.exp(-0.5 * (place / width_mm) ** 2).astype(np.float32)
    out = _like(echoes)
    np.multiply(np.moveaxis(echoes, 3, 0), 1 - np.float32(depth) * dip, out=out)
    return np.moveaxis(out, 0, 3)


def alternating_slices(echoes: np.ndarray, acq: Acquisition, *, axis: int = 2) -> np.ndarray:
    """Every second slice with the opposite sign, as in the real and imaginary images that some GE scanners export."""
    sign = np.ones(echoes.shape[axis], np.float32)
    sign[1::2] = -1
    sign = sign.reshape([-1 if a == axis else 1 for a in range(3)])
    out = _like(echoes)
    np.multiply(np.moveaxis(echoes, 3, 0), sign, out=out)
    return np.moveaxis(out, 0, 3)


def _like(echoes: np.ndarray) -> np.ndarray:
    """An empty array (echo, x, y, z) for complex echoes."""
    return np.empty((echoes.shape[3], *echoes.shape[:3]), np.complex64)


def _turned(echoes: np.ndarray, phase: Callable[[int], np.ndarray]) -> np.ndarray:
    """Echoes times exp(i phase(e))."""
    out = _like(echoes)
    for e, image in enumerate(np.moveaxis(echoes, 3, 0)):
        turn = np.exp(1j * np.asarray(phase(e), np.float32))
        np.multiply(image, turn, out=out[e])
    return np.moveaxis(out, 0, 3)


def _axes(shape: Sequence[int]) -> list[np.ndarray]:
    """Positions from -1 to 1 over the field of view, one broadcastable float32 array an axis."""
    return [
        (((np.arange(n) + 0.5) * 2 / n - 1).astype(np.float32)).reshape(
            [-1 if b == a else 1 for b in range(3)]
        )
        for a, n in enumerate(shape)
    ]


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix of angles in rad about x, then y, then z."""
    out = np.eye(3)
    for a, angle in enumerate(angles):
        i, j = (a + 1) % 3, (a + 2) % 3
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[j, i], step[i, j] = np.sin(angle), -np.sin(angle)
        out = step @ out
    return out
