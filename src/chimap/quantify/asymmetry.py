"""Left against right: the same structure on both sides of a head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chimap.quantify.labels import side_of


def asymmetry_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The difference left minus right of every structure that the rows of `region_rows` have on both sides.

    Parameters
    ----------
    rows : sequence of mapping
        Regions with ``name``, ``mean_ppb`` and ``voxels``; sides are told from the names (``Left-Putamen``, ``putamen_R`` ...).

    Returns
    -------
    list of dict
        ``name, left_ppb, right_ppb, difference_ppb, left_voxels, right_voxels``; where both rows have ``se_ppb``,
        ``difference_se_ppb``. Empty where no structure has two sides.

    Notes
    -----
    A difference does not depend on the reference region; a ratio of left and right does, and is not given.
    """
    halves: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        side, rest = side_of(str(row["name"]))
        if side:
            halves.setdefault(rest, {}).setdefault(side, row)
    out = []
    for name, pair in halves.items():
        if len(pair) < 2:
            continue
        left, right = pair["left"], pair["right"]
        row = {
            "name": name,
            "left_ppb": left["mean_ppb"],
            "right_ppb": right["mean_ppb"],
            "difference_ppb": round(left["mean_ppb"] - right["mean_ppb"], 2),
            "left_voxels": left["voxels"],
            "right_voxels": right["voxels"],
        }
        if "se_ppb" in left and "se_ppb" in right:
            row["difference_se_ppb"] = round(math.hypot(left["se_ppb"], right["se_ppb"]), 3)
        out.append(row)
    return out
