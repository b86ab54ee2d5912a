"""Presets: which method and which parameters each stage uses, as TOML files beside this module."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from chimap import registry, tuning
from chimap.errors import InputError

DEFAULT = "consensus"


@dataclass(frozen=True)
class Choice:
    """A method of a stage with the parameters that are set; the others keep their defaults."""

    stage: str
    method: registry.Method
    parameters: dict[str, Any]

    @property
    def all_parameters(self) -> dict[str, Any]:
        """Every parameter with the value it runs with."""
        return {p.name: self.parameters.get(p.name, p.default) for p in self.method.parameters}


@functools.cache
def names() -> tuple[str, ...]:
    """Names of the presets, the default first."""
    folder = resources.files("chimap.pipeline") / "presets"
    found = sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
    return tuple(sorted(found, key=lambda n: n != DEFAULT))


@functools.cache
def load(name: str) -> dict[str, Any]:
    """The content of a preset: title, summary, the paper it follows (DOI), and a table a stage.

    Raises
    ------
    InputError
        If there is no such preset.
    """
    if name not in names():
        raise InputError(f"there is no preset {name!r}", fix=f"Choose one of: {', '.join(names())}")
    return tomllib.loads((resources.files("chimap.pipeline") / "presets" / f"{name}.toml").read_text("utf-8"))


def choose(
    stage: str,
    *,
    preset: str | None = None,
    method: str | None = None,
    parameters: dict[str, Any] | None = None,
) -> Choice:
    """The method and parameters of a stage: the preset's, overruled by `method` and `parameters`.

    A preset's parameters belong to its method: another `method` starts from that method's defaults, but for those under
    ``any``, which every method takes that has a parameter of the name. A number may be ``auto:RULE``, which
    `chimap.tuning.resolve` replaces once the field is there.
    """
    table = dict(load(preset or DEFAULT).get(stage, {}))
    planned = table.pop("method", None)
    common = table.pop("any", {})
    m = registry.get(stage, method or planned)
    known = {p.name: p for p in m.parameters}
    values = {k: v for k, v in common.items() if k in known}
    if m.name == (planned or registry.STAGES[stage].default):
        values |= table
    values |= parameters or {}
    for name in values:
        if name not in known:
            raise InputError(
                f"method {m.name} of stage {stage} has no parameter {name!r}",
                fix=f"Its parameters are: {', '.join(known) or 'none'}",
            )
    tuning.check(m, values)
    # TOML knows lists only; methods say tuple.
    return Choice(stage, m, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
