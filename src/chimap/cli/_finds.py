"""What the commands that find things in a finished map share: the map, a label image, and a folder of results."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from chimap.cli import _stage
from chimap.errors import OutputError
from chimap.io.whole import whole_numbers


def add_map(parser: argparse.ArgumentParser) -> None:
    """--chi and --mask."""
    parser.add_argument("--chi", required=True, metavar="NII", help="susceptibility in ppm")
    parser.add_argument(
        "--mask", metavar="NII", help="where it is valid (default: where it is not exactly 0)"
    )


def add_labels_and_output(parser: argparse.ArgumentParser, labels: str) -> None:
    """--labels (whose help is `labels`), --label-table, -o and --figure."""
    add = parser.add_argument
    add("--labels", metavar="NII", help=labels)
    add("--label-table", metavar="TSV", help="its names (default: beside the image; FreeSurfer's are known)")
    add("-o", "--output", required=True, metavar="FOLDER", help="folder for tables, label image and figure")
    add("--figure", choices=("png", "svg", "none"), default="png", help="kind of the figure (default: png)")


def output_folder(args: argparse.Namespace) -> Path:
    """The folder of results, not made yet.

    Raises
    ------
    OutputError
        If there is a file of that name.
    """
    folder = Path(args.output)
    if folder.exists() and not folder.is_dir():
        raise OutputError("this is a file; a folder is expected", file=folder)
    return folder


def map_and_mask(args: argparse.Namespace, path: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A map in ppm (of --chi, or the file given), and where it is valid."""
    path = path or args.chi
    volume = _stage.read(path)
    if args.mask:
        mask = _stage.read_mask(args.mask, (path, volume.shape))
        return _stage.finite(volume, mask, path), mask
    return volume, np.isfinite(volume) & (volume != 0)


def labels_and_names(
    args: argparse.Namespace, like: tuple[str, tuple[int, ...]]
) -> tuple[np.ndarray | None, dict[int, str]]:
    """The label image and the names of its numbers; None and none where there is no image."""
    if not args.labels:
        return None, {}
    from chimap.pipeline.regions import label_names
    from chimap.quantify.labels import FREESURFER, looks_like_freesurfer

    labels = whole_numbers(_stage.read(args.labels, like), args.labels)
    names = label_names(Path(args.labels), Path(args.label_table) if args.label_table else None)
    if not names and looks_like_freesurfer(np.unique(labels).tolist()):
        names = dict(FREESURFER)
    return labels, names
