"""The model card of a network that learned from one scan."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

from chimap.errors import InputError
from chimap.io.safe import write_json
from chimap.networks.cards import Card, Channel, Ranges, Score
from chimap.networks.session import Network, sha256

SSDU, PRIOR = "10.1002/mrm.28378", "10.1109/CVPR.2018.00984"
_ONE_SCAN = (
    "It belongs to the scan that it learned from, and was never measured against the truth of another."
)
_CHANNELS = (
    "map",
    "gradient of the data term",
    "what the residual stands for",
    "residual",
    "weights",
    "logarithm of the magnitude",
    "R2*",
    "level of the noise",
    "mask",
)


def card_before(output: Path, parent: Network | None) -> Card:
    """The card with all but what the scan has still to tell.

    Raises
    ------
    InputError
        If the network to start from has no card.
    """
    if parent is None:
        return Card(
            name=output.stem,
            task="dipole inversion",
            summary="A small network with random weights that learned from one scan alone.",
            inputs=tuple(Channel(c) for c in _CHANNELS),
            outputs=(Channel("correction"), Channel("error")),
            training_data="The local field of one scan.",
            ranges=Ranges(),
            # 14 voxels of convolutions on three grids, and up to 3 to the edge of a coarse voxel, rounded up.
            margin=20,
            # Whose scan it is decides.
            licence="NOASSERTION",
            multiple=4,
            bytes_per_voxel=700,
            failures=(_ONE_SCAN, "The error that it expects of itself is assumed, not learned."),
            references=(PRIOR, SSDU),
        )
    if parent.card is None:
        raise InputError(
            "the network has no model card beside it",
            file=parent.file,
            fix=f"Write a card {parent.file.stem}.json",
        )
    card = parent.card
    return replace(
        card,
        name=output.stem,
        summary=f"{parent.name}, whose last step was fine-tuned on one scan.",
        training_data=f"{card.training_data} Then the local field of one scan.",
        scores=(),
        failures=(*card.failures, _ONE_SCAN),
        references=tuple(dict.fromkeys((*card.references, SSDU))),
        sha256="",
    )


def write_card(
    card: Card,
    weights: Path,
    *,
    parent: Network | None,
    steps: int,
    seed: int,
    changed: bool,
    before_ppm: float,
    after_ppm: float,
    seconds: float,
) -> None:
    """Write the card beside its weights, with what was done and measured."""
    start = f"{parent.name}, sha256 {parent.sha256}" if parent else "random weights"
    kept = (
        ""
        if changed
        else "; the held-out residual did not fall, so the weights are those that it started from"
    )
    done = replace(
        card,
        config=f"chimap adapt from {start}: {steps} steps, seed {seed}{kept}",
        hours=round(seconds / 3600, 4),
        machine=platform.machine(),
        seeds=(seed,),
        sha256=sha256(weights),
        scores=(
            Score(
                "held-out voxels of the scan it learned from",
                "residual of the field, root mean square",
                round(1e3 * (after_ppm if changed else before_ppm), 4),
                "ppb",
                f"{1e3 * before_ppm:.4f} ppb before",
            ),
        ),
    )
    write_json(weights.with_suffix(".json"), done.to_dict())
