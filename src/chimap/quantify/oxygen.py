r"""Oxygen in veins from their susceptibility: saturation, extraction by region, and consumption.

.. math:: \mathrm{SvO_2} = 1 - \frac{\Delta\chi - H\,\Delta\chi_{oxy}}{H\,\Delta\chi_{do}},\qquad
   \mathrm{OEF} = 1 - \frac{\mathrm{SvO_2}}{\mathrm{SaO_2}},\qquad
   \mathrm{CMRO_2} = \mathrm{CBF}\cdot\mathrm{SaO_2}\cdot\mathrm{OEF}\cdot c\,H

with the vein's susceptibility against the tissue around :math:`\Delta\chi`, the haematocrit H, what full deoxygenation adds to the
susceptibility of red cells :math:`\Delta\chi_{do}`, what fully oxygenated red cells have against the tissue :math:`\Delta\chi_{oxy}` (0
unless given), and the haem in red cells c. Weisskoff and Kiihne 1992, doi:10.1002/mrm.1910240219; Haacke et al. 2010,
doi:10.1002/jmri.22276; Fan et al. 2014, doi:10.1002/mrm.24918; :math:`\Delta\chi_{do}` = 0.27 ppm (cgs) from Spees et al. 2001,
doi:10.1002/mrm.1072, and Jain et al. 2012, doi:10.1002/mrm.23282; CMRO2 as in Rodgers et al. 2016, doi:10.1177/0271678X16643090.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.numerics.blood import ARTERIAL, DO_CGS_PPM, HAEMATOCRIT
from chimap.quantify.veins import Segment
from chimap.types import Mask, Volume

HAEM_UMOL_PER_ML = 20.7
"""Haem, and so places for O2, in a millilitre of red cells: 333 g/L of haemoglobin at 16.1 g for a millimole of haem."""

BETWEEN = 0.03
"""Spread of saturation between veins of one territory that their errors do not explain, in the weights of regional means."""


@dataclass(frozen=True)
class Blood:
    """What the conversion takes as known.

    Attributes
    ----------
    haematocrit, haematocrit_sd : float
        Red cells as a part of blood's volume, and its standard deviation.
    sao2 : float
        Saturation of arterial blood, a part of 1.
    do_cgs_ppm : float
        Susceptibility of deoxygenated against oxygenated red cells in ppm, cgs; times 4 pi in SI.
    oxygenated_ppm : float
        Susceptibility of fully oxygenated red cells against the tissue around, in ppm SI. Against water it is about -0.1
        (Jain et al. 2012).
    """

    haematocrit: float = HAEMATOCRIT
    haematocrit_sd: float = 0.03
    sao2: float = ARTERIAL
    do_cgs_ppm: float = DO_CGS_PPM
    oxygenated_ppm: float = 0.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.haematocrit <= 0.7:
            raise InputError(
                f"haematocrit {self.haematocrit:g} is outside 0.1 to 0.7",
                fix="Give a part of 1, such as 0.42",
            )
        if not 0 <= self.haematocrit_sd <= 0.2:
            raise InputError(
                f"the haematocrit's standard deviation {self.haematocrit_sd:g} is outside 0 to 0.2"
            )
        if not 0.3 <= self.sao2 <= 1:
            raise InputError(
                f"arterial saturation {self.sao2:g} is outside 0.3 to 1", fix="Give a part of 1, such as 0.98"
            )
        if not 0.1 <= self.do_cgs_ppm <= 0.4:
            raise InputError(
                f"deoxygenation of {self.do_cgs_ppm:g} ppm (cgs) is outside 0.1 to 0.4",
                fix="Give it in cgs units, such as 0.27; SI values are 4 pi times as large",
            )

    @property
    def do_ppm(self) -> float:
        """Susceptibility of deoxygenated against oxygenated red cells in ppm, SI."""
        return 4 * math.pi * self.do_cgs_ppm


@dataclass(frozen=True)
class Oxygen:
    """Saturation and extraction of one vein or region as parts of 1.

    `svo2_se` comes from susceptibility alone, `svo2_se_all` has the haematocrit's uncertainty too, which all veins of a person share; likewise
    for `oef`.
    """

    svo2: float
    svo2_se: float
    svo2_se_all: float
    oef: float
    oef_se: float
    oef_se_all: float


def oxygen_of(chi_ppm: float, chi_se: float, blood: Blood) -> Oxygen:
    """Oxygen of venous blood from its susceptibility against the tissue around and its standard error, in ppm."""
    h, do = blood.haematocrit, blood.do_ppm
    y = 1 - (chi_ppm / h - blood.oxygenated_ppm) / do
    se = chi_se / (h * do)
    shared = abs(chi_ppm) / (h * h * do) * blood.haematocrit_sd
    both = math.hypot(se, shared)
    return Oxygen(y, se, both, 1 - y / blood.sao2, se / blood.sao2, both / blood.sao2)


def reliable(segment: Segment, blood: Blood) -> str:
    """Why a segment is not used for regions; "" if it is."""
    if segment.note:
        return segment.note
    y = oxygen_of(segment.chi_ppm, segment.chi_se, blood).svo2
    return "" if 0 <= y <= 1 else "saturation outside 0 to 1"


@dataclass(frozen=True)
class Territory:
    """One region: its reliable veins and their oxygen, weighted; blood flow and consumption.

    `cbf` in mL/100 g/min and `cmro2`, `cmro2_se` in micromol/100 g/min are NaN without a map of blood flow; `oxygen` is None
    without a reliable vein. `length_mm` is that of the veins used.
    """

    label: int
    name: str
    segments: tuple[int, ...]
    length_mm: float
    oxygen: Oxygen | None
    cbf: float
    cmro2: float
    cmro2_se: float


def territories(
    segments: Sequence[Segment],
    blood: Blood,
    voxel_size_mm: Sequence[float],
    *,
    labels: np.ndarray | None = None,
    names: Mapping[int, str] | None = None,
    cbf: Volume | None = None,
    mask: Mask | None = None,
    within_mm: float = 5.0,
) -> list[Territory]:
    """Oxygen by region, and over all reliable veins (label 0, named "all veins", first).

    Parameters
    ----------
    segments : sequence of Segment
        From `chimap.quantify.veins.find_veins`.
    blood : Blood
        What is taken as known.
    voxel_size_mm : 3 float
        Voxel size.
    labels : (x, y, z) int, optional
        Territories. A segment belongs to the one that most of its middle line lies in or is nearest to.
    names : mapping, optional
        Names of the labels.
    cbf : (x, y, z) float32, optional
        Blood flow in mL/100 g/min. Of a region the mean over voxels above 0 counts.
    mask : (x, y, z) bool, optional
        Where the mean of `cbf` for all veins is taken (default: where it is above 0).
    within_mm : float
        Veins farther than this from every territory belong to none.

    Returns
    -------
    list of Territory

    Notes
    -----
    Weights are the length over the variance, which is that of the saturation and 3 points of spread between veins. Weighted in CMRO2
    the haematocrit nearly cancels: c H (SaO2 - SvO2) = c (Delta chi / Delta chi_do - H (1 - SaO2)).
    """
    used = [s for s in segments if not reliable(s, blood)]
    groups: list[tuple[int, str, list[Segment], Mask | None]] = [(0, "all veins", used, mask)]
    if labels is not None:
        whole = np.rint(np.nan_to_num(np.asarray(labels))).astype(np.int32)
        if not whole.any():
            raise InputError("the label image is empty", fix="Give one with labels, or leave it out")
        distance, where = ndimage.distance_transform_edt(
            whole == 0, sampling=voxel_size_mm, return_indices=True
        )
        home = {s.number: _home(s, whole, distance, where, voxel_size_mm, within_mm) for s in used}
        for n in np.unique(whole[whole > 0]).tolist():
            own = [s for s in used if home[s.number] == n]
            groups.append((n, (names or {}).get(n, f"label {n}"), own, whole == n))
    out = []
    for number, name, own, where_ in groups:
        oxygen, chi_se = _mean(own, blood)
        flow = math.nan
        if cbf is not None:
            good = np.isfinite(cbf) & (cbf > 0)
            good &= True if where_ is None else where_
            flow = float(cbf[good].mean(dtype=np.float64)) if good.any() else math.nan
        rate = error = math.nan
        if oxygen is not None and cbf is not None:
            rate = flow * (blood.sao2 - oxygen.svo2) * HAEM_UMOL_PER_ML * blood.haematocrit
            by_chi = flow * HAEM_UMOL_PER_ML / blood.do_ppm * chi_se
            # The slope of the rate against the haematocrit, at the susceptibility that was measured.
            slope = HAEM_UMOL_PER_ML * (blood.sao2 - 1 - blood.oxygenated_ppm / blood.do_ppm)
            error = math.hypot(by_chi, flow * slope * blood.haematocrit_sd)
        out.append(
            Territory(
                number, name, tuple(s.number for s in own), sum(s.length_mm for s in own), oxygen, flow, rate, error
            )
        )  # fmt: skip
    return out


def _home(
    s: Segment,
    labels: np.ndarray,
    distance: np.ndarray,
    where: np.ndarray,
    voxel: Sequence[float],
    within_mm: float,
) -> int:
    """The label that most points of a segment lie in or next to; 0 for none."""
    at = np.rint(s.line_mm / np.asarray(voxel)).astype(int)
    at = np.clip(at, 0, np.array(labels.shape) - 1)
    index = tuple(at.T)
    nearest = labels[tuple(w[index] for w in where)]
    nearest = np.where(distance[index] <= within_mm, nearest, 0)
    values, counts = np.unique(nearest, return_counts=True)
    return int(values[counts.argmax()])


def _mean(segments: Sequence[Segment], blood: Blood) -> tuple[Oxygen | None, float]:
    """Weighted oxygen of some segments, and the standard error of their mean susceptibility."""
    if not segments:
        return None, math.nan
    chi = np.array([s.chi_ppm for s in segments])
    variance = np.array([s.chi_se for s in segments]) ** 2 + (BETWEEN * blood.haematocrit * blood.do_ppm) ** 2
    weight = np.array([s.length_mm for s in segments]) / variance
    weight /= weight.sum()
    mean = float(weight @ chi)
    se = float(np.sqrt((weight**2 * variance).sum()))
    return oxygen_of(mean, se, blood), se
