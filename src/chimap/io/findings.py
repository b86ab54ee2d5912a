"""What was found in the input: a verdict with its level, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from chimap.errors import InputError

Level = Literal["ok", "note", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One thing that was detected.

    Parameters
    ----------
    level : {"ok", "note", "warning", "error"}
        ``error`` means that the scan cannot be used; ``warning`` that the result may suffer.
    topic : str
        What it is about, in one or two words ("phase scaling", "echo times").
    what : str
        What was found, and what was expected.
    fix : str
        What the user can do; empty where there is nothing to do.
    file : str or None
        The file it was found in.
    """

    level: Level
    topic: str
    what: str
    fix: str = ""
    file: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}: " if self.file else ""
        fix = f" {self.fix.rstrip('. ')}." if self.fix else ""
        return " ".join(f"{self.topic}: {place}{self.what.rstrip('. ')}.{fix}".split())

    def to_dict(self) -> dict[str, str | None]:
        """The form that JSON keeps."""
        return asdict(self)

    def as_error(self) -> InputError:
        """The exception that says the same."""
        return InputError(self.what, file=self.file, fix=self.fix or None)

    @classmethod
    def of_error(cls, error: InputError, topic: str = "input") -> Finding:
        """The finding that says what `error` says."""
        return cls("error", topic, error.what, error.fix or "", error.file)


def usable(findings: list[Finding]) -> bool:
    """Whether no finding is an error."""
    return all(f.level != "error" for f in findings)


def raise_first_error(findings: list[Finding] | tuple[Finding, ...]) -> None:
    """Raise the first error among `findings` as an `InputError`."""
    for f in findings:
        if f.level == "error":
            raise f.as_error()


def plain(path: str | Path | None) -> str | None:
    """A path as text, None kept."""
    return None if path is None else str(path)
