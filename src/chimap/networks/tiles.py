"""A fully convolutional network over a volume of any size: overlapping tiles, of each of which the interior is kept.

With a margin of at least the radius of the receptive field a tile's interior does not depend on where the tile was cut, so the result
is that of the whole volume in one piece, to float32 rounding. At the volume's own edge nothing is added but zeros behind it, up to the
`multiple` that a network with down-sampling needs; tiles begin on that multiple, too. Networks that normalise over the grid (instance
or group normalisation) or look at all of it at once do not fit: their result would change with the tile.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chimap.errors import ChimapError, InputError
from chimap.networks.session import Network
from chimap.types import Mask, Progress, silent

MEMORY_GB = 4.0
"""Memory that tiles may take if the caller gives no limit. It is fixed, so that the tiles do not depend on the machine."""

_BYTES_PER_VOXEL = 2048
_MOST_PARTS = 24
# A tile costs about as much again as this many voxels of it.
_TILE_COST = 4096

Part = tuple[slice, slice, slice]


def apply(
    network: Network,
    channels: np.ndarray,
    *,
    margin: int | Sequence[int] | None = None,
    multiple: int | None = None,
    memory_gb: float | None = None,
    tile: int | Sequence[int] | None = None,
    mask: Mask | None = None,
    vectors: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Run a network over a volume, tile by tile.

    Parameters
    ----------
    network : Network
        From `chimap.networks.session.load`.
    channels : (c, x, y, z)
        Input channels, float32.
    margin : int or 3 int, optional
        Voxels of context around what is kept of a tile; the radius of the receptive field (default: the card's).
    multiple : int, optional
        Tile edges are multiples of it (default: the card's, or 1).
    memory_gb : float, optional
        Memory that a tile may take; 4 by default. What a voxel takes is on the card.
    tile : int or 3 int, optional
        Largest edges of the part of a tile that is kept, in place of `memory_gb`; rounded up to `multiple`.
    mask : (x, y, z) of bool, optional
        Only here is a result wanted. Tiles without it are skipped, and the result is 0 outside it.
    vectors : mapping, optional
        Further inputs of the network by name, a vector each.
    progress : callable, optional
        Told of each tile, with the facts ``model``, ``provider`` and ``tiles``.

    Returns
    -------
    (k, x, y, z)
        Output channels, float32.

    Raises
    ------
    InputError
        If the channels do not fit the network, the margin is not known, or not even the smallest tile fits into the memory.
    ChimapError
        If the network fails, or gives NaN or infinity.
    """
    network.require(channels, vectors)
    report = progress or silent
    card = network.card
    shape = channels.shape[1:]
    if margin is None and card is None:
        raise InputError(
            f"the context that network {network.name} needs is not known: it has no model card",
            file=network.file,
            fix=f"Write a card {network.name}.json with its margin beside it",
        )
    around = _three(card.margin if margin is None and card else margin, "margin", least=0)
    step = multiple or (card.multiple if card else 1)
    if mask is not None and mask.shape != shape:
        raise InputError(f"mask has shape {mask.shape} but the channels {shape}")
    box = _box(mask, shape)
    facts = {"model": network.name, "provider": network.provider}
    if box is None:
        raise InputError("the mask is empty", fix="Give a mask that covers the object")
    if tile is not None:
        edges = [_up(e, step) for e in _three(tile, "tile", least=1)]
    else:
        per_voxel = card.bytes_per_voxel if card else _BYTES_PER_VOXEL
        voxels = (MEMORY_GB if memory_gb is None else memory_gb) * 1e9 / per_voxel
        edges = _edges(box, shape, around, step, voxels)
    parts = [p for p in _parts(box, edges, step) if mask is None or mask[p].any()]
    out: np.ndarray | None = None
    for n, part in enumerate(parts):
        wanted = part if mask is None else _tightened(mask, part)
        result = _one(network, channels, wanted, around, step, vectors)
        if out is None:
            out = np.zeros((result.shape[0], *shape), np.float32)
        out[(slice(None), *wanted)] = result if mask is None else result * mask[wanted]
        report(n + 1, len(parts), **facts, tiles=len(parts))
    assert out is not None
    return out


def _one(
    network: Network,
    channels: np.ndarray,
    part: Part,
    margin: tuple[int, int, int],
    step: int,
    vectors: Mapping[str, Any] | None,
) -> np.ndarray:
    """The network's result on one part, read with its context."""
    shape = channels.shape[1:]
    reads = [_read(p, n, m, step) for p, n, m in zip(part, shape, margin)]
    size = tuple(r.stop - r.start for r in reads)
    given = tuple(slice(r.start, min(r.stop, n)) for r, n in zip(reads, shape))
    data = channels[(slice(None), *given)]
    if data.shape[1:] != size:
        padded = np.zeros((channels.shape[0], *size), np.float32)
        padded[(slice(None), *(slice(0, n) for n in data.shape[1:]))] = data
        data = padded
    result = network(data, vectors)
    if result.shape[1:] != size:
        raise ChimapError(
            f"network {network.name} made {result.shape[1:]} voxels of {size}; as many are expected",
            file=network.file,
            fix=f"Export it with 'same' padding, or give the right multiple (now {step})",
        )
    kept = tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(part, reads))
    result = result[(slice(None), *kept)]
    if not np.isfinite(result).all():
        raise ChimapError(
            f"network {network.name} gave NaN or infinity",
            file=network.file,
            fix="Check the units of the input; the network may not be made for such values",
        )
    return result


def _read(part: slice, length: int, margin: int, step: int) -> slice:
    """What is read for a part: its context as far as the volume goes, from multiple to multiple."""
    start = max(0, part.start - margin) // step * step
    return slice(start, _up(min(length, part.stop + margin), step))


def _box(mask: Mask | None, shape: Sequence[int]) -> Part | None:
    """The part of the grid where a result is wanted; None if nowhere."""
    whole = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    return whole if mask is None else _tightened(mask, whole) if mask.any() else None


def _tightened(mask: Mask, part: Part) -> Part:
    """The bounding box of the mask inside a part, on the whole grid."""
    inside = mask[part]
    edges = []
    for axis, p in enumerate(part):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        edges.append(slice(p.start + int(hit[0]), p.start + int(hit[-1]) + 1))
    return edges[0], edges[1], edges[2]


def _edges(
    box: Part, shape: Sequence[int], margin: tuple[int, int, int], step: int, voxels: float
) -> list[int]:
    """Edges of the parts that cost least: fewest voxels read, none of the tiles above `voxels`."""
    choices = []  # for each axis: (edge, longest read, sum of reads)
    for p, n, m in zip(box, shape, margin):
        options = {}
        for count in range(1, _MOST_PARTS + 1):
            edge = _up(-(-(p.stop - p.start) // count), step)
            reads = [_read(slice(a, b), n, m, step) for a, b in _cuts(p, edge)]
            lengths = [r.stop - r.start for r in reads]
            options[edge] = (edge, max(lengths), sum(lengths), len(lengths))
        choices.append(list(options.values()))
    best, lowest, least = None, np.inf, np.inf
    for a, b, c in itertools.product(*choices):
        largest = a[1] * b[1] * c[1]
        least = min(least, largest)
        cost = a[2] * b[2] * c[2] + _TILE_COST * a[3] * b[3] * c[3]
        if largest <= voxels and cost < lowest:
            best, lowest = [a[0], b[0], c[0]], cost
    if best is None:
        raise InputError(
            f"the smallest tile of {int(least)} voxels does not fit into the memory that is allowed, which holds {int(voxels)} voxels",
            fix="Allow more memory (memory_gb)",
        )
    return best


def _parts(box: Part, edges: Sequence[int], step: int) -> list[Part]:
    return list(itertools.product(*([slice(a, b) for a, b in _cuts(p, e)] for p, e in zip(box, edges))))  # type: ignore[arg-type]


def _cuts(part: slice, edge: int) -> list[tuple[int, int]]:
    """A range of voxels cut into pieces of `edge`, the last one perhaps shorter."""
    return [(a, min(a + edge, part.stop)) for a in range(part.start, part.stop, edge)]


def _up(n: int, step: int) -> int:
    """`n` rounded up to a multiple of `step`."""
    return -(-n // step) * step


def _three(value: int | Sequence[int] | None, name: str, *, least: int) -> tuple[int, int, int]:
    numbers = [value] * 3 if isinstance(value, int) else list(value or ())
    if len(numbers) != 3 or min(numbers) < least:
        raise InputError(f"{name} is {value}; one or three whole numbers from {least} up are expected")
    return int(numbers[0]), int(numbers[1]), int(numbers[2])
