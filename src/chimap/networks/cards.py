"""Model cards: what a network was trained for and on, how good it is, and what it must not be trusted with.

A card is a JSON file beside the weights: ``NAME.json`` for ``NAME.onnx``. Weights that come with the package lie in the folder
`WEIGHTS`; a user's own lie anywhere.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimap import textfile
from chimap.errors import InputError

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that come with the package."""

MOST_BYTES = 8_000_000
"""Largest weight file that comes with the package."""

Span = tuple[float, float]


@dataclass(frozen=True)
class Channel:
    """One input or output of a network: what it is, and its unit ("" for masks)."""

    name: str
    unit: str = ""


@dataclass(frozen=True)
class Ranges:
    """The scans that a network was trained on, as (lowest, highest). None: it makes no difference, or is not an input.

    Parameters
    ----------
    voxel_size_mm : pair
        Shortest and longest edge of a voxel in mm.
    anisotropy : pair
        Longest edge over shortest.
    b0_angle_deg : pair
        Angle between B0 and the third voxel axis in degrees, 0 to 90. None: any direction.
    b0_t : pair
        Field strength in T.
    te_s : pair
        Echo times in s, the first and the last.
    echoes : pair
        Number of echoes.
    snr : pair
        Signal-to-noise ratio of the magnitude.
    noise_ppm : pair
        Median standard deviation of the field inside the mask in ppm.
    """

    voxel_size_mm: Span | None = None
    anisotropy: Span | None = None
    b0_angle_deg: Span | None = None
    b0_t: Span | None = None
    te_s: Span | None = None
    echoes: Span | None = None
    snr: Span | None = None
    noise_ppm: Span | None = None


@dataclass(frozen=True)
class Score:
    """One measured number: on which data, which measure, its value and unit; `compared` says what others reach there."""

    data: str
    measure: str
    value: float
    unit: str = ""
    compared: str = ""


@dataclass(frozen=True)
class Card:
    """What is known about a network.

    Parameters
    ----------
    name : str
        The name of the weight file without its ending.
    task : str
        What it does, such as ``dipole inversion``.
    summary : str
        One sentence for tables.
    inputs, outputs : tuple of Channel
        The channels in their order.
    training_data : str
        What it was trained on.
    ranges : Ranges
        The scans that it was trained for.
    margin : int
        Voxels of context that an output voxel depends on, on each side (the radius of the receptive field).
    licence : str
        Licence of the weights (SPDX).
    multiple : int
        Edges of the volume must be a multiple of it: 2 to the number of times that the network halves the grid.
    bytes_per_voxel : int
        Memory that running it takes, per voxel of a tile.
    scores : tuple of Score
        Measured on data that were not used for training.
    failures : tuple of str
        What it is known to get wrong, a sentence each.
    config : str
        The training configuration, as text or the name of its file.
    hours : float
        Time that training took.
    machine : str
        What it was trained on.
    seeds : tuple of int
        Seeds of the random numbers.
    parameters : int
        Number of weights.
    references : tuple of str
        DOIs of what it is built after.
    sha256 : str
        Hash of the weight file; empty where it is not known.
    """

    name: str
    task: str
    summary: str
    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    training_data: str
    ranges: Ranges
    margin: int
    licence: str
    multiple: int = 1
    bytes_per_voxel: int = 2048
    scores: tuple[Score, ...] = ()
    failures: tuple[str, ...] = ()
    config: str = ""
    hours: float = 0.0
    machine: str = ""
    seeds: tuple[int, ...] = ()
    parameters: int = 0
    references: tuple[str, ...] = ()
    sha256: str = ""
    file: Path | None = field(default=None, compare=False, metadata={"card": False})

    def to_dict(self) -> dict[str, Any]:
        """The card as plain values, as its JSON file has them."""
        values = dataclasses.asdict(self)
        values.pop("file")
        return values


def names(folder: Path | None = None) -> list[str]:
    """Names of the networks in a folder (default: those that come with the package)."""
    return sorted(p.stem for p in (folder or WEIGHTS).glob("*.onnx"))


def find(model: str | Path, folder: Path | None = None) -> Path:
    """The weight file of a network, by the name of one that comes with the package or by the path of one's own.

    Raises
    ------
    InputError
        If there is no such network.
    """
    text = str(model)
    if text.lower().endswith(".onnx") or "/" in text or "\\" in text:
        path = Path(text).expanduser()
        if not path.is_file():
            what = "this is a folder; an ONNX file is expected" if path.is_dir() else "there is no such file"
            raise InputError(what, file=path, fix="Check the path")
        return path
    have = names(folder)
    if text not in have:
        listed = (
            f"one of: {', '.join(have)}"
            if have
            else "the path of an ONNX file (none comes with this version)"
        )
        raise InputError(f"there is no network {text!r}", fix=f"Give {listed}")
    return (folder or WEIGHTS) / f"{text}.onnx"


def card_of(weights: Path) -> Card | None:
    """The card beside a weight file, None if there is none; raises `InputError` as `read_card` does."""
    path = weights.with_suffix(".json")
    return read_card(path) if path.is_file() else None


def read_card(path: str | Path) -> Card:
    """Read a model card.

    Raises
    ------
    InputError
        If it is no JSON object, or a field is missing, unknown or of the wrong kind.
    """
    path = Path(path)
    values = textfile.read_json(path)
    try:
        return dataclasses.replace(_made(Card, values, ""), file=path)
    except _Wrong as e:
        raise InputError(f"this is not a model card: {e}", file=path, fix="Correct the card") from None


class _Wrong(ValueError):
    """What a card has wrong."""


def _made(kind: type, values: Any, where: str) -> Any:
    """A dataclass from a JSON object, each field checked."""
    if not isinstance(values, Mapping):
        raise _Wrong(f"{where or 'it'} is not a JSON object")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.metadata.get("card", True)}
    unknown = sorted(set(values) - set(fields))
    needed = {
        n
        for n, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(needed - set(values))
    if unknown or missing:
        said = [f"unknown {', '.join(unknown)}"] if unknown else []
        said += [f"missing {', '.join(missing)}"] if missing else []
        raise _Wrong(f"{where + ': ' if where else ''}{'; '.join(said)}")
    return kind(**{n: _value(hints[n], v, f"{where}.{n}" if where else n) for n, v in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, list | tuple) or (Ellipsis not in kinds and len(value) != len(kinds)):
            raise _Wrong(
                f"{where} is {value!r}, not a list" + ("" if Ellipsis in kinds else f" of {len(kinds)}")
            )
        made = tuple(_value(kinds[0], v, f"{where}[{n}]") for n, v in enumerate(value))
        if hint == Span and made[0] > made[1]:
            raise _Wrong(f"{where} is {list(made)}, whose first number is the larger one")
        return made
    if dataclasses.is_dataclass(hint):
        return _made(typing.cast(type, hint), value, where)
    wanted = (int, float) if hint is float else (hint,)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise _Wrong(f"{where} is {value!r}, not {'text' if hint is str else 'a number'}")
    return float(value) if hint is float else value
