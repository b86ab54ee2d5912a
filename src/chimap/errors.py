"""Errors that people meet: what was found, in which file, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path


class ChimapError(Exception):
    """An error with a message meant for the user.

    Parameters
    ----------
    what : str
        What was found and what was expected.
    file : path, optional
        The file it was found in.
    fix : str, optional
        What the user can do.
    """

    exit_code = 1

    def __init__(self, what: str, *, file: str | Path | None = None, fix: str | None = None):
        self.what = what
        self.file = None if file is None else str(file)
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        text = self.what.rstrip(". ") + "."
        if self.file is not None:
            text = f"{self.file}: {text}"
        if self.fix:
            text = f"{text} {self.fix.rstrip('. ')}."
        return " ".join(text.split())


class InputError(ChimapError):
    """The input or a parameter cannot be used as given."""

    exit_code = 2


class OutputError(ChimapError):
    """A result could not be written (read-only folder, full disk)."""

    exit_code = 2


class ChimapWarning(UserWarning):
    """A result that was made, but that the user should not trust without a look."""


_hearer: ContextVar[Callable[[str], None] | None] = ContextVar("chimap_hearer", default=None)


def warn(text: str) -> None:
    """Warn the user from anywhere, a method included, in one plain sentence.

    `chimap run` writes it to terminal, sidecar and report, the single-stage commands to the terminal and the log. In Python it is
    a `ChimapWarning`.
    """
    hearer = _hearer.get()
    if hearer is None:
        warnings.warn(text, ChimapWarning, stacklevel=3)
    else:
        hearer(text)


@contextlib.contextmanager
def warnings_to(hearer: Callable[[str], None]) -> Iterator[None]:
    """While the context lasts, what this thread warns of goes to `hearer`."""
    token = _hearer.set(hearer)
    try:
        yield
    finally:
        _hearer.reset(token)


_ROOM = "Free some space or use another disk, then run the same command again"
_FOLDER = "Choose another folder, or change its permissions"
_CAUSES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EFBIG: ("the file would be larger than allowed", "Raise the file-size limit (ulimit -f)"),
    errno.EROFS: ("the folder is read-only", "Choose a folder you may write to"),
    errno.EACCES: ("permission denied", _FOLDER),
    errno.EPERM: ("permission denied", _FOLDER),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another path"),
    errno.EISDIR: ("a folder of that name is in the way of a file", "Give the path of a file"),
    errno.EEXIST: ("a file of that name is in the way of a folder", "Choose another folder"),
    errno.ENOENT: ("there is no such file or folder", "Check the path"),
    errno.ENAMETOOLONG: ("the file name is too long", "Choose a shorter path"),
    errno.ELOOP: ("the path is a link that leads to itself", "Check the path"),
    errno.EMFILE: ("too many files are open", "Raise the limit of open files (ulimit -n)"),
    errno.EIO: (
        "the disk or the network failed",
        "Check the disk or the network, then run the same command again",
    ),
    errno.ESTALE: ("the network folder is gone", "Mount it again, then run the same command again"),
}


def of_os_error(error: OSError, path: str | Path | None = None) -> OutputError | None:
    """What an `OSError` means to the user, in one line; None where its number says nothing to them.

    `path` is the file to name; without it the one that the error names.
    """
    known = _CAUSES.get(error.errno or 0)
    if known is None:
        return None
    return OutputError(known[0], file=error.filename if path is None else path, fix=known[1])
