"""Combination of uncombined receive channels into one image, free of the channels' own phases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.phase._checks import check_smoothing
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase.mcpc3ds import smooth_phase
from chimap.phase.romeo import unwrap_packed
from chimap.registry import as_mask
from chimap.types import Mask, Progress, Volume, silent

_RATIO = 0.01


def combine_coils(
    phase: Any,
    magnitude: Any,
    acq: Acquisition,
    mask: Mask | None = None,
    *,
    method: Literal["aspire", "mcpc3ds", "vrc"] = "aspire",
    smoothing_mm: float = 5.0,
    order: int = 4,
    progress: Progress | None = None,
) -> tuple[Volume, Volume]:
    r"""Combine receive channels to one phase and one magnitude.

    Each channel's phase at TE = 0 is estimated, smoothed as a complex number inside the mask and taken off; then
    the channels add up coherently, :math:`\sum_c |S_{c,e}| S_{c,e} e^{-i \hat\varphi_c}`, and the square root of the
    sum's size is the magnitude.

    ``aspire`` and ``mcpc3ds`` take :math:`\hat\varphi_c = \varphi_{c,j} - \frac{TE_j}{TE_k - TE_j} \arg H` with
    the product of two echoes :math:`H = \sum_c S_{c,k} S_{c,j}^*`, in which the channels' phases cancel. Where the
    factor is a whole number (:math:`TE_k = 2 TE_j`, for example) the phase of H needs no unwrapping, which
    is ASPIRE; ``aspire`` looks for such a pair of echoes and goes on with ``mcpc3ds`` where there is none. That one
    unwraps H of the first two echoes in space, once for all channels. The combined phase is that of the field
    alone, one constant apart.

    ``vrc`` needs one echo only. All channels are turned so that they agree at the voxel where the weakest of
    them is strongest; their sum over the squares of their size there is a virtual coil which sees the whole object, and
    :math:`\hat\varphi_c = \arg \sum_e S_{c,e} V_e^*`. The virtual coil's own smooth phase stays in the result, the
    same in all echoes.

    Parameters
    ----------
    phase, magnitude : (x, y, z, echo, channel) array-like
        Phase in rad, wrapped, and magnitude in any unit. One volume at a time is read, so that arrays on disk
        (``numpy.memmap``, nibabel's ``dataobj``) need not fit into memory.
    acq : Acquisition
        Echo times and voxel size.
    mask : (x, y, z) bool, optional
        The object. Without one all voxels are combined.
    method : {"aspire", "mcpc3ds", "vrc"}
    smoothing_mm : float
        Standard deviation of the Gaussian that smooths the channels' phases, in mm.
    order : int
        Degree of the polynomial that is taken out of them before and put back after, 0 to 6.
    progress : callable, optional
        Called after each channel; facts: the `method` used and its `echoes` (numbers from 1).

    Returns
    -------
    phase, magnitude : (x, y, z, echo) float32
        Phase in rad, (-pi, pi], and magnitude in the unit of the input times the root of the sum of the squared
        sensitivities. Both 0 outside the mask, each echo contiguous.

    Raises
    ------
    InputError
        If shapes do not fit, ``aspire`` or ``mcpc3ds`` get a single echo, or a parameter is out of range.

    References
    ----------
    Eckstein et al., Magn Reson Med 2018, doi 10.1002/mrm.26963 (ASPIRE, MCPC-3D-S); Parker et al., Magn Reson Med 2014,
    doi 10.1002/mrm.24932 (virtual reference coil).
    """
    shape = tuple(phase.shape)
    if len(shape) != 5 or 0 in shape or tuple(magnitude.shape) != shape:
        raise InputError(
            f"phase has shape {shape} and magnitude {tuple(magnitude.shape)}; both must be (x, y, z, echo, channel)"
        )
    if shape[3] != acq.echoes:
        raise InputError(
            f"phase has {shape[3]} echoes but {acq.echoes} echo times are given",
            fix="Give one echo time per echo",
        )
    if method not in ("aspire", "mcpc3ds", "vrc"):
        raise InputError(f"no method {method!r} of coil combination", fix="Choose aspire, mcpc3ds or vrc")
    if acq.echoes == 1 and method != "vrc":
        raise InputError(f"{method} needs two echoes", fix='Use method "vrc" for a single one')
    check_smoothing(smoothing_mm, order)
    graph = Graph.of(np.ones(shape[:3], bool) if mask is None else as_mask(mask, shape[:3]))

    def read(echo: int, channel: int) -> np.ndarray:
        return _signal(graph, phase, magnitude, echo, channel)

    pair, factor = _pair(acq) if method == "aspire" else ((0, 1), 0)
    if method == "aspire" and not factor:
        method = "mcpc3ds"
    reference = (
        _virtual_coil(graph, read, shape[3], shape[4])
        if method == "vrc"
        else _evolution(read, pair, factor, graph, acq, shape[4])
    )
    used = range(acq.echoes) if method == "vrc" else pair
    sigma = [smoothing_mm / d for d in acq.voxel_size_mm]
    total = np.zeros((acq.echoes, graph.size), np.complex64)
    for c in range(shape[4]):
        echoes = [read(e, c) for e in range(acq.echoes)]
        if method == "vrc":
            product = sum(s * v.conj() for s, v in zip(echoes, reference, strict=True))
        else:
            product = np.abs(echoes[pair[0]]) * echoes[pair[0]] * reference[0]
        weight = np.abs(product)
        weight /= float(weight.max()) or 1
        weight += np.float32(1e-6)
        own = np.exp(-1j * smooth_phase(graph, np.angle(product), weight, sigma, order))
        for out, s in zip(total, echoes, strict=True):
            out += np.abs(s) * s * own
        (progress or silent)(c + 1, shape[4], method=method, echoes=[e + 1 for e in used])
    return graph.unpack(np.angle(total)), graph.unpack(np.sqrt(np.abs(total)))


def _signal(graph: Graph, phase: Any, magnitude: Any, echo: int, channel: int) -> np.ndarray:
    """Packed complex signal of one volume; what is not finite counts as no signal."""
    p, m = (
        np.nan_to_num(
            graph.pack(np.asarray(a[..., echo, channel], np.float32)), copy=False, posinf=0, neginf=0
        )
        for a in (phase, magnitude)
    )
    return m * np.exp(1j * p)


def _pair(acq: Acquisition) -> tuple[tuple[int, int], int]:
    """Two echoes j < k whose TE_j / (TE_k - TE_j) is a whole number (the smallest), and that number or 0."""
    best, factor = (0, 1), 0
    for k in range(1, acq.echoes):
        for j in range(k):
            ratio = acq.te_s[j] / (acq.te_s[k] - acq.te_s[j])
            n = round(ratio)
            if n and abs(ratio - n) <= _RATIO * n and (not factor or n < factor):
                best, factor = (j, k), n
    return best, factor


def _evolution(
    read: Callable[[int, int], np.ndarray],
    pair: tuple[int, int],
    factor: int,
    graph: Graph,
    acq: Acquisition,
    channels: int,
) -> np.ndarray:
    """exp(-i field TE_j) of the pair's first echo, (1, voxel) complex."""
    product = np.zeros(graph.size, np.complex64)
    for c in range(channels):
        product += read(pair[1], c) * read(pair[0], c).conj()
    angle = np.angle(product)
    ratio = float(factor)
    if not factor:
        ratio = acq.te_s[pair[0]] / (acq.te_s[pair[1]] - acq.te_s[pair[0]])
        angle += np.float32(TWO_PI) * unwrap_packed(graph, angle, np.sqrt(np.abs(product)))
    return np.exp(-1j * np.float32(ratio) * angle)[None]


def _virtual_coil(
    graph: Graph, read: Callable[[int, int], np.ndarray], echoes: int, channels: int
) -> np.ndarray:
    """Echoes (echo, voxel) of a coil that sees the whole object: all channels, in phase at one voxel."""
    weakest = np.full(graph.size, np.inf, np.float32)
    for c in range(channels):
        np.minimum(weakest, np.abs(read(0, c)), out=weakest)
    at = int(weakest.argmax())
    out = np.zeros((echoes, graph.size), np.complex64)
    for c in range(channels):
        first = read(0, c)
        turn = first[at].conj() / max(float(np.abs(first[at])) ** 2, 1e-30)
        for e in range(echoes):
            out[e] += turn * (first if e == 0 else read(e, c))
    return out
