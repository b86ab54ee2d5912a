"""Errors that people meet: what was found, in which file, and what to do about it."""

from __future__ import annotations

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
