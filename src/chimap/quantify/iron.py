"""From susceptibility to iron, and what is normal at an age."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.quantify.labels import side_of


@dataclass(frozen=True)
class Calibration:
    """A straight line from iron to susceptibility: chi = `iron_free_ppb` + `slope` * iron.

    Attributes
    ----------
    name : str
    slope : float
        ppb per mg of iron in a kg of wet tissue (the same as ppb per microgram in a gram).
    slope_sd : float or None
        Its standard deviation, if the paper gives one.
    iron_free_ppb : float
        Susceptibility of tissue without iron, relative to the reference of the map.
    range_mg_kg : (float, float)
        Iron for which the line is used without a flag.
    doi, about : str
        Paper, and what was measured.
    """

    name: str
    slope: float
    slope_sd: float | None = None
    iron_free_ppb: float = 0.0
    range_mg_kg: tuple[float, float] = (0.0, 285.0)
    doi: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and self.slope > 0):
            raise InputError(
                f"the slope of an iron calibration is {self.slope}; ppb per mg/kg above 0 are expected"
            )
        if not self.range_mg_kg[0] < self.range_mg_kg[1]:
            raise InputError(f"the range of an iron calibration {self.range_mg_kg} does not rise")


CALIBRATIONS: dict[str, Calibration] = {
    c.name: c
    for c in (
        Calibration(
            "langkammer2012",
            0.89,
            range_mg_kg=(25.0, 285.0),
            doi="10.1016/j.neuroimage.2012.05.049",
            about="grey matter of 13 unfixed brains in situ, against mass spectrometry; r = 0.84. White matter does not follow it (r = 0.27)",
        ),
        Calibration(
            "zheng2013",
            1.10,
            slope_sd=0.08,
            range_mg_kg=(0.0, 285.0),
            doi="10.1016/j.neuroimage.2013.04.022",
            about="ferritin, against X-ray fluorescence and mass spectrometry",
        ),
    )
}
"""Published calibrations. Their range ends here where normal grey matter does: 285 mg/kg is the globus pallidus' mean plus two
standard deviations, 25 mg/kg prefrontal cortex's mean minus one (`ADULTS`). Beyond it the line is an extrapolation."""

DEFAULT = "langkammer2012"

LEAST_CORE = 20
"""Voxels that have to be left without a region's outer layer for iron to be read from there."""

HALLGREN_DOI = "10.1111/j.1471-4159.1958.tb12607.x"
CURVES: dict[str, tuple[float, float, float]] = {
    "globus pallidus": (21.41, 0.09, 0.37),
    "putamen": (14.62, 0.04, 0.46),
    "caudate": (9.66, 0.05, 0.33),
    "frontal white matter": (3.95, 0.10, 0.31),
}
"""Hallgren and Sourander 1958: a, b, c of a (1 - exp(-b age)) + c, in mg iron per 100 g fresh tissue, age in years."""

ADULTS: dict[str, tuple[float, float]] = {
    "globus pallidus": (21.30, 3.49),
    "red nucleus": (19.48, 6.86),
    "substantia nigra": (18.46, 6.52),
    "putamen": (13.32, 3.43),
    "dentate nucleus": (10.35, 4.86),
    "caudate": (9.28, 2.14),
    "thalamus": (4.76, 1.16),
    "frontal white matter": (4.24, 0.88),
    "prefrontal cortex": (2.92, 0.41),
}
"""The same paper: mean and standard deviation between people of 30 to 100 years, in mg per 100 g fresh tissue."""

ADULT, OLDEST = 30.0, 100.0
"""Ages in years from which `ADULTS` holds, and to which the curves reach."""

_NUCLEI = {
    "globus pallidus": ("globus pallidus", "pallidum", "gp", "gpe", "gpi"),
    "putamen": ("putamen", "pu", "put"),
    "caudate": ("caudate", "caudate nucleus", "ca", "cau"),
    "red nucleus": ("red nucleus", "rn"),
    "substantia nigra": ("substantia nigra", "sn", "snc", "snr", "substantia nigra and subthalamic nucleus"),
    "dentate nucleus": ("dentate nucleus", "dentate", "dn"),
    "thalamus": ("thalamus", "thalamus proper"),
    "frontal white matter": ("frontal white matter",),
    "prefrontal cortex": ("prefrontal cortex",),
}  # fmt: skip


LIMITS = (
    "Iron is inferred, not measured. Susceptibility is known up to the reference; myelin and calcium lower it, veins and "
    "microbleeds raise it. The normal values come from one study of brains after death. People differ by a third and more, "
    "most of all in red nucleus and substantia nigra. Not for diagnosis."
)
"""What anyone who reads a number of iron has to know."""


def said_of(line: Calibration, reference: str) -> str:
    """A calibration in one or two sentences."""
    slope = f"{line.slope:g}" + (f" ± {line.slope_sd:g}" if line.slope_sd else "")
    low, high = line.range_mg_kg
    return (
        f"Iron = (susceptibility relative to {reference or 'the reference'} − {line.iron_free_ppb:g} ppb) / {slope} ppb per mg/kg, calibration "
        f"{line.name} ({line.about}{f'; doi:{line.doi}' if line.doi else ''}). "
        f"The line is used from {low:g} to {high:g} mg/kg; values beyond are flagged."
    )


def calibration(
    name: str = DEFAULT,
    *,
    slope: float | None = None,
    iron_free_ppb: float | None = None,
    range_mg_kg: tuple[float, float] | None = None,
) -> Calibration:
    """A published calibration by name, or the user's own from `slope`; the other values overrule the published ones.

    Raises
    ------
    InputError
        If there is no such name, or a value cannot be.
    """
    if slope is None and name not in CALIBRATIONS:
        known = ", ".join(CALIBRATIONS)
        raise InputError(
            f"there is no iron calibration {name!r}", fix=f"Choose one of: {known}; or give a slope"
        )
    c = CALIBRATIONS[name] if slope is None else Calibration("own", slope, about="given by the user")
    return Calibration(
        c.name,
        c.slope,
        c.slope_sd,
        c.iron_free_ppb if iron_free_ppb is None else iron_free_ppb,
        c.range_mg_kg if range_mg_kg is None else range_mg_kg,
        c.doi,
        c.about,
    )


def iron_mg_kg(chi_ppb: Any, line: Calibration) -> Any:
    """Iron in mg per kg wet tissue from susceptibility in ppb, a number or an array; not cut at 0.

    The inverse of the line of `Calibration`. Susceptibility is known up to the reference, so iron is only as good as
    `Calibration.iron_free_ppb` fits the reference of the map.
    """
    return (np.asarray(chi_ppb, np.float64) - line.iron_free_ppb) / line.slope


def iron_sd_mg_kg(chi_ppb: float, chi_sd_ppb: float | None, line: Calibration) -> float | None:
    """Standard deviation of iron from that of the susceptibility and of the slope; None if neither is known."""
    parts = []
    if chi_sd_ppb is not None:
        parts.append(chi_sd_ppb / line.slope)
    if line.slope_sd is not None:
        parts.append((chi_ppb - line.iron_free_ppb) * line.slope_sd / line.slope**2)
    return math.hypot(*parts) if parts else None


def flag(iron: float, line: Calibration) -> str:
    """ "below" or "above" the range of the calibration, or ""."""
    low, high = line.range_mg_kg
    return "below" if iron < low else "above" if iron > high else ""


def hallgren_region(name: str) -> str | None:
    """The region of `ADULTS` that a name means, with or without side; None if none."""
    _, plain = side_of(name)
    return next((region for region, words in _NUCLEI.items() if plain in words), None)


def normal_iron(region: str, age_years: Any) -> Any:
    """Normal iron in mg per kg at an age, a number or an array.

    Parameters
    ----------
    region : str
        One of `CURVES`.
    age_years : float or array
        0 to 100 years.

    Returns
    -------
    float or ndarray
        :math:`10 (a (1 - e^{-b t}) + c)`.

    Raises
    ------
    InputError
        If the paper has no curve for the region, or the age is not 0 to 100 years.

    References
    ----------
    Hallgren and Sourander, J Neurochem 1958, doi:10.1111/j.1471-4159.1958.tb12607.x.
    """
    if region not in CURVES:
        raise InputError(f"there is no age curve of {region!r}", fix=f"Choose one of: {', '.join(CURVES)}")
    age = np.asarray(age_years, np.float64)
    if not (np.isfinite(age).all() and (age >= 0).all() and (age <= OLDEST).all()):
        raise InputError(f"the age {age_years} is not 0 to {OLDEST:g} years")
    a, b, c = CURVES[region]
    out = 10 * (a * (1 - np.exp(-b * age)) + c)
    return float(out) if out.ndim == 0 else out


def iron_rows(
    rows: Sequence[Mapping[str, Any]], line: Calibration | None = None, *, age_years: float | None = None
) -> list[dict[str, Any]]:
    """Rows of `chimap.quantify.regions.region_rows` with iron, for the grey matter that the normal values know.

    Other regions get no iron: the calibrations hold for grey matter, and white matter's susceptibility is mostly
    myelin's. Iron is read from the region without its outer layer of voxels where 20 voxels or more are left. That layer
    holds two tissues, and reconstruction blurs it: with it, nuclei come out a tenth too low.

    Parameters
    ----------
    rows : sequence of mapping
        With ``name`` and ``mean_ppb``; ``eroded_mean_ppb`` with ``eroded_voxels`` and ``se_ppb`` are used where they are.
    line : Calibration, optional
        Default: `DEFAULT`.
    age_years : float, optional
        For the curves; without it, and for nuclei without a curve, the mean of adults stands.

    Returns
    -------
    list of dict
        Copies with ``iron_mg_kg, iron_sd_mg_kg, iron_flag, iron_from, normal_mg_kg, normal_sd_mg_kg`` where the name is known.
    """
    line = line or CALIBRATIONS[DEFAULT]
    out = []
    for row in rows:
        new = dict(row)
        region = hallgren_region(str(row["name"]))
        if region is not None and "white" not in region:
            core = row.get("eroded_mean_ppb") is not None and row["eroded_voxels"] >= LEAST_CORE
            chi = row["eroded_mean_ppb"] if core else row["mean_ppb"]
            iron = float(iron_mg_kg(chi, line))
            sd = iron_sd_mg_kg(chi, row.get("se_ppb"), line)
            aged = age_years is not None and region in CURVES
            normal = normal_iron(region, age_years) if aged else 10 * ADULTS[region][0]
            new["iron_mg_kg"] = round(iron, 1)
            new["iron_sd_mg_kg"] = None if sd is None else round(sd, 1)
            new["iron_flag"] = flag(iron, line)
            new["iron_from"] = "without rim" if core else "whole region"
            new["normal_mg_kg"] = round(normal, 1)
            new["normal_sd_mg_kg"] = round(10 * ADULTS[region][1], 1)
        out.append(new)
    return out
