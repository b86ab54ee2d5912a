"""The report itself: records in, one HTML file out, which loads nothing from anywhere."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.colors import to_hex

from chimap.io.safe import write_text
from chimap.pipeline.protocol import summary
from chimap.report import viewer
from chimap.report.data import MapItem, ReportData, StageItem
from chimap.report.echoes import echo_carpet, echo_picture
from chimap.report.figures import colour_map, histogram, region_chart, robust_window, three_plane
from chimap.report.iron import iron_chart
from chimap.report.orient import centre_index
from chimap.report.reproduce import reproduction_text

USUAL_BYTES, USUAL_MAPS, MORE_BYTES, MOST_BYTES = 14_000_000, 6, 4_000_000, 24_000_000
"""What a report of so many maps may weigh, what each further map may add, and the end of it.

The viewer's resolution gives way before the pictures do.
"""

STAGE_TITLES = {
    "input": "Input",
    "read": "Reading",
    "mask": "Brain mask",
    "labels": "Labels of the T1-weighted image",
    "unwrap": "Phase unwrapping",
    "offset": "Phase offset",
    "field": "Total field",
    "r2star": "R2* and T2*",
    "background": "Background field removal",
    "inversion": "Dipole inversion",
    "reference": "Reference",
    "lesions": "Lesions",
}
VIEWS = (
    ("Susceptibility", "chi", "", ""),
    ("Magnitude | susceptibility", "magnitude", "chi", ""),
    ("Phase | total field", "phase", "total", ""),
    ("Total | local field", "total", "local", ""),
    ("Local field | susceptibility", "local", "chi", ""),
    ("Local field | unexplained", "local", "residual", ""),
    ("Lost voxels", "magnitude", "", "excluded"),
)
"""Ready views: title, and the keys of the map, of what it is compared with, and of the overlay."""

_LEVELS = ("error", "warning", "note", "ok")


@dataclass(frozen=True)
class Picture:
    """A map as the page shows it."""

    item: MapItem
    png: str
    window: str
    histogram: Markup
    legend: tuple[tuple[str, str], ...] = ()


@dataclass
class StageBlock:
    """What the page says about one stage: how it ran and its maps."""

    key: str
    title: str
    runs: list[StageItem] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def write_report(path: str | os.PathLike[str], data: ReportData) -> Path:
    """Write the report to `path` and return it.

    The file appears whole or not at all. The same data give the same bytes.

    Raises
    ------
    ValueError
        If maps or masks are not all 3-D of one shape, two maps have the same key, or a window is empty.
    OutputError
        If the file cannot be written.
    """
    return write_text(Path(path), render(data))


def render(data: ReportData) -> str:
    """The report as one string of HTML."""
    _check(data)
    blocks = _blocks(data)
    echoes = {}
    if data.echoes is not None:
        echoes = {"picture": _base64(echo_picture(data.echoes)), "carpet": _base64(echo_carpet(data.echoes))}
    drawn = sum(len(p.png) for b in blocks for p in b.pictures) + sum(len(p) for p in echoes.values())
    more = max(sum(m.show_in_viewer for m in data.maps) - USUAL_MAPS, 0)
    limit = min(USUAL_BYTES + MORE_BYTES * more, MOST_BYTES)
    meta, volumes = viewer.build(data, max(limit - drawn, 1_000_000))
    findings = sorted(data.findings, key=lambda f: _LEVELS.index(_level(f)))
    problems = [f for f in findings if _level(f) in ("error", "warning")]
    main = _main_picture(blocks)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chimap.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        show=show, words=words, number=number, level=_level, without_link=_without_link, base64=_base64
    )
    return environment.get_template("report.html").render(
        data=data,
        blocks=blocks,
        main=main,
        findings=findings,
        problems=problems,
        # The findings say the same, and what to do.
        warnings=_echo_warning(data)
        + [
            w
            for w in data.warnings
            if not any(w in (f["what"], f"{f['topic']}: {f['what']}") for f in problems)
        ],
        echoes=echoes,
        beyond=[q for q in data.quality if q["status"] == "not met"],
        unmet=[r for r in data.protocol if r["status"] == "not met"],
        protocol_summary=summary(data.protocol),
        reproduction=reproduction_text(data),
        views=_views(data),
        cited={c.get("doi"): n for n, c in enumerate(data.citations, 1)},
        seconds=sum(s.seconds for s in data.stages),
        compiling=sum(s.compile_seconds for s in data.stages),
        slowest=max([s.seconds for s in data.stages], default=0.0) or 1.0,
        with_truth=any(r.get("truth_ppb") is not None for r in data.regions),
        with_r2star=any(r.get("r2star_mean") is not None for r in data.regions),
        with_se=any(r.get("se_ppb") is not None for r in data.regions),
        region_chart=Markup(region_chart(data.regions)),
        iron=[r for r in data.regions if r.get("iron_mg_kg") is not None] if data.iron else [],
        iron_chart=Markup(iron_chart(data.regions, data.iron.get("age_years")) if data.iron else ""),
        lesion_regions=any(r.get("region") for r in data.lesions.get("rows", ())),
        chi_key=main.item.key if main and main.item.show_in_viewer else "",
        paragraphs=[p for p in (p.strip() for p in data.methods_text.split("\n\n")) if p],
        stage_titles=STAGE_TITLES,
        viewer=meta,
        volumes=volumes,
        style=_asset("report.css"),
        script=_asset("planes.js") + _asset("viewer.js"),
    )


def show(value: Any) -> str:
    """A value as people write it: 4 digits, yes and no, lists with commas."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) or type(value).__name__.startswith("float"):
        return f"{float(value):.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {show(v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(show(v) for v in value) or "–"
    if hasattr(value, "tolist"):
        return show(value.tolist())
    return str(value)


def words(name: str) -> str:
    """A name such as ``RepetitionTime`` as words; others as they are."""
    if not re.fullmatch(r"[A-Z][a-z]+([A-Z][a-z]*)+", name):
        return name
    return name[0] + re.sub(r"(?<=[a-z])([A-Z])", lambda m: " " + m[1].lower(), name[1:])


def number(value: Any, digits: int = 1) -> str:
    """A number with a fixed count of digits; a dash if there is none."""
    if value is None or value != value:
        return "–"
    # "z": what rounds to zero has no sign.
    return f"{value:z,.{digits}f}".replace(",", " ").replace("-", "−")


def _echo_warning(data: ReportData) -> list[str]:
    """The echo that stands out, in words; [] without one."""
    if data.echoes is None or data.echoes.worst is None:
        return []
    e = data.echoes.worst
    te_ms = 1000 * data.echoes.te_s[e - 1]
    return [
        f"the field explains the phase of echo {e} ({te_ms:.3g} ms) much worse than that of the others. It may be spoiled: "
        "see the section Echoes."
    ]


def _views(data: ReportData) -> list[dict[str, str]]:
    """The ready views whose maps the viewer holds."""
    held = {"", *(m.key for m in data.maps if m.show_in_viewer)}
    views = [
        {"title": t, "base": b, "after": a, "over": o} for t, b, a, o in VIEWS if held.issuperset((b, a, o))
    ]
    return views if len(views) > 1 else []


def _level(finding: Mapping[str, Any]) -> str:
    """The level of a finding in the page's four words."""
    level = str(finding.get("level", "note")).lower()
    return level if level in _LEVELS else "note"


def _without_link(text: str, doi: str) -> str:
    """A reference without its DOI's address, which the page gives as a link."""
    return text.removesuffix(f"https://doi.org/{doi}").strip() if doi else text


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _check(data: ReportData) -> None:
    shapes = {m.key: m.volume.shape for m in data.maps}
    shapes |= {f"outline of {m.key}": m.outline_mask.shape for m in data.maps if m.outline_mask is not None}
    shapes |= {f"mask {name}": m.shape for name, m in data.masks.items()}
    if len({m.key for m in data.maps}) < len(data.maps):
        raise ValueError(f"two maps of a report have the same key: {[m.key for m in data.maps]}")
    if wrong := [m.key for m in data.maps if m.window and not m.window[0] < m.window[1]]:
        raise ValueError(f"windows of a report must rise from low to high: {wrong}")
    if len(set(shapes.values())) > 1 or any(len(s) != 3 for s in shapes.values()):
        raise ValueError(f"maps and masks of a report must be 3-D and of one shape, not {shapes}")


def _blocks(data: ReportData) -> list[StageBlock]:
    """One block a stage: the input, the stages in the order they ran, and what has maps only."""
    shown = [m.stage for m in data.maps]
    names = dict.fromkeys([*(s for s in shown if s == "input"), *(s.stage for s in data.stages), *shown])
    # All pictures show the same slices.
    brain = data.brain
    centre = None if brain is None or not brain.any() else centre_index(brain)
    blocks = {n: StageBlock(n, STAGE_TITLES.get(n, n.replace("_", " ").capitalize())) for n in names}
    for run in data.stages:
        blocks[run.stage].runs.append(run)
    for item in data.maps:
        at = _most(item.volume) if item.labels else centre
        blocks[item.stage].pictures.append(_picture(item, data, at))
    return list(blocks.values())


def _picture(item: MapItem, data: ReportData, centre: tuple[int, int, int] | None) -> Picture:
    mask = data.mask_of(item)
    window = item.window or robust_window(item.volume, mask)
    png = three_plane(
        item.volume, data.affine, window=window, mask=mask, unit=item.shown_unit, scale=item.shown_scale,
        colormap=item.colormap, centre=centre, under=item.under,
    )  # fmt: skip
    low, high = (w * item.shown_scale for w in window)
    chart = ""
    # Phase fills its circle: its histogram says nothing.
    if not item.is_labels and item.unit != "rad":
        chart = histogram(
            item.volume, mask, window=window, unit=item.shown_unit, scale=item.shown_scale, title=item.title
        )
    return Picture(
        item,
        _base64(png),
        "" if item.is_labels else f"{low:.4g} to {high:.4g} {item.shown_unit}".strip().replace("-", "−"),
        Markup(chart),
        tuple((name, to_hex(colour_map("labels")(number))) for number, name in item.labels.items()),
    )


def _most(labels: np.ndarray) -> tuple[int, int, int] | None:
    """Where each plane shows the most labelled voxels; None without any."""
    if not labels.any():
        return None
    x, y, z = (
        int(np.argmax(np.count_nonzero(labels, axis=tuple(a for a in range(3) if a != axis))))
        for axis in range(3)
    )
    return x, y, z


def _main_picture(blocks: Sequence[StageBlock]) -> Picture | None:
    """The last susceptibility map: the answer."""
    found = [
        p
        for b in blocks
        for p in b.pictures
        if p.item.is_susceptibility and not re.search("noise|residual", p.item.key)
    ]
    return found[-1] if found else None


def _asset(name: str) -> Markup:
    """A file of the package as it is: our own style sheet and script."""
    return Markup(files("chimap.report").joinpath("templates", name).read_text(encoding="utf-8"))
