"""What networks are trained for, by name: see `Task`."""

from __future__ import annotations

from importlib import import_module

from chimap.errors import InputError
from chimap.learning.config import Config
from chimap.learning.tasks.base import Task

TASKS = {
    "unet": "chimap.learning.tasks.unet:PlainUNet",
    "background": "chimap.learning.tasks.background:Background",
    "inversion": "chimap.learning.tasks.inversion:Inversion",
    "unwrap": "chimap.learning.tasks.unwrap:Unwrap",
}


def task_of(config: Config) -> Task:
    """The task that a configuration names, with its settings.

    Raises
    ------
    InputError
        If there is no such task, or its settings are not its own.
    """
    if config.task not in TASKS:
        raise InputError(f"there is no task {config.task!r}", fix=f"One of {', '.join(sorted(TASKS))}")
    module, name = TASKS[config.task].split(":")
    kind: type[Task] = getattr(import_module(module), name)
    try:
        return kind(config.data, config.network)
    except TypeError as e:
        raise InputError(f"settings of task {config.task!r}: {e}", fix="See the task's documentation") from e
