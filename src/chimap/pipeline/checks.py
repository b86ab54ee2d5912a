"""What the echoes of a scan say when they are held against each other: its deep checks.

All of it rests on cubes of voxels spread over the object, so that a whole head takes about a second; only
singularities are counted everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.io.findings import Finding
from chimap.io.scan import ScanData
from chimap.phase.bipolar import detect_bipolar
from chimap.phase.singularities import phase_residues
from chimap.pipeline.cubes import SIGNAL, Cubes, halved, polar, signal_mask
from chimap.types import Mask

LINEAR_SHARE = 0.85
"""Below this share of signal voxels whose phase is linear in TE: a warning. Good scans have 0.95 and more."""

WRONG_ECHO = 0.4
"""An echo disagrees whose phase is that of a time this part of the shortest echo spacing away; good scans stay near 0.1 and below."""

UNRELATED = 0.4
"""An echo disagrees whose gradients correlate less than that with those of all others; good scans: above 0.9."""

FLAT_RAD = 0.6
FLAT_SHARE = 0.8
"""Filtered: this share of the signal lies in cubes whose mean phase at the last echo is within `FLAT_RAD` of 0.

Unfiltered phase has 0.1 to 0.4, homodyne filtered one 0.9 and more.
"""

FLAT_TE_T = 0.03
"""Below this product of echo time [s] and field strength [T] unfiltered phase may be flat as well."""

RESIDUES_PER_100K = 5.0
"""Residues per 10^5 voxels from which on channels are suspected to cancel. Good scans have none or next to none; heads
whose channels were added without their phases 6 to 12, and those whose magnitude was combined well meanwhile, so
that no noise hides the lines, 50 and more."""

_FEW_RESIDUES = 10
_TOLERANCE_RAD = 0.2
_SMALL_RAD = 1.2
_COHERENT = 0.9
_SMOOTH = 0.9
_FEW = 20


def deep_checks(data: ScanData) -> list[Finding]:
    """Hold the echoes of a scan against each other and against what phase must be.

    Parameters
    ----------
    data : ScanData
        Phase in rad, magnitude, echo times; the object is the mask, or where the magnitude has signal.

    Returns
    -------
    list of Finding
        One each for linear phase, disagreeing echoes, bipolar readouts, filtered phase and singularities: "ok" or
        "warning", each with its number. What the scan has too few echoes for is left out.
    """
    inside = signal_mask(data)
    if inside is None:
        what = "neither magnitude nor mask: the echoes were not held against each other"
        return [Finding("note", "deep checks", what, "Give the magnitude")]
    cubes = Cubes.of(data, inside)
    linear = echoes = filtered = None
    if cubes is not None:
        linear = linear_finding(cubes, data.acq)
        filtered = filtered_finding(cubes, data.acq)
        echoes = echoes_finding(cubes, data.acq)
    # What a filter leaves has no echo time, and echoes out of order look like bipolar ones.
    if _warns(filtered):
        echoes = None
    bipolar = None if _warns(echoes) else bipolar_finding(data, inside)
    found = (linear, echoes, bipolar, filtered, singular_finding(data))
    return [f for f in found if f is not None]


def _warns(finding: Finding | None) -> bool:
    return finding is not None and finding.level == "warning"


# -- phase linear in TE ------------------------------------------------------------------------------------


def linear_share(cubes: Cubes, acq: Acquisition) -> tuple[float, float] | None:
    """Share of signal voxels whose middle echo is on the line through its neighbours, and the median misfit in rad.

    Within its noise means within 3 standard deviations plus 0.2 rad. Echoes at equal distances are compared
    modulo 2 pi, voxel by voxel. Where distances differ, the steps from voxel to voxel along the last axis are
    compared instead, if below 1.2 rad and so hardly wrapped. Values whose noise exceeds 0.4 rad are left out. None
    if nothing is left.
    """
    good = total = 0
    misfits = []
    gap = np.diff(acq.te_s)
    for e in range(1, acq.echoes - 1):
        equal = abs(gap[e] - gap[e - 1]) <= 0.01 * gap[e]
        a = float(gap[e] / (gap[e] + gap[e - 1]))
        if equal:
            angle, inside = cubes.phase[e - 1 : e + 2], cubes.inside
            power = cubes.magnitude[e - 1 : e + 2] ** 2
        else:
            axis = int(np.argmax(cubes.inside.shape[1:]))
            product, inside = cubes.steps(axis, slice(e - 1, e + 2))
            angle, power = np.angle(product), np.abs(product) / 2
            inside = inside & (np.abs(angle).max(axis=0) < _SMALL_RAD)
        variance = cubes.noise**2 / np.maximum(power, 1e-30)
        sd = np.sqrt(a * a * variance[0] + variance[1] + (1 - a) ** 2 * variance[2])
        use = inside & (sd < 0.4)
        off = (a * angle[0] - angle[1] + (1 - a) * angle[2])[use]
        if equal:
            # Every phase is known up to 2 pi, so their weighted sum is up to pi.
            off -= math.pi * np.rint(off / math.pi)
        off = np.abs(off)
        good += int(np.count_nonzero(off < 3 * sd[use] + _TOLERANCE_RAD))
        total += off.size
        misfits.append(off)
    if total < _FEW:
        return None
    return good / total, float(np.median(np.concatenate(misfits)))


def linear_finding(cubes: Cubes, acq: Acquisition) -> Finding | None:
    """Whether phase grows evenly with TE."""
    found = linear_share(cubes, acq)
    if found is None:
        return None
    share, misfit = found
    what = (
        f"in {100 * share:.0f} % of the signal voxels the phase is linear in TE within its noise "
        f"(median misfit {misfit:.2f} rad)"
    )
    if share >= LINEAR_SHARE:
        return Finding("ok", "phase linearity", what)
    what += f"; {100 * LINEAR_SHARE:.0f} % or more are expected"
    fix = "See the other findings for the cause: echo order, bipolar readouts, filtered phase, motion"
    return Finding("warning", "phase linearity", what, fix)


# -- echoes that disagree ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class EchoTimes:
    """The echo time that each echo's phase looks like, in s, and its correlation with the phase of the others."""

    te_s: np.ndarray
    correlation: np.ndarray


def effective_te(cubes: Cubes, acq: Acquisition) -> EchoTimes | None:
    """Tell the echo times from the phase, up to a common scale and shift, which are those of the given ones.

    Steps between neighbours, averaged over cubes as complex numbers, are the gradient of the field times TE. Their
    moments over the object, C_ef = TE_e TE_f B, have the echo times as first eigenvector. Cubes count where all
    echoes are coherent and no step exceeds 1.2 rad. None where there are too few or the field has no gradient.
    """
    steps, weights = [], []
    for axis in range(3):
        if cubes.inside.shape[axis + 1] < 2:
            continue
        product, inside = cubes.steps(axis)
        product *= inside
        mean = product.sum(axis=(2, 3, 4))
        size = np.abs(product).sum(axis=(2, 3, 4))
        step = np.angle(mean)
        coherent = (np.abs(mean) > _COHERENT * size).all(axis=0)
        use = coherent & (np.abs(step).max(axis=0) < _SMALL_RAD)
        steps.append(step[:, use])
        weights.append(np.sqrt(size[0, use]))
    step, weight = np.concatenate(steps, axis=1), np.concatenate(weights)
    if weight.size < _FEW or not weight.any():
        return None
    moments = (step * weight) @ step.T / weight.sum()
    strength = np.sqrt(np.diag(moments))
    if strength.max() < 0.01:
        return None
    correlation = moments / np.outer(strength, strength)
    seen = np.linalg.eigh(moments)[1][:, -1]
    seen *= np.sign(seen.sum()) or 1.0
    np.fill_diagonal(correlation, 0)
    return EchoTimes(_to_scale(seen, np.asarray(acq.te_s)), np.abs(correlation).max(axis=1))


def _to_scale(seen: np.ndarray, te_s: np.ndarray) -> np.ndarray:
    """Scale and shift `seen` so that as many echoes as possible come near to their given times.

    If the values in rising order fit the given times, they are these times, in whatever order. Else the line goes
    through two echoes or one echo and the origin: whichever leaves the smallest median deviation, then the smallest sum.
    """
    slope, shift = np.polyfit(np.sort(seen), te_s, 1) if np.ptp(seen) > 0 else (0.0, 0.0)
    if slope > 0 and np.abs(slope * np.sort(seen) + shift - te_s).max() < 0.25 * np.diff(te_s).min():
        return slope * seen + shift
    x, y = np.append(seen, 0.0), np.append(te_s, 0.0)
    best, lowest = seen, (math.inf, math.inf)
    for i in range(len(x)):
        for j in range(i):
            slope = (y[i] - y[j]) / (x[i] - x[j]) if x[i] != x[j] else 0.0
            if slope <= 0:
                continue
            scaled = y[i] + slope * (seen - x[i])
            off = np.sort(np.abs(scaled - te_s))
            score = (round(float(off[len(off) // 2]), 6), float(off.sum()))
            if score < lowest:
                best, lowest = scaled, score
    return best


def echoes_finding(cubes: Cubes, acq: Acquisition) -> Finding | None:
    """Whether the phase of each echo is that of its echo time, and if not, of which one it is."""
    if acq.echoes < 3:
        return None
    found = effective_te(cubes, acq)
    if found is None:
        return None
    off = found.te_s - np.asarray(acq.te_s)
    gap = float(np.diff(acq.te_s).min())
    said = []
    for e, te in enumerate(acq.te_s):
        if found.correlation[e] < UNRELATED:
            said.append(
                f"echo {e + 1} at {1000 * te:.3g} ms has little in common with the others "
                f"(correlation {found.correlation[e]:.2f})"
            )
        elif abs(off[e]) > WRONG_ECHO * gap:
            said.append(f"echo {e + 1} at {1000 * te:.3g} ms has the phase of {1000 * found.te_s[e]:.1f} ms")
    if not said:
        what = f"the phase of each echo is that of its echo time within {1000 * np.abs(off).max():.2g} ms"
        return Finding("ok", "echo agreement", what)
    fix = "Check order and times of the echoes, and whether all are of one scan and unfiltered"
    return Finding("warning", "echo agreement", "; ".join(said), fix)


# -- bipolar readouts --------------------------------------------------------------------------------------


def bipolar_finding(data: ScanData, inside: Mask) -> Finding | None:
    """Phase by which odd and even echoes differ."""
    gap = np.diff(data.acq.te_s)
    if len(gap) < 2 or not (np.abs(np.diff(gap)) <= 0.01 * gap[1:]).any():
        return None
    seen = detect_bipolar(data.phase, data.magnitude, inside, data.acq)
    if not seen.found:
        what = f"odd and even echoes do not differ by a phase ramp ({seen.amplitude_rad:.3f} rad): monopolar"
        return Finding("ok", "readout", what)
    what = (
        f"odd and even echoes differ by +-{seen.amplitude_rad:.2f} rad (standard deviation over the object), mostly "
        f"along axis {'xyz'[seen.axis]}: bipolar readouts are suspected"
    )
    fix = "The field stage takes it off where its parameter bipolar is auto; monopolar readouts avoid it"
    return Finding("warning", "readout", what, fix)


# -- filtered phase ----------------------------------------------------------------------------------------


def flat_share(cubes: Cubes) -> float:
    """Share of the last echo's signal that lies in cubes whose mean phase is nearly 0."""
    signal = polar(cubes.magnitude[-1] * cubes.inside, cubes.phase[-1]).sum(axis=(1, 2, 3))
    weight = np.abs(signal)
    return float(weight[np.abs(np.angle(signal)) < FLAT_RAD].sum() / max(float(weight.sum()), 1e-30))


def filtered_finding(cubes: Cubes, acq: Acquisition) -> Finding | None:
    """Whether the phase was high-pass filtered: it is then 0 on average everywhere."""
    last = max(acq.te_s)
    if last * acq.b0_t < FLAT_TE_T:
        return None
    share = flat_share(cubes)
    what = f"{100 * share:.0f} % of the signal at {1000 * last:.3g} ms has a mean phase within {FLAT_RAD:g} rad of 0"
    if share < FLAT_SHARE:
        return Finding("ok", "filtered phase", f"{what}: not filtered")
    what += ": it seems high-pass filtered, as for susceptibility-weighted images"
    return Finding("warning", "filtered phase", what, "Export the unfiltered phase")


# -- singularities -----------------------------------------------------------------------------------------


def singular_residues(data: ScanData) -> tuple[int, float] | None:
    """2 pi residues that all echoes have in common: their number, and per 10^5 voxels looked at.

    Channels that cancel leave a line about which the phase of every echo turns by 2 pi, while the phase between
    two echoes stays smooth. Residues of the first echo are counted where that is so, which leaves out what noise and steep
    fields make. Noise is reduced first by means over 2 x 2 x 2 voxels. None without a second echo or such voxels.
    """
    if data.acq.echoes < 2:
        return None
    echoes = []
    for e in range(2):
        phase = np.ascontiguousarray(data.phase[..., e])
        magnitude = np.ones_like(phase) if data.magnitude is None else data.magnitude[..., e]
        part = magnitude if data.mask is None else magnitude * data.mask
        echoes.append(halved(part * np.cos(phase)) + 1j * halved(part * np.sin(phase)))
    first = np.abs(echoes[0])
    some = first[first > 0]
    if not some.size:
        return None
    between = echoes[1] * echoes[0].conj()
    real, imag, size = (ndimage.uniform_filter(v, 3) for v in (between.real, between.imag, np.abs(between)))
    smooth = np.hypot(real, imag) > _SMOOTH * size
    smooth &= first > SIGNAL * float(np.percentile(some, 95))
    if np.count_nonzero(smooth) < _FEW:
        return None
    found = phase_residues(np.angle(echoes[0]).astype(np.float32), smooth)
    return found.count, found.per_100k


def singular_finding(data: ScanData) -> Finding | None:
    """Whether lines of undefined phase run through the object."""
    found = singular_residues(data)
    if found is None:
        return None
    count, share = found
    what = f"{count} phase residues that all echoes share, {share:.1f} in 10^5 voxels of signal"
    # A few may be the ends of a vein or a sinus.
    if share < RESIDUES_PER_100K or count < _FEW_RESIDUES:
        return Finding("ok", "singularities", what)
    what += (
        ": the phase turns about lines through the object, as after a bad combination of the receive channels"
    )
    fix = "Combine the channels with their phases (ASPIRE), or export with adaptive combination"
    return Finding("warning", "singularities", what, fix)
