"""Train a network on synthetic scans. A run that was stopped goes on with the same command.

chimap train CONFIG.toml OUT
chimap train CONFIG.toml OUT --until 200     (the first 200 of the configured steps)

OUT gets log.csv (loss and measures, of training and of held-out samples), pictures of held-out samples, a checkpoint, and the
model as ONNX. Needs the extra `learning`: pip install "chimap[learning]".
"""

from __future__ import annotations

import argparse
from pathlib import Path

from chimap.cli import _stage
from chimap.errors import InputError

SUMMARY = "train a network on synthetic scans"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument(
        "config", metavar="CONFIG", type=Path, help="task, data, network and training, as TOML"
    )
    parser.add_argument("output", metavar="OUT", type=Path, help="folder of the run")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU if there is one"
    )
    parser.add_argument(
        "--until", type=int, metavar="STEP", help="stop after this step of the configured ones"
    )


def run(args: argparse.Namespace) -> int:
    """Read the configuration and train."""
    try:
        from chimap.learning.loop import train
    except ImportError as e:
        raise InputError(f"training needs the package {e.name}", fix='pip install "chimap[learning]"') from e
    from chimap.learning.config import read_config

    if args.until is not None and args.until < 1:
        raise InputError("--until must be at least 1")
    config = read_config(args.config)
    with _stage.console_of(args).stage("train", config.task) as progress:
        model = train(config, args.output, device=args.device, until=args.until, progress=progress)
    print(model)
    return 0
