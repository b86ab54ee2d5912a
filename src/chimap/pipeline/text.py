"""The methods paragraph of a paper, written from the stages that ran, with its citations."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from chimap import __version__
from chimap.acquisition import Acquisition

_VERBS = {
    "mask": "The brain mask was made with method",
    "labels": "Labels of the T1-weighted image were brought to the scan with method",
    "field": "The total field was computed from the phase of all echoes with method",
    "r2star": "R2* was mapped with method",
    "background": "Background fields were removed with method",
    "inversion": "Susceptibility was computed from the local field with method",
    "separation": "Paramagnetic and diamagnetic sources were separated with method",
    "reference": "Susceptibility was referenced with method",
    "lesions": "Microbleeds and calcifications were looked for with method",
}


@dataclass(frozen=True)
class StageText:
    """What the text needs to know about a stage."""

    stage: str
    method: str
    summary: str
    parameters: dict[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    extra: str = ""
    of: str = ""  # what the method starts from, where that is not the result of the stage before


@functools.cache
def _known() -> dict[str, str]:
    return tomllib.loads((resources.files("chimap.pipeline") / "references.toml").read_text("utf-8"))


def citation(doi: str) -> str:
    """A reference as text; the bare link for a paper that the table does not know."""
    known = {k.lower(): v for k, v in _known().items()}.get(doi.lower())
    return f"{known} https://doi.org/{doi}" if known else f"https://doi.org/{doi}"


def methods_text(
    stages: Sequence[StageText], acq: Acquisition, *, preset: str | None = None, extra: Sequence[str] = ()
) -> tuple[str, list[dict[str, str]]]:
    """The methods paragraph and the list of its references, numbered in the order of their appearance.

    Parameters
    ----------
    stages : sequence of StageText
        What ran, in order.
    acq : Acquisition
        For the description of the data.
    preset : str, optional
        DOI of the paper that the preset follows.
    extra : sequence of str
        Sentences for the end (sign of the phase, reference region).

    Returns
    -------
    text : str
    citations : list of dict
        ``doi`` and ``text``.
    """
    order: list[str] = []

    def cite(dois: Sequence[str]) -> str:
        numbers = []
        for doi in dois:
            if doi not in order:
                order.append(doi)
            numbers.append(str(order.index(doi) + 1))
        return f" [{', '.join(numbers)}]" if numbers else ""

    te = ", ".join(f"{1000 * t:.4g}" for t in acq.te_s)
    voxel = " x ".join(f"{v:.3g}" for v in acq.voxel_size_mm)
    echoes = "a single echo" if acq.echoes == 1 else f"{acq.echoes} echoes"
    sentences = [
        f"Gradient-echo data at {acq.b0_t:.4g} T with {echoes} (TE {te} ms) and voxels of {voxel} mm³ were processed "
        f"with chimap {__version__}"
        + (f", following the consensus recommendations{cite([preset])}." if preset else ".")
    ]
    for s in stages:
        summary = s.summary.rstrip(". ")
        settings = ", ".join(f"{k} = {_value(v)}" for k, v in s.parameters.items())
        told = f" ({summary})" if summary else ""
        with_ = f" with {settings}" if settings else ""
        verb = _VERBS.get(s.stage, f"Stage {s.stage} used method")
        if s.of and s.stage == "inversion":
            verb = f"Susceptibility was computed in a single step from the {s.of} with method"
        elif s.of:
            verb = f"Background fields were removed from the {s.of} with method"
        sentences.append(
            f"{verb} {s.method}{told}{cite(s.references)}{with_}.{' ' + s.extra if s.extra else ''}"
        )
    sentences += list(extra)
    return " ".join(sentences), [{"doi": d, "text": citation(d)} for d in order]


def as_markdown(text: str, citations: Sequence[dict[str, str]]) -> str:
    """The file that lies beside the maps."""
    lines = ["# Methods", "", text, "", "## References", ""]
    lines += [f"{i}. {c['text']}" for i, c in enumerate(citations, 1)]
    return "\n".join(lines) + "\n"


def _value(v: Any) -> str:
    if isinstance(v, float):
        return f"{v:g}"
    if isinstance(v, tuple | list):
        return "(" + ", ".join(_value(x) for x in v) + ")"
    return str(v).lower() if isinstance(v, bool) else str(v)
