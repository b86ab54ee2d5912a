"""Whether a scan lies within what a network was trained on, and what to say if not."""

from __future__ import annotations

import math

import numpy as np

from chimap.acquisition import Acquisition
from chimap.networks.cards import Card, Span
from chimap.networks.text import range_name, span_text
from chimap.types import Mask, Volume

_ROUNDING = 1e-3


def check_ranges(
    card: Card,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    mask: Mask | None = None,
    snr: float | None = None,
    te: bool = True,
) -> list[str]:
    """What of a scan lies outside the ranges that a network was trained on, a plain sentence each.

    Parameters
    ----------
    card : Card
        The network's card.
    acq : Acquisition
        Of the scan.
    noise : (x, y, z), optional
        Standard deviation of the field in ppm; its median inside `mask` is compared.
    mask : (x, y, z), optional
        Where the noise counts (default: where it is above 0).
    snr : float, optional
        Signal-to-noise ratio of the magnitude.
    te : bool
        Whether echo times matter; not to a network that starts from a field in ppm.

    Returns
    -------
    list of str
        Empty if nothing is outside, as far as the card tells.
    """
    edges = acq.voxel_size_mm
    found: dict[str, Span] = {
        "voxel_size_mm": (min(edges), max(edges)),
        "anisotropy": _twice(max(edges) / min(edges)),
        "b0_angle_deg": _twice(math.degrees(math.acos(min(1.0, abs(acq.b0_dir[2]))))),
        "b0_t": _twice(acq.b0_t),
    }
    if te:
        found |= {"te_s": (acq.te_s[0], acq.te_s[-1]), "echoes": _twice(acq.echoes)}
    if snr is not None:
        found["snr"] = _twice(snr)
    if noise is not None and card.ranges.noise_ppm is not None:
        inside = noise[mask if mask is not None else noise > 0]
        inside = inside[np.isfinite(inside)]
        if inside.size:
            found["noise_ppm"] = _twice(float(np.median(inside)))
    told = []
    for name, values in found.items():
        trained: Span | None = getattr(card.ranges, name)
        if trained is None or _within(trained, *values):
            continue
        what, unit = range_name(name)
        told.append(
            f"this scan is outside what network {card.name} was trained on: {what} {span_text(values, unit)}, "
            f"trained on {span_text(trained, unit)}; the result may be wrong where nothing shows it"
        )
    return told


def _twice(value: float) -> Span:
    return value, value


def _within(span: Span, low: float, high: float) -> bool:
    """With room for the rounding of headers."""
    slack = _ROUNDING * max(abs(span[0]), abs(span[1]))
    return span[0] - slack <= low and high <= span[1] + slack
