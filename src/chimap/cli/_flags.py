"""Flags for the parameters of a method, made from its signature and docstring."""

from __future__ import annotations

import argparse
import typing
from typing import Any

from chimap import tuning
from chimap.errors import InputError
from chimap.registry import Method, Parameter, union_members

_PREFIX = "parameter:"
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def flag(name: str) -> str:
    """``max_iterations`` -> ``--max-iterations``."""
    return "--" + name.replace("_", "-")


def add_method_flags(parser: argparse.ArgumentParser, method: Method, values: dict[str, Any]) -> None:
    """Add one flag a parameter of `method`; `values` are those that a preset sets, shown as the default."""
    group = parser.add_argument_group(
        f"parameters of method {method.name}",
        f"{method.summary} {_papers(method)}".replace("%", "%%").strip(),
    )
    taken = {s for a in parser._actions for s in a.option_strings}
    for p in method.parameters:
        # A parameter that is called like an input or a common flag gets the stage in front.
        name = flag(p.name) if flag(p.name) not in taken else flag(f"{method.stage.name}_{p.name}")
        default = values.get(p.name, p.default)
        text = f"{p.help} (default: {_shown(default)})".strip().replace("%", "%%")
        dest = _PREFIX + p.name
        members = union_members(p.type)
        if members == (bool,):
            group.add_argument(
                name, dest=dest, action=argparse.BooleanOptionalAction, default=None, help=text
            )
            continue
        kwargs: dict[str, Any] = {"metavar": p.name.upper()}
        choices = [c for m in members if typing.get_origin(m) is typing.Literal for c in typing.get_args(m)]
        if choices and len(members) == 1:
            kwargs = {"choices": [str(c) for c in choices]}
        sequence = next((m for m in members if typing.get_origin(m) in (tuple, list)), None)
        if sequence is not None:
            sizes = typing.get_args(sequence)
            fixed = len(members) == 1 and type(None) not in typing.get_args(p.type) and Ellipsis not in sizes
            kwargs["nargs"] = len(sizes) if fixed and typing.get_origin(sequence) is tuple else "+"
        group.add_argument(name, dest=dest, default=None, help=text, **kwargs)


def method_values(args: argparse.Namespace, method: Method) -> dict[str, Any]:
    """The parameters that were set by flags, converted to their types."""
    out = {}
    for p in method.parameters:
        given = getattr(args, _PREFIX + p.name, None)
        if given is not None:
            out[p.name] = given if isinstance(given, bool) else convert(p, given)
    return out


def convert(parameter: Parameter, given: str | list[str]) -> Any:
    """The value of a parameter from the words of a command line (a list: written apart or with commas).

    Raises
    ------
    InputError
        If the words do not fit the parameter's type.
    """
    words = given.split(",") if isinstance(given, str) else [w for g in given for w in g.split(",")]
    words = [w.strip() for w in words if w.strip()]
    members = union_members(parameter.type)
    if type(None) in typing.get_args(parameter.type) and [w.lower() for w in words] == ["none"]:
        return None
    # A rule in place of a number; `presets.choose` refuses it where there is none.
    if len(words) == 1 and tuning.is_automatic(words[0]) and tuning.takes_number(parameter):
        return words[0]
    # The narrower types first: "3" is an int before it is a float before it is text.
    order = {bool: 0, int: 1, float: 2, str: 9}
    for m in sorted(members, key=lambda m: order.get(m, 5)):
        try:
            return _as(m, words, given)
        except ValueError:
            continue
    expected = " or ".join(_type_name(m) for m in members)
    text = given if isinstance(given, str) else " ".join(given)
    raise InputError(f"{flag(parameter.name)} {text!r} is not {expected}")


def _as(kind: Any, words: list[str], given: str | list[str]) -> Any:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        for choice in typing.get_args(kind):
            if [str(choice)] == words:
                return choice
        raise ValueError
    if origin in (tuple, list):
        sizes = typing.get_args(kind)
        kinds = [sizes[0]] * len(words) if origin is list or Ellipsis in sizes else list(sizes)
        if len(kinds) != len(words) or not words:
            raise ValueError
        return origin(_as(k, [w], w) for k, w in zip(kinds, words))
    if kind is str:
        return given if isinstance(given, str) else " ".join(given)
    if len(words) != 1:
        raise ValueError
    if kind is bool:
        if words[0].lower() not in _BOOLS:
            raise ValueError
        return _BOOLS[words[0].lower()]
    if kind in (int, float):
        return kind(words[0])
    raise ValueError


def _type_name(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(c) for c in typing.get_args(kind))
    if origin in (tuple, list):
        sizes = typing.get_args(kind)
        inner = _type_name(sizes[0]).removeprefix("a ").removeprefix("an ")
        count = "several" if origin is list or Ellipsis in sizes else str(len(sizes))
        return f"{count} times {inner}"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(kind, str(kind))


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " ".join(_shown(v) for v in value)
    return (
        f"{value:g}"
        if isinstance(value, float)
        else str(value).lower()
        if value in (True, False)
        else str(value)
    )


def _papers(method: Method) -> str:
    return "".join(f"doi:{r} " for r in method.references).strip()
