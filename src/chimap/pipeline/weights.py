"""The trained network that a learned method runs, as part of what its result depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimap.networks import cards
from chimap.pipeline.presets import Choice
from chimap.pipeline.store import file_sha256


def weights_of(choice: Choice) -> dict[str, str] | None:
    """File name and hash of the network that a method runs; None for methods without one.

    Raises
    ------
    InputError
        If there is no such network.
    """
    if not choice.method.network:
        return None
    path = cards.find(choice.all_parameters["model"])
    return {"file": path.name, "sha256": file_sha256(path)}


def without_folder(choice: Choice, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters as records show them: of a user's own network the file name only, not the folder of this machine."""
    if not choice.method.network:
        return parameters
    return {**parameters, "model": Path(parameters["model"]).name}
