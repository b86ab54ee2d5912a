"""The `chimap` command: one thin module a command, imported only when it is called."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
import textwrap
from types import ModuleType
from typing import Any, NoReturn

from chimap import __version__
from chimap.errors import ChimapError, InputError, of_os_error, warnings_to

# Module and one line a command, so that `chimap --help` need import none of them.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "simulate a head, reconstruct it, compare with the truth, write a report"),
    "run": ("run", "reconstruct a BIDS data set, a DICOM folder or NIfTI files"),
    "group": ("group", "tables, outliers, regressions and a report over all scans of a run"),
    "bids": ("bids", "make a BIDS data set of DICOM files"),
    "join": ("join", "one isotropic scan from thick-slice stacks of one head"),
    "average": ("average", "average repeats of one scan: motion, phase drift, SNR"),
    "check": ("check", "say whether a scan can be used, and what to do if not"),
    "view": ("view", "look at results in the browser; compare two runs or methods"),
    "mask": ("mask", "brain mask from the magnitude"),
    "combine-coils": ("combine_coils", "one phase and magnitude from uncombined receive channels"),
    "unwrap": ("unwrap", "phase without 2 pi steps"),
    "field": ("field", "total field [ppm] from the phase of all echoes"),
    "background": ("background", "local field [ppm] from the total field"),
    "invert": ("invert", "susceptibility [ppm] from the local field"),
    "cosmos": ("cosmos", "one susceptibility map from several head orientations"),
    "separate": ("separate", "paramagnetic and diamagnetic susceptibility [ppm]"),
    "sti": ("sti", "susceptibility tensor from the local fields of several head positions"),
    "fibres": ("fibres", "anisotropy of white matter taken off a map or a local field"),
    "tune": ("tune", "choose a parameter of an inversion method for a scan"),
    "r2star": ("r2star", "R2* [1/s] and T2* [s] from the magnitude of several echoes"),
    "reference": ("reference", "susceptibility relative to a region"),
    "regions": ("regions", "table of susceptibility by region, left against right"),
    "iron": ("iron", "iron by region against what is normal at an age; maps of iron and myelin"),
    "calibrate": (
        "calibrate",
        "phantom of known concentrations: slope, linearity, correction; repeated scans",
    ),
    "correlate": ("correlate", "correlation and regression between maps, by region, voxel and window"),
    "swi": ("swi", "SWI, CLEAR-SWI, true SWI, SMWI and minimum-intensity projections"),
    "lesions": ("lesions", "microbleeds and calcifications: where, which, how much; rims; tumours"),
    "oxygen": ("oxygen", "veins: diameter, oxygen saturation and extraction; consumption by region"),
    "score": ("score", "compare a map with the truth (JSON)"),
    "simulate": ("simulate", "simulate a head, a sphere or a cylinder"),
    "advise": ("advise", "echo times for a field strength: T2*, noise of the field, wraps"),
    "methods": ("methods", "list the methods, their parameters and papers"),
    "models": ("models", "list the networks and their model cards"),
    "train": ("train", "train a network on synthetic scans"),
    "adapt": ("adapt", "adapt a network of dipole inversion to one scan"),
}
_GROUPS = (
    ("whole scans", ("demo", "bids", "run", "cosmos", "join", "average", "group", "check", "view")),
    (
        "single stages on NIfTI files",
        (
            "combine-coils",
            "mask",
            "unwrap",
            "field",
            "background",
            "invert",
            "separate",
            "sti",
            "fibres",
            "r2star",
            "reference",
        ),
    ),
    ("answers from a map", ("regions", "iron", "calibrate", "correlate", "swi", "lesions", "oxygen")),
    ("tools", ("tune", "score", "simulate", "advise", "methods", "models", "train", "adapt")),
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `InputError`s."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise InputError(message, fix=f"See {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Run a `chimap` command. Returns its exit status: 0 done, 2 bad input, 1 other errors, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        return _command(argv)
    except KeyboardInterrupt:
        if debug:
            raise
        _say("interrupted; the same command continues where it stopped")
        return 130
    except BrokenPipeError:
        # The reader (head, less) has left: nothing more to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as e:
        if debug:
            raise
        error = as_chimap_error(e)
        if error is not None:
            _say(f"error: {error}")
            return error.exit_code
        text = " ".join(f"{type(e).__name__}: {e}".split())
        _say(f"error: {text} (a bug in chimap; add --debug to see where, and please report it)")
        return 1


def as_chimap_error(e: BaseException) -> ChimapError | None:
    """The error to show the user for an exception; None if it is not one the user can do anything about."""
    if isinstance(e, ChimapError):
        return e
    if isinstance(e, MemoryError):
        return ChimapError(
            "there is not enough memory", fix="Close other programs, or work on a machine with more memory"
        )
    return of_os_error(e) if isinstance(e, OSError) else None


def _command(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        print(f"chimap {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"Did you mean {close[0]}?" if close else f"Choose one of: {', '.join(COMMANDS)}"
        raise InputError(f"there is no command {name!r}", fix=hint)
    module = importlib.import_module(f"chimap.cli.{COMMANDS[name][0]}")
    try:
        args = parse(name, module, argv[1:])
    except SystemExit as e:  # --help
        return int(e.code or 0)
    if args.threads is not None:
        # Before NumPy and SciPy start their own pools.
        os.environ["OMP_NUM_THREADS"] = str(max(1, args.threads))
        from chimap.numerics.threads import set_threads

        set_threads(args.threads)
    with warnings_to(lambda text: _say(f"warning: {text}")):
        return int(module.run(args) or 0)


def parse(name: str, module: ModuleType, argv: list[str]) -> argparse.Namespace:
    """Arguments of a command.

    A module may have `method_arguments(parser, known)` beside `arguments(parser)`: it is called with what
    is known so far (--method, --preset) and adds the flags that depend on it.
    """
    parser = Parser(
        prog=f"chimap {name}",
        description=(module.__doc__ or module.SUMMARY).strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.arguments(parser)
    add_common(parser)
    if hasattr(module, "method_arguments"):
        first = Parser(prog=f"chimap {name}", add_help=False)
        first.add_argument("--method")
        first.add_argument("--preset")
        module.method_arguments(parser, first.parse_known_args(argv)[0])
    flags = sorted({s for a in parser._actions for s in a.option_strings if s.startswith("--")})
    # A misspelt flag is named before what it leaves missing.
    wrong = next((w for w in argv if w.startswith("--") and w != "--" and w.split("=")[0] not in flags), None)
    args, unknown = (None, [wrong]) if wrong else parser.parse_known_args(argv)
    if args is None or unknown:
        close = difflib.get_close_matches(str(unknown[0]).split("=")[0], flags, 1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown argument {unknown[0]!r}", fix=f"{hint}Flags here: {' '.join(flags)}")
    return args


def add_common(parser: argparse.ArgumentParser) -> None:
    """The flags that every command has."""
    group = parser.add_argument_group("common")
    group.add_argument("--threads", type=int, metavar="N", help="threads to use (default: all cores)")
    group.add_argument(
        "--log-json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="append a line of JSON an event (without FILE: to stderr): time, stage, seconds, peak memory, iterations, warnings",
    )
    group.add_argument("--quiet", action="store_true", help="no progress on the terminal")
    group.add_argument("--debug", action="store_true", help="show the Python traceback of an error")


def overview() -> str:
    """The text of `chimap --help`."""
    lines = [
        f"chimap {__version__}: quantitative susceptibility mapping, from scanner files to maps, tables and a report",
        "",
        "usage: chimap COMMAND [arguments]      chimap COMMAND --help tells more",
    ]
    for title, commands in _GROUPS:
        lines += ["", title]
        lines += [f"  {name:<15}{COMMANDS[name][1]}" for name in commands]
    lines += [
        "",
        "first steps",
        "  chimap demo demo_out              a simulated head, three minutes",
        "  chimap check my_bids_or_dicom     can this scan be used?",
        "  chimap run my_bids_or_dicom out   maps and report",
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(f"chimap: {textwrap.shorten(text, 4000)}", file=sys.stderr)
