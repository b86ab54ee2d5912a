"""Echo times for a field strength: what the decay of tissue, wraps between echoes and steps between voxels allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import GAMMA_BAR_MHZ_PER_T
from chimap.errors import InputError
from chimap.pipeline.protocol import PUTAMEN_T2STAR_MS

T2STAR_MS: dict[str, dict[float, float]] = {
    "cortex": {1.5: 84.0, 3.0: 66.0, 7.0: 33.2},
    "white matter": {1.5: 66.2, 3.0: 53.2, 7.0: 26.8},
    "putamen": PUTAMEN_T2STAR_MS,
}
"""T2* in ms by tissue and field strength in T, Peters et al. 2007, doi:10.1016/j.mri.2007.02.014."""


@dataclass(frozen=True)
class Tissue:
    """T2* of a tissue at a field strength; `extrapolated` where it was measured on one side of that field only."""

    name: str
    t2star_ms: float
    extrapolated: bool


@dataclass(frozen=True)
class Echoes:
    """What a train of echoes gives.

    Attributes
    ----------
    te_ms : tuple of float
    noise_ppb : dict
        Standard deviation of the field in ppb by tissue, for an SNR of 100 at TE = 0, echoes weighted by signal.
    of_best : dict
        That noise over that of the best train with the same first echo, spacing and as many echoes as one likes up to 3 T2*.
    span_ppm : float
        Largest difference of the field from its mean that turns the phase by less than half a turn from echo to echo.
    step_ppm : float
        Largest difference of the field between neighbouring voxels with less than half a turn at the last echo.
    """

    te_ms: tuple[float, ...]
    noise_ppb: dict[str, float]
    of_best: dict[str, float]
    span_ppm: float
    step_ppm: float


def t2star(b0_t: float) -> list[Tissue]:
    """T2* of the tabled tissues at a field strength. R2* grows linearly with the field, inside the table and (marked) beyond it.

    Raises
    ------
    InputError
        If the field strength is outside 0.5 to 12 T.
    """
    if not 0.5 <= b0_t <= 12:
        raise InputError(f"no T2* is known for {b0_t:g} T", fix="Give 0.5 to 12 T")
    out = []
    for name, table in T2STAR_MS.items():
        fields = sorted(table)
        rates = [1000 / table[f] for f in fields]
        line = np.polyfit(fields, rates, 1)
        beyond = not fields[0] - 0.1 <= b0_t <= fields[-1] + 0.5
        rate = float(np.polyval(line, b0_t)) if beyond else float(np.interp(b0_t, fields, rates))
        out.append(Tissue(name, 1000 / max(rate, 1.0), beyond))
    return out


def field_noise_ppb(
    te_ms: Sequence[float] | np.ndarray, t2star_ms: float, b0_t: float, snr: float = 100.0
) -> float:
    r"""SD of the field in ppb from echoes that are weighted by signal, phase offset known.

    :math:`\sigma_B = 1 / (SNR_0\, 2\pi\bar\gamma B_0 \sqrt{\sum_j T_j^2 e^{-2 T_j / T_2^*}})`; for one echo it is least at T2*.
    """
    te = np.asarray(te_ms, float)
    information = float((te**2 * np.exp(-2 * te / t2star_ms)).sum()) * 1e-6
    if information <= 0:
        return math.inf
    return 1e9 / (snr * 2 * math.pi * GAMMA_BAR_MHZ_PER_T * 1e6 * b0_t * math.sqrt(information))


def judge(te_ms: Sequence[float], b0_t: float) -> Echoes:
    """Hold echo times against the tissues' T2* at this field strength."""
    te = tuple(float(t) for t in te_ms)
    if not te or any(t <= 0 for t in te) or any(b <= a for a, b in zip(te, te[1:])):
        raise InputError(f"echo times {te_ms} ms are not positive and increasing")
    gap = min((b - a for a, b in zip(te, te[1:])), default=te[0])
    hz_per_ppm = GAMMA_BAR_MHZ_PER_T * b0_t
    noise, share = {}, {}
    for tissue in t2star(b0_t):
        noise[tissue.name] = field_noise_ppb(te, tissue.t2star_ms, b0_t)
        longest = np.arange(te[0], max(3 * tissue.t2star_ms, te[-1]) + gap / 2, gap)
        share[tissue.name] = noise[tissue.name] / field_noise_ppb(longest, tissue.t2star_ms, b0_t)
    return Echoes(te, noise, share, 500 / (gap * hz_per_ppm), 500 / (te[-1] * hz_per_ppm))


def propose(b0_t: float, *, first_ms: float | None = None, spacing_ms: float | None = None) -> Echoes:
    """An even train that ends at about the T2* of white matter: by default a seventh of it apart, the first at most at 5 ms.

    At least three echoes. Whether the spacing suits the field of a head is for `Echoes.span_ppm` to say: spatial unwrapping of each echo
    needs only `Echoes.step_ppm`.
    """
    last = {t.name: t.t2star_ms for t in t2star(b0_t)}["white matter"]
    gap = last / 7 if spacing_ms is None else float(spacing_ms)
    first = min(5.0, gap) if first_ms is None else float(first_ms)
    if not (first > 0 and gap > 0):
        raise InputError(f"first echo {first:g} ms and spacing {gap:g} ms are not both positive")
    count = max(3, 1 + round((last - first) / gap))
    return judge([round(first + n * gap, 2) for n in range(count)], b0_t)
