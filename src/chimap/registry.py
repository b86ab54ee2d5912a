"""The one registry of methods: a decorated function becomes a command, a preset entry, a page and a test.

A method is a function ``f(data, mask, acq, *, <input arrays>, <parameters>, progress=None)``. The
keyword-only arguments annotated as `Volume` or `Mask` are optional inputs, handed over where the caller has
them; the others are parameters, which the command line, the docs and the provenance list by themselves.

Most methods of a stage take what the stage before hands on. A method that does the work of earlier stages as well
says what it starts from with ``of=``: a single-step inversion of the total field, or one from wrapped phase.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Stage:
    """One step of a reconstruction: where its methods live and what their first argument is called."""

    name: str
    package: str
    data: str
    default: str
    ndim: int
    takes_mask: bool = True


STAGES: dict[str, Stage] = {
    s.name: s
    for s in (
        Stage("mask", "chimap.masking", "magnitude", "auto", 4, takes_mask=False),
        Stage("unwrap", "chimap.phase", "phase", "romeo", 4),
        Stage("offset", "chimap.phase", "phase", "mcpc3ds", 4),
        Stage("field", "chimap.phase", "phase", "weighted", 4),
        Stage("r2star", "chimap.relaxometry", "magnitude", "arlo", 4),
        Stage("background", "chimap.background", "field", "pdf", 3),
        Stage("inversion", "chimap.inversion", "field", "tv", 3),
        Stage("separation", "chimap.separation", "field", "chi_separation", 3),
        Stage("reference", "chimap.quantify", "chi", "mean", 3),
    )
}

_registry: dict[tuple[str, str], Method] = {}

Source = Literal["total field", "phase", "susceptibility of each echo"]
"""What a method starts from, if that is not the stage's: total field in ppm, wrapped phase of all echoes, maps in ppm of each echo."""

_OF = {
    "total field": ("total_field", 3),
    "phase": ("phase", 4),
    "susceptibility of each echo": ("chi_echoes", 4),
}


@dataclass(frozen=True)
class Parameter:
    """A keyword-only number, choice or switch of a method."""

    name: str
    type: Any
    default: Any
    help: str


class Method:
    """A registered function, called like the function itself but with its input checked first.

    Arrays come in as anything array-like and reach the function as float32 (mask: bool), C-contiguous, with
    zeros outside the mask; the input is never changed. NaN or infinity inside the mask is an `InputError`.
    """

    def __init__(
        self,
        stage: Stage,
        function: Callable[..., Any],
        references: tuple[str, ...],
        of: Source | None = None,
        untouched: bool = False,
        network: bool = False,
    ):
        self.stage = stage
        self.of = of
        self.untouched = untouched
        self.network = network
        # What the first argument is called, and its axes.
        self.data, self.ndim = _OF[of] if of else (stage.data, stage.ndim)
        self.function = function
        self.name = function.__name__.rstrip("_")
        self.references = references
        functools.update_wrapper(self, function)

    @functools.cached_property
    def _arguments(self) -> tuple[tuple[str, ...], tuple[Parameter, ...]]:
        hints = typing.get_type_hints(self.function)
        docs = parameter_docs(self.function.__doc__ or "")
        inputs, parameters = [], []
        for p in inspect.signature(self.function).parameters.values():
            if p.kind is not p.KEYWORD_ONLY or p.name == "progress":
                continue
            if any(h in (Volume, Mask) for h in (hints[p.name], *typing.get_args(hints[p.name]))):
                inputs.append(p.name)
            else:
                parameters.append(Parameter(p.name, hints[p.name], p.default, docs.get(p.name, "")))
        return tuple(inputs), tuple(parameters)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the optional input arrays that the method can use."""
        return self._arguments[0]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that a user may set."""
        return self._arguments[1]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0].strip()

    def takes(self, **arrays: Any) -> dict[str, Any]:
        """Those of the arrays that there are (not None) and that the method can use."""
        return {k: v for k, v in arrays.items() if v is not None and k in self.inputs}

    def __repr__(self) -> str:
        return f"<method {self.stage.name}/{self.name}: {self.summary}>"

    def __call__(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        data = as_volume(data, self.data, self.ndim)
        names = ("mask", "acq") if self.stage.takes_mask else ("acq",)
        if len(args) > len(names):
            raise TypeError(f"{self.name}() takes {len(names) + 1} positional arguments; the rest by name")
        for name, value in zip(names, args, strict=False):
            if name in kwargs:
                raise TypeError(f"{self.name}() got {name} twice")
            kwargs[name] = value
        missing = [n for n in names if n not in kwargs]
        if missing:
            raise TypeError(f"{self.name}() needs {' and '.join(missing)}")
        acq = kwargs.pop("acq")
        if not isinstance(acq, Acquisition):
            raise TypeError(f"acq must be an Acquisition, not {type(acq).__name__}")
        if data.ndim == 4 and data.shape[3] != acq.echoes:
            raise InputError(
                f"{self.data} has {data.shape[3]} echoes but {acq.echoes} echo times are given",
                fix="Give one echo time per echo",
            )
        if not self.stage.takes_mask:
            return self.function(inside(data, None, self.data), acq, **self._checked(kwargs, data, None))
        mask = as_mask(kwargs.pop("mask"), data.shape[:3])
        data = self._prepared(data, mask, self.data)
        return self.function(data, mask, acq, **self._checked(kwargs, data, mask))

    def _checked(self, kwargs: dict[str, Any], data: np.ndarray, mask: np.ndarray | None) -> dict[str, Any]:
        known = {*self.inputs, *(p.name for p in self.parameters), "progress"}
        for name in kwargs:
            if name not in known:
                have = ", ".join(p.name for p in self.parameters) or "none"
                raise InputError(
                    f"method {self.name} of stage {self.stage.name} has no parameter {name!r}",
                    fix=f"Its parameters are: {have}",
                )
        if "progress" not in inspect.signature(self.function).parameters:
            kwargs.pop("progress", None)
        for parameter in self.parameters:
            self._number(parameter, kwargs.get(parameter.name))
        for name in self.inputs:
            if kwargs.get(name) is None:
                continue
            value = np.asarray(kwargs[name])
            if value.shape[:3] != data.shape[:3]:
                raise InputError(f"{name} has shape {value.shape[:3]} but {self.data} {data.shape[:3]}")
            if value.dtype == bool:
                continue
            kwargs[name] = self._prepared(as_volume(value, name, value.ndim), mask, name)
        return kwargs

    def _prepared(self, volume: Volume, mask: Mask | None, name: str) -> Volume:
        if self.untouched and mask is not None and volume.ndim == 4:
            for n in range(volume.shape[3]):
                _refuse_bad(int(np.count_nonzero(~np.isfinite(volume[..., n]) & mask)), name)
            return volume
        return inside(volume, mask, name)

    def _number(self, parameter: Parameter, value: Any) -> None:
        """Refuse a word where the method wants a number; the rules that choose one stand above the methods."""
        if not isinstance(value, str) or not set(union_members(parameter.type)) <= {int, float}:
            return
        rule = value == "auto" or value.startswith("auto:")
        fix = "Give a number"
        if rule and self.stage.name == "inversion" and self.of is None:
            fix += f', or call chimap.invert(..., method="{self.name}", {parameter.name}="{value}"), which chooses one'
        raise InputError(
            f"parameter {parameter.name} of method {self.name} is {value!r}"
            + ("; a method by itself takes numbers only" if rule else ", not a number"),
            fix=fix,
        )


def method(
    stage: str,
    *,
    reference: str | tuple[str, ...] = (),
    of: Source | None = None,
    untouched: bool = False,
    network: bool = False,
) -> Callable[[Callable[..., Any]], Method]:
    """Register a function as a method of `stage`; `reference` is the DOI of its paper, or several.

    `of` says what the method starts from, if that is not what the stage before hands on. An `untouched` method reads the mask
    alone of volumes of several echoes, whatever their memory order, so those reach it as they are: no copies of them. A `network`
    method runs the trained network that its parameter `model` names, so its results depend on that file, too.
    """
    references = (reference,) if isinstance(reference, str) else tuple(reference)

    def register(function: Callable[..., Any]) -> Method:
        m = Method(STAGES[stage], function, references, of, untouched, network)
        _registry[stage, m.name] = m
        return m

    return register


def methods(stage: str | None = None) -> dict[str, Method] | dict[str, dict[str, Method]]:
    """All methods of a stage by name; without a stage, those of every stage."""
    if stage is None:
        return {s: _methods_of(s) for s in STAGES}
    return _methods_of(stage)


def get(stage: str, name: str | None = None) -> Method:
    """The method `name` of `stage` (default: the stage's default)."""
    have = _methods_of(stage)
    name = name or STAGES[stage].default
    if name not in have:
        raise InputError(f"stage {stage} has no method {name!r}", fix=f"Choose one of: {', '.join(have)}")
    return have[name]


def _methods_of(stage: str) -> dict[str, Method]:
    if stage not in STAGES:
        raise InputError(f"there is no stage {stage!r}", fix=f"Choose one of: {', '.join(STAGES)}")
    _import_all(STAGES[stage].package)
    return {n: m for (s, n), m in sorted(_registry.items()) if s == stage}


@functools.cache
def _import_all(package: str) -> None:
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def parameter_docs(docstring: str) -> dict[str, str]:
    """Description of each parameter in a NumPy-style docstring, as one line each."""
    lines = inspect.cleandoc(docstring).split("\n")
    starts = [i for i, line in enumerate(lines[1:], 1) if re.fullmatch(r"-{3,}", line) and lines[i - 1]]
    docs: dict[str, str] = {}
    for n, i in enumerate(starts):
        if lines[i - 1].strip() not in ("Parameters", "Other Parameters"):
            continue
        end = starts[n + 1] - 1 if n + 1 < len(starts) else len(lines)
        names: list[str] = []
        for line in lines[i + 1 : end]:
            if line and not line[0].isspace():
                names = [w.strip().lstrip("*") for w in line.split(":")[0].split(",")]
            elif line.strip():
                for name in names:
                    docs[name] = (docs.get(name, "") + " " + line.strip()).strip()
    return docs


def union_members(hint: Any) -> tuple[Any, ...]:
    """The members of an ``A | B`` annotation without None; the annotation itself if it is no union."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(a for a in typing.get_args(hint) if a is not type(None))
    return (hint,)


def as_volume(array: Any, name: str, ndim: int) -> Volume:
    """A float32 view or copy with `ndim` axes; a single echo gets a fourth axis where 4 are wanted."""
    volume = np.asarray(array)
    if not (np.issubdtype(volume.dtype, np.number) or volume.dtype == bool) or np.iscomplexobj(volume):
        raise InputError(f"{name} has type {volume.dtype}; real numbers are expected")
    if ndim == 4 and volume.ndim == 3:
        volume = volume[..., np.newaxis]
    if ndim == 3 and volume.ndim == 4 and volume.shape[3] == 1:
        volume = volume[..., 0]
    if volume.ndim != ndim or 0 in volume.shape:
        raise InputError(f"{name} has shape {volume.shape}; {ndim} axes, none of them empty, are expected")
    return volume.astype(np.float32, copy=False)


def as_mask(mask: Any, shape: tuple[int, ...]) -> Mask:
    """A C-contiguous array of bool with the given shape and at least one voxel set."""
    m = np.asarray(mask)
    if m.shape != tuple(shape):
        raise InputError(
            f"mask has shape {m.shape} but the data {tuple(shape)}", fix="Give a mask on the same grid"
        )
    m = np.ascontiguousarray(m if m.dtype == bool else np.nan_to_num(m) > 0.5)
    if not m.any():
        raise InputError("the mask is empty", fix="Give a mask that covers the object")
    return m


def inside(data: Volume, mask: Mask | None, name: str) -> Volume:
    """`data` with zeros outside the mask (without one: where not finite), each echo C-contiguous.

    Raises `InputError` on NaN or infinity inside the mask.
    """
    out = np.ascontiguousarray(np.moveaxis(data, 3, 0) if data.ndim == 4 else data)
    outside = None if mask is None else ~mask
    own = not np.shares_memory(out, data)
    # Volume by volume: a 4-D array of bool would be as large as an echo.
    for n in range(out.shape[0] if out.ndim == 4 else 1):
        volume = out[n] if out.ndim == 4 else out
        bad = ~np.isfinite(volume)
        count = int(np.count_nonzero(bad if mask is None else bad & mask))
        if mask is not None:
            _refuse_bad(count, name)
        clear = bad if outside is None else outside
        if count or (outside is not None and np.any(volume, where=outside)):
            if not own:  # the caller's array stays as it is
                out, own = out.copy(), True
                volume = out[n] if out.ndim == 4 else out
            volume[clear] = 0
    return np.moveaxis(out, 0, 3) if data.ndim == 4 else out


def _refuse_bad(count: int, name: str) -> None:
    if count:
        raise InputError(
            f"{name} has {count} values inside the mask that are NaN or infinite",
            fix="Leave those voxels out of the mask, or repair the data",
        )
