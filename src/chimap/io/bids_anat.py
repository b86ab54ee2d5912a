"""The T1-weighted image and the label image of a scan's subject and session, and in which space the labels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chimap.errors import InputError
from chimap.io.bids import parse_name
from chimap.io.bids_select import Query, belonging, matches
from chimap.io.nifti import read_header
from chimap.io.scan import Scan

SCAN_SPACES = ("MEGRE", "T2starw", "T2star", "GRE", "gre", "QSM", "Chimap")
"""Values of the entity ``space`` that mean the gradient-echo scan itself."""
T1W_SPACES = ("T1w", "T1", "orig")
"""Values that mean the subject's T1-weighted image. Labels without the entity are in either; all others are templates'."""

_OWN = ("excluded", "lesions", "fromT1w")
"""Label images that chimap writes itself: no regions."""


@dataclass(frozen=True)
class Anatomy:
    """What there is for a scan's table of regions.

    Parameters
    ----------
    labels : path or None
        The label image.
    t1w : path or None
        The T1-weighted image whose space the labels are in; None where they are in the scan's.
    lacking : str
        Why there are no labels to use, and what they would need; empty where there are, and where nothing was found at all.
    """

    labels: Path | None = None
    t1w: Path | None = None
    lacking: str = ""


def find_anatomy(scan: Scan, folders: Sequence[Path], queries: Mapping[str, Query] | None = None) -> Anatomy:
    """Look for labels, and for the T1-weighted image that they belong to, in BIDS folders; the first with labels counts.

    Labels are in the scan's space if their name says so (``space-MEGRE``) or their grid is the scan's. Others with ``space-T1w``
    or no entity ``space`` are taken to be in that of the T1-weighted image. Labels in a template's space are passed over.

    Parameters
    ----------
    scan : Scan
        With the entity ``sub``.
    folders : sequence of path
        Derivatives first, then the data set.
    queries : mapping, optional
        Filters with the keys ``labels`` and ``t1w``.

    Raises
    ------
    InputError
        If several label images or T1-weighted images fit alike.
    """
    queries = queries or {}
    labels = None
    for folder in folders:
        found = _labels_in(scan, folder, queries.get("labels") or {})
        if found:
            labels = _one(found, scan, folder, "label images", "dseg")
            break
    if labels is not None and _in_scan_space(labels, scan):
        return Anatomy(labels)
    t1w = _t1w_for(scan, folders, queries.get("t1w") or {}, labels)
    if labels is None:
        if t1w is None:
            return Anatomy()
        return Anatomy(
            lacking=f"there is a T1-weighted image ({t1w.name}) but no label image. chimap does not segment: label it with a tool of your "
            "choice and give the folder with --derivatives"
        )
    if t1w is None:
        return Anatomy(
            lacking=f"{labels.name} is not on the grid of the scan, and there is no T1-weighted image to bring it there by registration. "
            "If both are aligned in mm, give the folder with --labels"
        )
    return Anatomy(labels, t1w)


def _labels_in(scan: Scan, folder: Path, query: Query) -> list[Path]:
    wanted = {"suffix": "dseg", **query}

    def fits(entities: Mapping[str, str]) -> bool:
        native = entities.get("space") in (None, *SCAN_SPACES, *T1W_SPACES)
        return native and entities.get("desc") not in _OWN and matches(entities, wanted)

    found = belonging(scan, folder, fits)
    # Nothing has to be brought anywhere.
    ready = [p for p in found if _in_scan_space(p, scan)] if len(found) > 1 else []
    return ready or found


def _t1w_for(scan: Scan, folders: Sequence[Path], query: Query, labels: Path | None) -> Path | None:
    wanted = {"suffix": "T1w", "space": [None, *T1W_SPACES], "part": [None, "mag"], **query}
    for same in (True, False):
        for folder in folders:
            found = belonging(scan, folder, lambda e: matches(e, wanted))
            if same:
                found = [p for p in found if labels is not None and same_grid(p, labels)]
            if len(found) > 1:
                found = [p for p in found if (parse_name(p) or ({}, ""))[0].get("desc") == "preproc"] or found
            if found:
                return _one(found, scan, folder, "T1-weighted images", "t1w")
    return None


def _one(found: Sequence[Path], scan: Scan, folder: Path, what: str, query: str) -> Path:
    if len(found) > 1:
        names = ", ".join(p.name for p in found[:4])
        raise InputError(
            f"{len(found)} {what} fit scan {scan.name}: {names}",
            file=folder,
            fix=f'Choose with --bids-filter-file, such as {{"{query}": {{"desc": "aseg"}}}}',
        )
    return found[0]


def _in_scan_space(labels: Path, scan: Scan) -> bool:
    entities, _ = parse_name(labels) or ({}, "")
    if "space" in entities:
        return entities["space"] in SCAN_SPACES
    return same_grid(labels, scan.files[0])


def same_grid(a: Path, b: Path) -> bool:
    """Whether two images have the same voxels, by their headers; a hundredth of a voxel is no difference."""
    first, second = read_header(a), read_header(b)
    size = float(np.linalg.norm(first.affine[:3, :3], axis=0).min())
    return (
        first.shape[:3] == second.shape[:3]
        and float(np.abs(first.affine - second.affine).max()) < 0.01 * size
    )
