"""What mkdocs does on the way: tables of methods from the registry, equations as MathML.

In a page, ``<!-- methods STAGE -->`` becomes the methods of that stage with their parameters and papers, ``<!-- methods -->``
those of all stages, ``<!-- stages -->`` the table of stages, ``<!-- help COMMAND -->`` what ``chimap COMMAND --help`` prints,
``<!-- presets -->`` what the presets choose, ``<!-- models -->`` the networks with their model cards, and
``<!-- api MODULE -->`` the functions and classes that a module offers.
Nothing of that is typed by hand, so it cannot grow old.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import re
from typing import Any

from hooks_api import api
from latex2mathml.converter import convert

from chimap import registry
from chimap.cli import main
from chimap.cli.methods import describe
from chimap.networks import cards
from chimap.networks.text import table
from chimap.pipeline import presets
from chimap.pipeline.text import citation

_MARK = re.compile(r"^<!-- (methods|stages|help|presets|models|api)(?: ([a-z0-9_.-]+))? -->$", re.MULTILINE)
_MATH = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks."""
    return _MARK.sub(lambda m: _MADE[m[1]](m[2]), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Equations become MathML, which browsers draw by themselves."""

    def mathml(m: re.Match[str]) -> str:
        return convert(html.unescape(m[3]).strip(), display="inline" if m[1] == "span" else "block")

    return _MATH.sub(mathml, content)


def _methods(stage: str | None) -> str:
    if stage is None:
        return "\n\n".join(f"## Stage `{s}`\n\n{_stage(s, 3)}" for s in registry.STAGES)
    return _stage(stage, 3)


def _stage(stage: str, level: int) -> str:
    parts = []
    # The default first.
    for m in sorted(registry.methods(stage).values(), key=lambda m: m.name != m.stage.default):
        about = describe(m)
        parts.append(f"{'#' * level} `{m.name}`{' (default)' if about['default'] else ''}")
        parts.append(_escaped(m.summary))
        if about["starts_from"]:
            parts.append(f"Starts from the {about['starts_from']}, in place of the stages before.")
        if about["inputs"]:
            names = ", ".join(f"`{n}`" for n in about["inputs"])
            parts.append(f"Optional input arrays: {names}.")
        if about["parameters"]:
            rows = ["| parameter | type | default | what it does |", "|---|---|---|---|"]
            rows += [
                f"| `{p['name']}` | {_escaped(p['type'])} | `{p['default']}` | {_escaped(p['help'])} |"
                for p in about["parameters"]
            ]
            parts.append("\n".join(rows))
        else:
            parts.append("No parameters.")
        parts.append("Papers:\n\n" + "\n".join(f"- {_linked(doi)}" for doi in m.references))
    return "\n\n".join(parts)


def _linked(doi: str) -> str:
    link = f"https://doi.org/{doi}"
    text = _escaped(citation(doi).removesuffix(link).strip())
    return f"{text} [{doi}]({link})"


def _escaped(text: str) -> str:
    """Docstrings are RST: their roles go, and what Markdown would take for its own is kept as it is."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    return text.replace("|", "\\|").replace("*", "\\*")


def _help(command: str | None) -> str:
    # The width of the terminal must not show in the pages.
    os.environ["COLUMNS"] = "82"
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        main([command, "--help"] if command else ["--help"])
    return f"```text\n{text.getvalue().rstrip()}\n```"


def _presets(_: str | None) -> str:
    stages = [s for s in registry.STAGES if s != "offset"]
    rows = ["| preset | " + " | ".join(stages) + " |", "|---|" + "---|" * len(stages)]
    for name in presets.names():
        chosen = [presets.choose(s, preset=name) for s in stages]
        cells = [
            " ".join([f"`{c.method.name}`", *(f"{k}={v}" for k, v in c.parameters.items())]) for c in chosen
        ]
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    about = [f"- `{n}`: {presets.load(n)['summary']}." for n in presets.names()]
    return "\n".join([*about, "", *rows])


def _stages(_: str | None) -> str:
    rows = ["| stage | folder | data | axes | default |", "|---|---|---|---|---|"]
    for s in registry.STAGES.values():
        folder = s.package.removeprefix("chimap.")
        rows.append(f"| `{s.name}` | `{folder}` | {s.data} | {s.ndim} | `{s.default}` |")
    return "\n".join(rows)


def _models(_: str | None) -> str:
    found = [cards.card_of(cards.find(n)) for n in cards.names()]
    return table([c for c in found if c is not None])


_MADE = {
    "methods": _methods,
    "stages": _stages,
    "help": _help,
    "presets": _presets,
    "models": _models,
    "api": api,
}
