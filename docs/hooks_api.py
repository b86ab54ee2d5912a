"""The reference of the public functions and classes, written from signatures and docstrings: ``<!-- api MODULE -->`` in a page."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

_HEADING = re.compile(r"^(?P<title>[A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
_ITEM = re.compile(r"^(?P<name>\S.*)\n(?P<text>(?:[ ]+\S.*\n|\n)*)", re.MULTILINE)
# Sections whose lines are names with an indented text below.
_LISTS = ("Parameters", "Attributes", "Returns", "Raises", "Yields")


def api(module_name: str | None) -> str:
    """What a module names in ``__all__``, or its own functions, each with its signature and its docstring as Markdown."""
    module = importlib.import_module(str(module_name))
    own = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module_name]
    names = [n for n in getattr(module, "__all__", own) if not n.startswith("_")]
    return "\n\n".join(_entry(str(module_name), n, getattr(module, n)) for n in names)


def _entry(module: str, name: str, thing: Any) -> str:
    parts = [f"### `{module}.{name}`"]
    if inspect.isclass(thing):
        if not issubclass(thing, Exception):
            parts.append(_signature(name, thing))
        parts.append(docstring(inspect.getdoc(thing) or ""))
        members = []
        for label, member in vars(thing).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if label.startswith("_") or not (inspect.isfunction(function) and function.__doc__):
                continue
            call = "" if isinstance(member, property) else "()"
            members.append(f"- `{label}{call}`: {_inline(function.__doc__.strip().splitlines()[0])}")
        parts += ["**Members**", "\n".join(members)] if members else []
    else:
        parts += [_signature(name, thing), docstring(inspect.getdoc(thing) or "")]
    return "\n\n".join(filter(None, parts))


def _signature(name: str, thing: Callable[..., Any]) -> str:
    """As one would type it, a line a parameter where it is long."""
    if dataclasses.is_dataclass(thing):
        fields = [f"{f.name}: {f.type}{_default(f)}" for f in dataclasses.fields(thing) if f.init]
        end = ""
    else:
        signature = inspect.signature(thing)
        fields, star = [], False
        for p in signature.parameters.values():
            if p.kind is p.KEYWORD_ONLY and not star:
                fields.append("*")
            star = star or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
            fields.append(_parameter(p))
        end = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(fields)}){end}"
    if len(line) > 90:
        line = f"{name}(\n" + "".join(f"    {f},\n" for f in fields) + f"){end}"
    return f"```python\n{line}\n```"


def _parameter(p: inspect.Parameter) -> str:
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    annotation = "" if p.annotation is p.empty else f": {p.annotation}"
    # A callback's default has no form that one could type.
    default = "" if p.default is p.empty else f" = {'...' if callable(p.default) else repr(p.default)}"
    return f"{stars}{p.name}{annotation}{default}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {field.default!r}"
    return " = ..." if field.default_factory is not dataclasses.MISSING else ""


def docstring(text: str) -> str:
    """NumPy's docstring format as Markdown: sections in bold, names and their texts as a list."""
    text = text.strip() + "\n"
    cuts = [*_HEADING.finditer(text), None]
    parts = [_prose(text[: cuts[0].start() if cuts[0] else None])]
    for here, after in zip(cuts, cuts[1:]):
        body = text[here.end() : after.start() if after else None]
        title = here["title"]
        if title not in _LISTS:
            parts += [f"**{title}**", _prose(body)]
            continue
        items = []
        for item in _ITEM.finditer(body):
            about = _prose(textwrap.dedent(item["text"]).strip())
            items.append(
                f"- `{item['name'].replace('`', '')}`" + (f": {' '.join(about.split())}" if about else "")
            )
        parts += [f"**{title}**", "\n".join(items)]
    return "\n\n".join(filter(None, parts))


def _prose(text: str) -> str:
    """Paragraphs; blocks of equations and of code keep their form."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.lstrip().startswith(".. math::"):
            formula = textwrap.dedent(block.lstrip().removeprefix(".. math::").strip("\n")).strip()
            parts.append(f"$$ {formula} $$")
        elif block.startswith(">>>"):
            parts.append(f"```python\n{block}\n```")
        elif parts and parts[-1] == "$$  $$":
            parts[-1] = f"$$ {block.strip()} $$"
        else:
            parts.append(_inline(block))
    return "\n\n".join(parts)


def _inline(text: str) -> str:
    """RST's roles and double backticks as Markdown's; stars are no emphasis."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    text = re.sub(r":[a-z]+:`~?([^`]*)`", r"`\1`", text).replace("``", "`")
    pieces = re.split(r"(`[^`]*`|\$[^$]*\$)", text)
    return "".join(p if i % 2 else p.replace("*", "\\*").replace("_", "\\_") for i, p in enumerate(pieces))
