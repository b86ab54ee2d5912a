"""Bipolar readouts: finding and taking off the phase by which odd and even echoes differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.phase._checks import check_smoothing
from chimap.phase._echoes import packed_magnitude
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase.mcpc3ds import polynomial, smooth_phase
from chimap.types import Mask, Volume

DETECTABLE_RAD = 0.05
"""Standard deviation of theta over the mask from which on readouts count as bipolar."""

_SAMPLE = 200_000
_SPACING = 0.01


@dataclass(frozen=True)
class Bipolar:
    """Whether readouts are bipolar.

    `amplitude_rad` is the standard deviation over the mask of theta, the phase that comes as +theta in odd and as
    -theta in even echoes; `axis` the voxel axis along which it changes most, as a rule the readout's.
    """

    found: bool
    amplitude_rad: float
    axis: int


def detect_bipolar(phase: Volume, magnitude: Volume | None, mask: Mask, acq: Acquisition) -> Bipolar:
    """Tell bipolar readouts from the data alone.

    A plane is fitted to theta as in `odd_even_phase`. Where there are several triplets of echoes, the part of
    their second differences that alternates must be at least twice the part that does not, which eddy currents make
    in monopolar data too, and the planes must explain the signal (noise has no theta). A theta that is constant in
    space is not looked for.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    magnitude : (x, y, z) or (x, y, z, echo) float32 or None
        Magnitude in any unit.
    mask : (x, y, z) bool
        The object.
    acq : Acquisition
        Echo times.

    Returns
    -------
    Bipolar
        Without three echoes in a row at equal distances nothing is found.
    """
    middles = _middles(acq)
    if not middles:
        return Bipolar(False, 0.0, 0)
    # Theta is smooth: a coarser grid tells as much.
    step = max(1, round((np.count_nonzero(mask) / _SAMPLE) ** (1 / 3)))
    few = (slice(None, None, step),) * 3 if mask[::step, ::step, ::step].any() else (slice(None),) * 3
    graph = Graph.of(mask[few])
    packed = graph.pack(phase[few])
    signal = packed_magnitude(graph, None if magnitude is None else magnitude[few], acq.echoes)
    planes, coherence = [], 1.0
    for e in middles:
        angle, weight = _second_difference(packed, signal, [e])
        planes.append(polynomial(graph, angle, weight, 1) / 4)
        left = weight * np.exp(1j * (angle - 4 * planes[-1]))
        coherence = min(coherence, float(np.abs(left.sum()) / weight.sum()))
    theta = np.mean(planes, axis=0)
    amplitude = float(theta.std(dtype=np.float64))
    # Those counted so as not to alternate; one triplet alone cannot tell.
    same = np.mean([p * (-1) ** n for n, p in zip(middles, planes)], axis=0)
    steady = float(same.std(dtype=np.float64)) if len(middles) > 1 else 0.0
    # The plane's slope along each axis times the extent of the mask.
    across = []
    for a, n in enumerate(graph.inside.shape):
        v = np.flatnonzero(graph.after[:, a] >= 0)[:1]
        across.append(float(np.abs(theta[graph.after[v, a]] - theta[v]).sum()) * n)
    found = coherence > 0.3 and amplitude > max(DETECTABLE_RAD, 2 * steady)
    return Bipolar(found, amplitude, int(np.argmax(across)))


def odd_even_phase(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    order: int = 3,
    axis: int | None = None,
    smoothing_mm: float = 0.0,
) -> Volume:
    r"""The phase theta that comes as +theta in odd and as -theta in even echoes, counted from 1.

    In three echoes at equal distances everything linear in TE cancels in
    :math:`\varphi_{e-1} - 2\varphi_e + \varphi_{e+1} = \pm 4\theta`, modulo :math:`2\pi` and without any unwrapping.
    The complex mean over all triplets, weighted by its noise, is fitted by a polynomial; voxels far from it (veins,
    the border) lose weight in a second fit. Gradient delays make the linear term, eddy currents the rest.

    With `smoothing_mm` the polynomial's residual, smoothed by a Gaussian as a complex number, is added. That
    is MCPC-3D-S for bipolar readouts: the offset of odd echoes comes from the first and third echo, the offset of even
    ones from the second and the same field, and half their difference is this theta.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where theta is wanted.
    acq : Acquisition
        Echo times and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit, as weight.
    order : int
        Degree of the polynomial, 0 to 6.
    axis : int, optional
        Readout axis (0, 1, 2), where known: beyond the plane there are then only terms along this axis.
    smoothing_mm : float
        Standard deviation of the Gaussian in mm; 0: polynomial only.

    Returns
    -------
    (x, y, z) float32
        theta in rad, 0 outside the mask. Its constant part is known modulo pi/2 and taken from -pi/4..pi/4: another
        multiple is the same as a constant field of 1 / (2 (TE_2 - TE_1)) Hz and a constant offset.

    Raises
    ------
    InputError
        If there are no three echoes in a row at equal distances, or a parameter is out of range.

    References
    ----------
    Li et al., MAGMA 2015, doi 10.1007/s10334-014-0470-3; Eckstein et al., Magn Reson Med 2018, doi 10.1002/mrm.26963.
    """
    check_smoothing(smoothing_mm, order)
    if axis not in (None, 0, 1, 2):
        raise InputError(f"readout axis is {axis}", fix="Give 0, 1 or 2")
    middles = _middles(acq)
    if not middles:
        raise InputError(
            f"bipolar readouts cannot be corrected with echo times {list(acq.te_s)} s",
            fix="Three echoes in a row at equal distances are needed",
        )
    graph = Graph.of(mask)
    signal = packed_magnitude(graph, magnitude, acq.echoes)
    angle, weight = _second_difference(graph.pack(phase), signal, middles)
    del signal
    trend = _trend(graph, angle, weight, order, axis)
    rest = np.abs(_wrapped(angle - trend))
    weight /= 1 + (rest / (2 * np.median(rest) + np.float32(1e-6))) ** 2
    del rest
    trend = _trend(graph, angle, weight, order, axis)
    if smoothing_mm > 0:
        sigma = [smoothing_mm / d for d in acq.voxel_size_mm]
        trend += smooth_phase(graph, _wrapped(angle - trend), weight + np.float32(1e-6), sigma, 0)
    middle = np.float32(TWO_PI) * np.rint(np.average(trend, weights=weight) / TWO_PI)
    return graph.unpack((trend - middle) / 4)


def correct_bipolar(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    order: int = 3,
    axis: int | None = None,
    smoothing_mm: float = 0.0,
) -> Volume:
    """Phase with the odd/even echo difference of bipolar readouts taken off.

    Parameters and errors are those of `odd_even_phase`. Returns (x, y, z, echo) float32, phase in rad within
    -pi..pi, 0 outside the mask, each echo contiguous.
    """
    theta = odd_even_phase(
        phase, mask, acq, magnitude=magnitude, order=order, axis=axis, smoothing_mm=smoothing_mm
    )
    out = np.empty((acq.echoes, *mask.shape), np.float32)
    for e, corrected in enumerate(out):
        corrected[...] = np.where(mask, _wrapped(phase[..., e] - (-1) ** e * theta), 0)
    return np.moveaxis(out, 0, 3)


def _middles(acq: Acquisition) -> list[int]:
    """The echoes (from 0) whose two neighbours are equally far."""
    gap = np.diff(acq.te_s)
    return [e for e in range(1, acq.echoes - 1) if abs(gap[e] - gap[e - 1]) <= _SPACING * gap[e]]


def _second_difference(
    phase: np.ndarray, magnitude: np.ndarray, middles: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Angle 4 theta and weight of the complex sum of the triplets of packed echoes about `middles`."""
    total = np.zeros(phase.shape[1], np.complex64)
    power = np.square(magnitude / (float(magnitude[0].max()) or 1)) + np.float32(1e-12)
    for e in middles:
        weight = 1 / (1 / power[e - 1] + 4 / power[e] + 1 / power[e + 1])
        total += weight * np.exp(
            1j * np.float32((-1) ** (e + 1)) * (phase[e - 1] - 2 * phase[e] + phase[e + 1])
        )
    return np.angle(total), np.abs(total)


def _trend(graph: Graph, angle: np.ndarray, weight: np.ndarray, order: int, axis: int | None) -> np.ndarray:
    """Packed polynomial of the angle: in all three axes, or a plane and a polynomial along one axis."""
    trend = polynomial(graph, angle, weight, order if axis is None else min(order, 1))
    if axis is None or order < 2:
        return trend
    at = graph.coordinates(np.arange(graph.size))[:, axis]
    rest = weight * np.exp(1j * (angle - trend))
    planes = np.bincount(at, rest.real) + 1j * np.bincount(at, rest.imag)
    x = np.linspace(-1, 1, planes.size)
    degree = min(order, planes.size - 1)
    profile = np.polynomial.Polynomial.fit(x, np.unwrap(np.angle(planes)), degree, w=np.sqrt(np.abs(planes)))
    return trend + profile(x).astype(np.float32)[at]


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return angle - np.float32(TWO_PI) * np.rint(angle / np.float32(TWO_PI))
