"""The configuration of a training run, read from TOML.

task = "inversion"
[data]       # of the task's samples
[network]    # of its model
[training]   # see `Training`
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from chimap.errors import InputError


@dataclass(frozen=True)
class Training:
    """How long and how a model is trained.

    Attributes
    ----------
    steps : int
        Optimiser steps, of one sample each.
    learning_rate : float
        At its highest: it rises over `warmup` steps and falls to 0 as a cosine.
    weight_decay : float
    warmup : int
    seed : int
        Of weights and samples. Samples of other seeds share nothing with them.
    reuse : int
        How often a sample is used, turned and mirrored at random, since making one may cost more than a step.
    cache : int
        Samples kept for that.
    average : float
        Decay of the moving average of the weights, which is what is exported.
    clip : float
        Largest norm of a gradient.
    precision : str
        "bfloat16" or "float32", of the convolutions.
    log_every, validate_every, save_every : int
        In steps.
    validation : int
        Held-out samples.
    workers : int
        Processes that make samples.
    threads : int
        Of torch, on the CPU. 0: all.
    """

    steps: int = 1000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 50
    seed: int = 1
    reuse: int = 2
    cache: int = 300
    average: float = 0.998
    clip: float = 1.0
    precision: str = "bfloat16"
    log_every: int = 10
    validate_every: int = 500
    save_every: int = 250
    validation: int = 12
    workers: int = 1
    threads: int = 0


@dataclass(frozen=True)
class Config:
    """A task with the settings of its data, its network and its training."""

    task: str
    data: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)


def read_config(path: str | Path) -> Config:
    """A configuration from a TOML file.

    Raises
    ------
    InputError
        If the file cannot be read, or names something that is not known.
    """
    file = Path(path)
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(
            f"cannot be read ({e.strerror})", file=file, fix="Give a configuration in TOML"
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"is not TOML: {e}", file=file, fix="See docs/learning.md for an example") from e
    unknown = set(raw) - {"task", "data", "network", "training"}
    if unknown or not isinstance(raw.get("task"), str):
        what = f"unknown entries {sorted(unknown)}" if unknown else "no task"
        raise InputError(what, file=file, fix="A configuration has task, [data], [network] and [training]")
    for part in ("data", "network", "training"):
        if not isinstance(raw.get(part, {}), dict):
            raise InputError(f"{part} is not a table", file=file, fix=f"Write [{part}] on a line of its own")
    return Config(
        raw["task"], raw.get("data", {}), raw.get("network", {}), _training(raw.get("training", {}), file)
    )


def _training(raw: dict[str, Any], file: Path) -> Training:
    known: dict[str, Any] = {f.name: type(f.default) for f in fields(Training)}
    for name, value in raw.items():
        if name not in known:
            raise InputError(
                f"training has no setting {name!r}", file=file, fix=f"One of {', '.join(sorted(known))}"
            )
        kind = known[name]
        if isinstance(value, bool) or not isinstance(value, (kind, int) if kind is float else kind):
            raise InputError(f"training.{name} is {value!r}, not of type {kind.__name__}", file=file)
    settings = Training(**{k: known[k](v) for k, v in raw.items()})
    positive = (
        "steps",
        "learning_rate",
        "reuse",
        "cache",
        "clip",
        "log_every",
        "validate_every",
        "save_every",
    )
    for name in positive:
        if getattr(settings, name) <= 0:
            raise InputError(f"training.{name} must be positive", file=file)
    if settings.precision not in ("bfloat16", "float32"):
        raise InputError("training.precision is neither bfloat16 nor float32", file=file)
    return settings
