"""Tables of veins and of the oxygen in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chimap.numerics.blood import DO_CGS_PPM
from chimap.quantify.oxygen import HAEM_UMOL_PER_ML, Blood, Territory, oxygen_of, reliable
from chimap.quantify.veins import Segment

METHOD = "tube fit"

VEINS: dict[str, tuple[str, str]] = {
    "number": ("", "Number in the label image and the figure"),
    "vein": ("", "Vein that the segment belongs to; longest first"),
    "x": ("mm", "Middle of the segment to the right (RAS, as the image's affine has it)"),
    "y": ("mm", "Middle to the front"),
    "z": ("mm", "Middle up"),
    "length": ("mm", "Length along the middle line"),
    "diameter": ("mm", "Inner diameter, fitted together with the susceptibility"),
    "diameter_se": ("mm", "Its standard error"),
    "angle": ("degree", "Angle of the segment to B0"),
    "chi": (
        "ppb",
        "Susceptibility against the tissue around, corrected for partial volume and regularisation",
    ),
    "chi_se": ("ppb", "Its standard error"),
    "chi_map": (
        "ppb",
        "Mean of the map over the lumen against the tissue around: not corrected, too low in thin veins",
    ),
    "r2star_contrast": ("1/s", "R2* in the lumen less the median around"),
    "signal": ("", "Signal of blood over that of tissue, as the field map weighs them (fitted)"),
    "svo2": ("%", "Saturation of venous blood with oxygen"),
    "svo2_se": ("%", "Its standard error from the susceptibility"),
    "svo2_se_all": ("%", "The same with the haematocrit's uncertainty, which all veins of a person share"),
    "oef": ("%", "Oxygen extraction fraction, 1 - SvO2/SaO2"),
    "oef_se": ("%", "Its standard error from the susceptibility"),
    "oef_se_all": ("%", "The same with the haematocrit's uncertainty"),
    "territory": ("", "Region that most of the segment lies in or next to; of reliable segments only"),
    "reliable": ("", "yes: used for regions"),
    "note": ("", "Why not"),
}
"""Columns of the table of segments, name to unit and description."""

REGIONS: dict[str, tuple[str, str]] = {
    "label": ("", "Number in the label image; 0: all reliable veins"),
    "name": ("", "Name of the region"),
    "segments": ("", "Reliable segments in it"),
    "length": ("mm", "Their length"),
    "svo2": ("%", "Mean saturation, weighted by length over variance"),
    "svo2_se": ("%", "Its standard error from the susceptibility and the spread between veins"),
    "svo2_se_all": ("%", "The same with the haematocrit's uncertainty"),
    "oef": ("%", "Oxygen extraction fraction, 1 - SvO2/SaO2"),
    "oef_se": ("%", "Its standard error from the susceptibility and the spread between veins"),
    "oef_se_all": ("%", "The same with the haematocrit's uncertainty"),
    "cbf": ("mL/100 g/min", "Mean blood flow of the region, as given"),
    "cmro2": ("umol/100 g/min", "Oxygen consumption, CBF x SaO2 x OEF x haem in blood"),
    "cmro2_se": ("umol/100 g/min", "Its standard error from susceptibility and haematocrit; that of the blood flow is not in it"),
}  # fmt: skip
"""Columns of the table of regions."""


def vein_rows(
    segments: Sequence[Segment], blood: Blood, regions: Sequence[Territory] = ()
) -> list[dict[str, Any]]:
    """A row for each segment, in ppb, mm and per cent."""
    home = {n: t.name for t in regions if t.label for n in t.segments}
    rows = []
    for s in segments:
        note = reliable(s, blood)
        x, y, z = s.position_mm or (math.nan,) * 3
        o = oxygen_of(s.chi_ppm, s.chi_se, blood)
        row = {
            "number": s.number,
            "vein": s.vein,
            "x": round(x, 1),
            "y": round(y, 1),
            "z": round(z, 1),
            "length": round(s.length_mm, 1),
            "diameter": round(s.diameter_mm, 2),
            "diameter_se": round(s.diameter_se, 2),
            "angle": round(s.angle_deg, 1),
            "chi": round(1000 * s.chi_ppm, 1),
            "chi_se": round(1000 * s.chi_se, 1),
            "chi_map": round(1000 * s.map_ppm, 1),
            "r2star_contrast": round(s.r2star_contrast, 1),
            "signal": round(s.signal, 2),
            **_percent(o),
            "territory": home.get(s.number, ""),
            "reliable": "no" if note else "yes",
            "note": note,
        }
        rows.append(_known(row))
    return rows


def region_rows(regions: Sequence[Territory]) -> list[dict[str, Any]]:
    """A row for each region."""
    rows = []
    for t in regions:
        row = {
            "label": t.label,
            "name": t.name,
            "segments": len(t.segments),
            "length": round(t.length_mm, 1),
            **(_percent(t.oxygen) if t.oxygen else {}),
            "cbf": round(t.cbf, 1),
            "cmro2": round(t.cmro2, 1),
            "cmro2_se": round(t.cmro2_se, 1),
        }
        rows.append(_known(row))
    return rows


def _percent(o: Any) -> dict[str, float]:
    names = ("svo2", "svo2_se", "svo2_se_all", "oef", "oef_se", "oef_se_all")
    return {n: round(100 * getattr(o, n), 1) for n in names}


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if v != "" and not (isinstance(v, float) and math.isnan(v))}


def columns_of(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """The columns that some row has a value for; all where there is no row."""
    return {c: text for c, text in columns.items() if not rows or any(c in r for r in rows)}


def assumptions(blood: Blood) -> dict[str, Any]:
    """What the conversion took as known, for the data dictionary."""
    return {
        "Haematocrit": blood.haematocrit,
        "HaematocritSD": blood.haematocrit_sd,
        "ArterialSaturation": blood.sao2,
        "DeoxygenationOfRedCells_ppm_cgs": blood.do_cgs_ppm,
        "DeoxygenationOfRedCells_ppm_SI": round(blood.do_ppm, 4),
        "OxygenatedRedCellsAgainstTissue_ppb": 1000 * blood.oxygenated_ppm,
        "HaemInRedCells_umol_per_mL": HAEM_UMOL_PER_ML,
        "References": [
            "10.1002/mrm.1910240219", "10.1002/jmri.22276", "10.1002/mrm.24918",
            *(["10.1002/mrm.1072", "10.1002/mrm.23282"] if blood.do_cgs_ppm == DO_CGS_PPM else []),
        ],
    }  # fmt: skip
