"""How a scan was measured, held against the recommendations of the QSM consensus: each met, not met, or not known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chimap.acquisition import Acquisition

CONSENSUS = "10.1002/mrm.30006"
"""QSM Consensus Organization Committee 2024."""

T2STAR_SOURCE = "10.1016/j.mri.2007.02.014"
PUTAMEN_T2STAR_MS = {1.5: 55.5, 3.0: 31.5, 7.0: 16.1}
"""T2* of the putamen by field strength [T], Peters et al. 2007: the shortest of the tissues that QSM is mostly asked about."""

Status = Literal["met", "not met", "unknown"]


@dataclass(frozen=True)
class Measured:
    """What is known about a scan: `findings` have ``topic`` and ``level``; `mask` is the brain on the scan's grid."""

    acq: Acquisition
    shape: tuple[int, int, int]
    metadata: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]
    magnitude: bool
    mask: np.ndarray | None = None

    def level(self, topic: str) -> str | None:
        """The level of the finding on a topic, None without one."""
        return next((str(f["level"]) for f in self.findings if f["topic"] == topic), None)


Judged = tuple[bool | None, str]


@dataclass(frozen=True)
class Rule:
    """One recommendation: its name, what is wanted, why, and the function that tells whether a scan meets it, and what it has."""

    name: str
    wanted: str
    why: str
    judge: Callable[[Measured], Judged]


def protocol_rows(scan: Measured) -> list[dict[str, str]]:
    """Hold a scan against every rule.

    Returns
    -------
    list of dict
        ``name``, ``status`` ("met", "not met" or "unknown"), ``found``, ``wanted`` and ``why``, in the order of `RULES`.
    """
    rows = []
    for rule in RULES:
        met, found = rule.judge(scan)
        status: Status = "unknown" if met is None else "met" if met else "not met"
        rows.append(
            {"name": rule.name, "status": status, "found": found, "wanted": rule.wanted, "why": rule.why}
        )
    return rows


def summary(rows: Iterable[Mapping[str, str]]) -> str:
    """How many recommendations are met, in one sentence."""
    counts = {s: sum(r["status"] == s for r in rows) for s in ("met", "not met", "unknown")}
    rest = [
        f", {counts[s]} {word}" for s, word in (("not met", "not met"), ("unknown", "not known")) if counts[s]
    ]
    return f"{counts['met']} of {sum(counts.values())} recommendations met{''.join(rest)}"


def putamen_t2star_ms(b0_t: float) -> float | None:
    """T2* of the putamen in ms, its rate interpolated in the field strength; None outside 1.4 to 7.5 T."""
    if not 1.4 <= b0_t <= 7.5:
        return None
    fields = sorted(PUTAMEN_T2STAR_MS)
    return 1.0 / float(np.interp(b0_t, fields, [1 / PUTAMEN_T2STAR_MS[f] for f in fields]))


# -- the judgements ----------------------------------------------------------------------------------------


def _sequence(scan: Measured) -> Judged:
    kind = str(scan.metadata.get("MRAcquisitionType", "")).upper()
    return (None, "not in the sidecar") if not kind else (kind == "3D", kind.replace("D", "-D"))


def _echoes(scan: Measured) -> Judged:
    return scan.acq.echoes >= 3, f"{scan.acq.echoes}"


def _first(scan: Measured) -> Judged:
    first = 1000 * scan.acq.te_s[0]
    return first <= 10, f"{first:.3g} ms"


def _last(scan: Measured) -> Judged:
    last = 1000 * scan.acq.te_s[-1]
    t2star = putamen_t2star_ms(scan.acq.b0_t)
    if t2star is None:
        return None, f"{last:.3g} ms; no T2* is tabled for {scan.acq.b0_t:.3g} T"
    # Rounded as people write both.
    return round(last, 1) >= round(t2star, 1), f"{last:.3g} ms; T2* {t2star:.3g} ms at {scan.acq.b0_t:.3g} T"


def _spacing(scan: Measured) -> Judged:
    gap = 1000 * np.diff(scan.acq.te_s)
    if len(gap) < 2:
        return None, "too few echoes to tell"
    even = float(np.ptp(gap)) <= max(0.01 * float(gap.mean()), 0.011)
    return even, f"{gap.mean():.3g} ms" if even else f"{gap.min():.3g} to {gap.max():.3g} ms"


def _readout(scan: Measured) -> Judged:
    level = scan.level("readout")
    if level is None:
        return None, "not looked at, or too few evenly spaced echoes"
    return level == "ok", "monopolar" if level == "ok" else "bipolar suspected"


def _size(scan: Measured) -> Judged:
    volume = float(np.prod(scan.acq.voxel_size_mm))
    return volume <= 1.02, f"{' × '.join(f'{v:.3g}' for v in scan.acq.voxel_size_mm)} mm, {volume:.3g} mm³"


def _isotropy(scan: Measured) -> Judged:
    ratio = max(scan.acq.voxel_size_mm) / min(scan.acq.voxel_size_mm)
    return (
        ratio <= 1.1,
        "all edges equal" if ratio < 1.005 else f"longest edge {ratio:.3g} times the shortest",
    )


def _coverage(scan: Measured) -> Judged:
    extent = [n * v for n, v in zip(scan.shape, scan.acq.voxel_size_mm, strict=True)]
    found = " × ".join(f"{e:.0f}" for e in extent) + " mm"
    if min(extent) < 110:
        return False, f"{found}: a slab"
    if scan.mask is None:
        return None, f"{found}; not held against a brain mask"
    cut = [name for name, share in _cut(scan.mask) if share > 0.1]
    return (
        not cut,
        f"{found}; the brain mask {'ends at the edge of the grid' if cut else 'is inside the grid'}",
    )


def _cut(mask: np.ndarray) -> list[tuple[str, float]]:
    """Area of the mask in each outermost layer of the grid, as a share of its largest cross-section along that axis."""
    out = []
    for axis, name in enumerate("xyz"):
        area = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
        largest = max(int(area.max()), 1)
        out += [(f"{end}{name}", area[i] / largest) for end, i in (("-", 0), ("+", -1))]
    return out


def _coils(scan: Measured) -> Judged:
    level = scan.level("singularities")
    method = str(scan.metadata.get("CoilCombinationMethod", "")).strip()
    if level is None:
        return None, method or "not looked at, and not in the sidecar"
    what = "no lines of undefined phase" if level == "ok" else "lines of undefined phase: channels cancel"
    return level == "ok", f"{method}; {what}" if method else what


def _unfiltered(scan: Measured) -> Judged:
    level = scan.level("filtered phase")
    if level is None:
        return None, "not looked at, or echo times too short to tell"
    return level == "ok", "not filtered" if level == "ok" else "seems high-pass filtered"


def _magnitude(scan: Measured) -> Judged:
    return scan.magnitude, "both" if scan.magnitude else "phase only"


RULES: tuple[Rule, ...] = (
    Rule("Sequence", "3-D gradient echo", "In 2-D the phase may jump from slice to slice.", _sequence),
    Rule(
        "Phase and magnitude", "both, of each echo",
        "The magnitude gives the brain mask and says how far each voxel's phase can be trusted.", _magnitude,
    ),
    Rule(
        "Number of echoes", "3 or more",
        "Two are needed to tell the field from the phase that is there at TE = 0; more make both robust.", _echoes,
    ),
    Rule(
        "First echo", "as short as possible (here: 10 ms or less)",
        "Strong sources such as bleeds and veins lose their signal soon.", _first,
    ),
    Rule(
        "Last echo", "T2* of the tissue of interest or later (here: putamen)",
        "At TE = T2* the phase says most about weak sources; with shorter echoes the map is noisier.", _last,
    ),
    Rule("Echo spacing", "even", "Even spacing lets echoes be compared and unwrapped in time.", _spacing),
    Rule(
        "Readout", "monopolar",
        "With bipolar readouts odd and even echoes differ in phase and geometry.", _readout,
    ),
    Rule("Voxel size", "1 mm³ or less", "Larger voxels mix tissues: small structures seem weaker.", _size),
    Rule(
        "Isotropic voxels", "edges equal (here: within 10 %)",
        "The dipole field is resolved along all directions or distorted along the coarse one.", _isotropy,
    ),
    Rule(
        "Coverage", "the whole brain",
        "Sources outside a slab cannot be told from background, and the reference may be missing.", _coverage,
    ),
    Rule(
        "Combination of the coils", "with their phases",
        "Channels that cancel leave lines about which no field can be told.", _coils,
    ),
    Rule(
        "Phase as measured", "no filter (homodyne, high-pass)",
        "A filter takes away the field of large structures for good.", _unfiltered,
    ),
)  # fmt: skip
"""Recommendations on the measurement. What the paper gives in words and what chimap takes it to mean is marked "here"."""
